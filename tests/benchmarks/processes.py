"""Starting and ending the processes of a benchmark: always by the pid we got, never by name."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.benchmarks.measure import family, pinned

__all__ = ["BenchmarkError", "Process", "free_port", "raise_file_limit"]


class BenchmarkError(Exception):
    """A part of a benchmark could not do its work; the text is for people."""


def raise_file_limit() -> int:
    """As many open files as allowed, for us and all we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# Bound, not listening: with SO_REUSEADDR, which servers set, others may listen there, but the
# kernel gives the port to nobody else, nor to an outgoing connection, of which benchmarks make
# many.
_held: list[socket.socket] = []


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on, kept for us until this process
    ends.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    return int(held.getsockname()[1])


class Process:
    """A child process on given CPUs, its output in a file. Use as a context manager, or call
    `stop`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        cpus: Iterable[int],
        output: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.output = output
        with pinned(cpus), output.open("wb") as sink:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    cwd=cwd,
                )
            except OSError as error:
                raise BenchmarkError(f"{name} cannot be started: {error}") from error
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def tail(self) -> str:
        """The end of its output, for messages."""
        return self.output.read_text(encoding="utf-8", errors="replace")[-1500:].strip()

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Ask `ready` until it says yes. Raises `BenchmarkError` with the process' last words."""
        end = time.monotonic() + timeout
        while not ready():
            code = self._process.poll()
            if code is not None:
                raise BenchmarkError(f"{self.name} ended with {code}: {self.tail() or 'no output'}")
            if time.monotonic() > end:
                raise BenchmarkError(
                    f"{self.name} is not ready after {timeout:.0f} s: {self.tail() or 'no output'}"
                )
            time.sleep(0.05)

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left of the family after five seconds."""
        if self._process.poll() is not None:
            return
        members = family(self.pid)
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self._process.wait()
