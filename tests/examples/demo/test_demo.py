"""The demo as people run it: its checks, until Ctrl-C, and with a wrong option."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import ROOT
from tests.support.commands import PATIENCE, environment, wait_for

_COMMAND = [sys.executable, "-m", "examples.demo"]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_its_checks_see_what_they_expect() -> None:
    done = _run("--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DIFFERS" not in done.stdout
    assert done.stdout.count("│ ok") >= 19


def test_a_wrong_address_is_one_line_and_status_2() -> None:
    done = _run("--http", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--http: 'x' is not HOST:PORT\n"


def test_it_runs_until_it_is_stopped(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with output.open("w") as out:
        process = subprocess.Popen(
            _COMMAND, cwd=ROOT, env=environment(), stdout=out, stderr=subprocess.STDOUT, text=True
        )
    try:
        wait_for(
            lambda: (
                "http://shop.localhost" in output.read_text(encoding="utf-8")
                or process.poll() is not None
            )
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(PATIENCE)
    assert "curl http://shop.localhost:" in output.read_text(encoding="utf-8")
