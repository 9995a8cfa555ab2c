"""Fuzz one target, with what coverage finds: `python tests/fuzz/fuzz.py TARGET [-max_total_time=SECONDS ...]`; needs atheris.

Arguments behind the target are libFuzzer's. Not a part of `make test`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "adapters")]


def main() -> None:
    """See the module."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]  # no part of the test environment

    # What is to be followed by coverage, and found in comparisons: the core, not what it is compared with.
    with atheris.instrument_imports(include=["meshlib"]):
        from tests.fuzz.targets import TARGETS, seeds
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz.py {'|'.join(TARGETS)} [-max_total_time=SECONDS ...]")
    name = sys.argv.pop(1)
    corpus = Path(tempfile.mkdtemp())  # stays: libFuzzer ends the process
    for number, seed in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([*sys.argv, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
