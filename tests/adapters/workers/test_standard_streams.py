"""Standard streams that take nothing, or are not there: what the command does and how it ends stays
the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import PATIENCE, SERVICES, environment, free_port, ready, wait_for

_MODULE = "meshlib_adapters.cli"


@contextlib.contextmanager
def _sink(kind: str) -> Iterator[int]:
    """A descriptor that takes nothing."""
    if kind == "closed pipe":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open("/dev/full", os.O_WRONLY)
    try:
        yield writing
    finally:
        os.close(writing)


def _ended(code: str, kind: str, *, unbuffered: str = "") -> int:
    """The exit status of a Python that runs `code`, both its streams taking nothing."""
    with _sink(kind) as sink:
        variables = environment(PYTHONUNBUFFERED=unbuffered)
        return subprocess.run(
            [sys.executable, "-c", code],
            env=variables,
            stdout=sink,
            stderr=sink,
            timeout=60,
            check=False,
        ).returncode


_FILLED = """
import contextlib, sys
from meshlib_adapters.workers.standard_streams import settle_streams
with contextlib.suppress(OSError):
    sys.stdout.write("x" * 100)
with contextlib.suppress(OSError):
    sys.stderr.write("y")
"""


@pytest.mark.parametrize("kind", ["/dev/full", "closed pipe"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_the_last_flush_changes_no_exit_status(kind: str, unbuffered: str) -> None:
    assert _ended(f"{_FILLED}settle_streams(); sys.exit(3)", kind, unbuffered=unbuffered) == 3
    closed = (
        "with contextlib.suppress(OSError):\n    sys.stderr.close()\nsettle_streams(); sys.exit(3)"
    )
    assert _ended(_FILLED + closed, kind, unbuffered=unbuffered) == 3


def test_python_itself_would_change_it() -> None:
    assert _ended(f"{_FILLED}sys.exit(3)", "/dev/full") == 120


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("kind", ["/dev/full", "closed pipe", "closed"])
def test_serve_ends_with_0(tmp_path: Path, kind: str, workers: str) -> None:
    """Workers too: one that ended otherwise would be told to a log that cannot be read, and be
    counted.
    """
    services = tmp_path / "services.yml"
    services.write_text(SERVICES)
    admin = free_port()
    command = [
        sys.executable,
        "-m",
        _MODULE,
        "serve",
        "--services",
        str(services),
        "--workers",
        workers,
        "--http=127.0.0.1:0",
    ]
    command += ["--https=off", f"--admin=127.0.0.1:{admin}", "--log-level=debug"]
    if kind == "closed":
        command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
    with _sink(kind) as sink:
        process = subprocess.Popen(command, env=environment(), stdout=sink, stderr=sink)
        try:
            wait_for(lambda: process.poll() is not None or ready(admin))
            streams = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
            if kind == "closed":
                assert streams == ["/dev/null"] * 3  # no socket has taken their places
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait(PATIENCE)


@pytest.mark.parametrize(
    "arguments",
    [
        ["version"],
        ["--version"],
        ["--help"],
        ["config"],
        ["config", "--json"],
        ["routes"],
        ["explain"],
    ],
)
def test_a_full_disk_is_one_line_and_status_2(tmp_path: Path, arguments: list[str]) -> None:
    services = tmp_path / "services.yml"
    services.write_text(SERVICES)
    if arguments[0] in ("routes", "explain"):
        arguments = [
            *arguments,
            *(["http://shop.example.com/"] if arguments[0] == "explain" else []),
            "--services",
            str(services),
        ]
    command = [sys.executable, "-m", _MODULE, *arguments]
    with _sink("/dev/full") as sink:
        done = subprocess.run(
            command,
            env=environment(),
            stdout=sink,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        2,
        "meshlib: stdout cannot be written: No space left on device\n",
    )


def test_a_mistake_keeps_its_status_where_it_cannot_be_told() -> None:
    with _sink("/dev/full") as sink:
        done = subprocess.run(
            [sys.executable, "-m", _MODULE, "serv"],
            env=environment(),
            stdout=sink,
            stderr=sink,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2


@pytest.mark.parametrize("arguments", [["--version"], ["config"], ["routes", "--json"], ["routes"]])
def test_a_reader_that_has_enough_is_no_mistake(tmp_path: Path, arguments: list[str]) -> None:
    services = tmp_path / "services.yml"
    services.write_text(SERVICES)
    command = [
        sys.executable,
        "-m",
        _MODULE,
        *arguments,
        *(["--services", str(services)] if arguments[0] == "routes" else []),
    ]
    with _sink("closed pipe") as sink:
        done = subprocess.run(
            command,
            env=environment(),
            stdout=sink,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
