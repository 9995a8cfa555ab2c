"""`make test` on every Python that is here: which are found, what runs on them, and that it is
said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.tree import ROOT

_OURS: Final = "{}.{}.{}".format(*sys.version_info[:3])
# A version that no machine has; it stands for itself where the script asks, and tells how it was
# called where it runs tests.
_FAKE: Final = """#!/bin/sh
case "$*" in
*ensurepip*) echo "3.{minor} 3.{minor}.{patch}" ;;
*) echo "$*" >>"{calls}"; echo "7 passed in 1.00s"; exit {status} ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of one as the script looks at."""
    (tmp_path / "scripts").mkdir()
    for name in ("other-pythons", "make-venv", "quietly"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ours = tmp_path / ".venv/bin/python"
    ours.parent.mkdir(parents=True)
    ours.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    ours.chmod(0o755)
    return tmp_path


def _fake(checkout: Path, minor: int, *, patch: int = 1, status: int = 0) -> str:
    """The path of a Python that says it is 3.`minor`, with its environment made already."""
    calls = checkout / f"calls-{minor}"
    text = _FAKE.format(minor=minor, patch=patch, calls=calls, status=status)
    places = [
        checkout / f"python3.{minor}.{patch}",
        checkout / f".venv-3.{minor}/bin/python",
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755)
    done = checkout / f".venv-3.{minor}/.dev"
    done.touch()
    newer = (checkout / "pyproject.toml").stat().st_mtime + 60
    os.utime(done, (newer, newer))
    return str(places[0])


def _run(checkout: Path, *arguments: str, pythons: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONS": " ".join(pythons)}
    return subprocess.run(
        [str(checkout / "scripts/other-pythons"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_no_other_python_is_said_and_well(checkout: Path) -> None:
    done = _run(checkout, "core", pythons=[])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        f"core tests and the demo's checks ran on: {_OURS}; not here: 3.1"
    )


def test_each_other_minor_version_runs_core_and_demo(checkout: Path) -> None:
    old, new = _fake(checkout, 97, patch=9), _fake(checkout, 97, patch=10)
    # Of one minor version the newest; neither ours again, nor one that cannot be run, nor one that
    # is too old.
    done = _run(
        checkout,
        "core",
        pythons=[
            old,
            new,
            _fake(checkout, 98),
            sys.executable,
            str(checkout / "no-python"),
            _fake(checkout, 10),
        ],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Python 3.97.10: 7 passed in 1.00s, the demo's checks are ok" in done.stdout
    assert f"ran on: {_OURS}, 3.97.10, 3.98.1; not here: 3.1" in done.stdout.splitlines()[-1]
    tests, demo = (checkout / "calls-97").read_text().splitlines()
    assert tests.startswith("-m pytest ")
    assert "tests/meshlib" in tests
    assert "--hypothesis-profile=few" in tests
    assert demo == "-m examples.demo --check"
    assert not (checkout / "calls-10").exists()


def test_all_runs_the_adapters_too_and_takes_arguments(checkout: Path) -> None:
    done = _run(checkout, "all", "-k", "host", pythons=[_fake(checkout, 97)])
    assert done.returncode == 0, done.stdout + done.stderr
    tests, _ = (checkout / "calls-97").read_text().splitlines()
    assert "tests/meshlib tests/adapters" in tests
    assert tests.endswith("-k host")


@pytest.mark.parametrize("mode", ["core", "all"])
def test_a_failure_on_one_is_shown_and_fails(checkout: Path, mode: str) -> None:
    done = _run(checkout, mode, pythons=[_fake(checkout, 97, status=1), _fake(checkout, 98)])
    assert done.returncode == 1
    assert "Python 3.98.1: 7 passed" in done.stdout
    assert "They failed on: 3.97.1" in done.stderr


def test_an_environment_is_made_again_when_pyproject_changes(checkout: Path) -> None:
    python = _fake(checkout, 97)
    made = checkout / "made"
    (checkout / "scripts/make-venv").write_text(f'#!/bin/sh\necho "$PYTHON $*" >>"{made}"\n')
    newer = (checkout / ".venv-3.97/.dev").stat().st_mtime
    assert _run(checkout, "core", pythons=[python]).returncode == 0
    assert not made.exists()
    os.utime(checkout / "pyproject.toml", (newer + 60, newer + 60))
    assert _run(checkout, "core", pythons=[python]).returncode == 0
    assert made.read_text() == f"{python} .venv-3.97 dev\n"
