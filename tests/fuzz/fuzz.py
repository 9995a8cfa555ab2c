"""Fuzz with what coverage finds: `python tests/fuzz/fuzz.py TARGET [-max_total_time=SECONDS ...]`;
needs atheris.

Arguments behind the target are libFuzzer's. `python tests/fuzz/fuzz.py all SECONDS [TARGET ...]`
gives each target so much time, one after the other, and prints how often each ran; it ends with 1
when one found something. A case that takes longer than 50 ms of CPU time, three times, is a finding
like one that raises. Not a part of `make test`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "adapters")]

_SLOW = 0.05  # seconds of CPU time: what one message of a stranger may cost at most
_DONE = re.compile(r"Done (\d+) runs in (\d+) second")


def main() -> None:
    """See the module."""
    if sys.argv[1:2] == ["all"] and len(sys.argv) > 2 and sys.argv[2].isdigit():
        sys.exit(_all(int(sys.argv[2]), sys.argv[3:]))
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]  # no part of the test environment

    # What is to be followed by coverage, and found in comparisons: the core, not what it is
    # compared with.
    with atheris.instrument_imports(include=["meshlib"]):
        from tests.fuzz.targets import TARGETS, seeds
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(
            f"usage: fuzz.py {'|'.join(TARGETS)} [-max_total_time=SECONDS ...] | "
            "all SECONDS [TARGET ...]"
        )
    name = sys.argv.pop(1)
    corpus = Path(tempfile.mkdtemp())  # stays: libFuzzer ends the process
    for number, seed in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([*sys.argv, str(corpus)], _timed(TARGETS[name]))
    atheris.Fuzz()


def _timed(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    now = time.thread_time
    slowest = _SLOW / 10

    def cost(data: bytes) -> float:
        began = now()
        target(data)
        return now() - began

    def run(data: bytes) -> None:
        nonlocal slowest
        took = cost(data)
        if took > slowest:
            # Collections of garbage and new pages of memory are nobody's fault: the best of three
            # counts.
            took = min(took, cost(data), cost(data))
            if took > slowest:
                slowest = took
                print(
                    f"slowest so far: {took * 1000:.1f} ms for {len(data)} bytes", file=sys.stderr
                )
            assert took <= _SLOW, f"{took * 1000:.0f} ms for {len(data)} bytes"

    return run


def _all(seconds: int, names: Sequence[str]) -> int:
    from tests.fuzz.targets import TARGETS

    failed = []
    print(f"{'target':<12}{'executions':>12}{'per second':>12}  slowest", flush=True)
    for name in names or TARGETS:
        command = [
            sys.executable,
            __file__,
            name,
            f"-max_total_time={seconds}",
            "-print_final_stats=0",
            "-verbosity=1",
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd=tempfile.mkdtemp(),
        )
        found = _DONE.search(done.stderr)
        if done.returncode or found is None:
            failed.append(name)
            print(f"{name:<12} failed:\n{done.stderr[-3000:]}", flush=True)
            continue
        slowest = re.findall(r"slowest so far: (.*)", done.stderr)
        runs, took = int(found[1]), int(found[2])
        print(
            (
                f"{name:<12}{runs:>12}{runs / max(took, 1):>12.0f}  "
                f"{slowest[-1] if slowest else 'under 5 ms'}"
            ),
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    main()
