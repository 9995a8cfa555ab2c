"""A stdout and a stderr that nobody reads any more: the gateway serves on, and ends when it is told
to.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import PATIENCE, Running, environment, free_port
from tests.support.metrics_page import Page
from tests.support.worker_lab import ask, backend, lab, labels, wait_for

APP = "external_route=http://app.example.com,internal_port=80"
# A ClientHello's record that is none inside: refused, and a line says so.
NO_HELLO = b"\x16\x03\x01\x00\x05hello"
REFUSED = 400


class Pipe:
    """What a process writes; read until `stop`, then never again."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.text = ""
        self._stopping = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        os.set_blocking(self.reader, False)
        while not self._stopping:
            with contextlib.suppress(BlockingIOError):
                self.text += os.read(self.reader, 65536).decode()
            time.sleep(0.005)

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()

    def fill(self) -> None:
        """Leave no room for a single byte. (Its description is another one: the gateway's own stays
        as it is.)
        """
        with open(f"/proc/self/fd/{self.writer}", "wb", buffering=0) as again:
            fcntl.fcntl(again, fcntl.F_SETFL, os.O_NONBLOCK | os.O_WRONLY)
            for size in (4096, 1):
                with contextlib.suppress(BlockingIOError):
                    while again.write(b" " * size) is not None:
                        pass

    def close(self) -> None:
        self.stop()
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def serving(pipe: Pipe, tmp_path: Path, workers: str, one: str) -> Iterator[Running]:
    """A gateway both of whose outputs are `pipe`."""
    file = tmp_path / "services.yml"
    file.write_text(labels(APP, endpoints=[one]))
    http, https, admin = free_port(), free_port(), free_port()
    ports = [
        "--http",
        f"127.0.0.1:{http}",
        "--https",
        f"127.0.0.1:{https}",
        "--admin",
        f"127.0.0.1:{admin}",
    ]
    command = [
        sys.executable,
        "-m",
        "meshlib_adapters.cli",
        "serve",
        *ports,
        "--workers",
        workers,
        "--services",
        str(file),
    ]
    process = subprocess.Popen(
        command,
        env=environment(MESHLIB_TIMEOUTS_DRAIN="1"),
        stdout=pipe.writer,
        stderr=pipe.writer,
        text=True,
    )
    addresses = {
        "http": ("127.0.0.1", http),
        "https": ("127.0.0.1", https),
        "admin": ("127.0.0.1", admin),
    }
    running = Running(process, tmp_path / "none", addresses)
    try:
        end = time.monotonic() + PATIENCE
        while "ready: " not in pipe.text:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        yield running
    finally:
        process.kill()
        process.wait()


def refused(address: tuple[str, int], count: int) -> None:
    """Connections that nobody has to stand in for, each of which is refused."""
    for _ in range(count):
        with (
            contextlib.suppress(ConnectionResetError),
            socket.create_connection(address, timeout=PATIENCE) as sock,
        ):
            sock.sendall(NO_HELLO)
            sock.recv(100)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_outputs_that_nobody_reads_hold_up_neither_requests_nor_the_end(
    pipe: Pipe, tmp_path: Path, workers: str
) -> None:
    with backend() as one, serving(pipe, tmp_path, workers, one.address) as running:
        pipe.stop()
        pipe.fill()
        refused(running.addresses["https"], REFUSED)
        for _ in range(REFUSED):
            assert ask(running.addresses["http"], host="nobody.example.com")[0] == 404
        assert running.ask("/-/live")[0] == 200
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_flood_of_clients_writes_few_lines_and_one_that_counts_them(
    tmp_path: Path, workers: str
) -> None:
    with lab(tmp_path) as gateways, backend() as one:
        running = gateways.serve(
            "--workers", workers, services=labels(APP, endpoints=[one.address])
        )
        before = len(running.log)
        refused(running.addresses["https"], REFUSED)

        def counted() -> bool:
            return Page(running).get("meshlib_log_lines_held_back_total") > REFUSED - 100

        wait_for(counted, running)
        assert len(running.log) - before < 80
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0
        told = sum(int(str(record["more"])) for record in running.log if "more" in record)
        assert (
            told
            + sum(
                "refused 127" in str(record["message"]) and "more" not in record
                for record in running.log
            )
            == REFUSED
        )


def test_a_mistake_at_the_start_ends_the_process_though_nobody_reads_it(
    pipe: Pipe, tmp_path: Path
) -> None:
    pipe.stop()
    pipe.fill()
    command = [
        sys.executable,
        "-m",
        "meshlib_adapters.cli",
        "serve",
        "--services",
        str(tmp_path / "none.yml"),
        "--admin",
        "x",
    ]
    process = subprocess.Popen(command, env=environment(), stdout=pipe.writer, stderr=pipe.writer)
    try:
        assert process.wait(PATIENCE) == 2
    finally:
        process.kill()
        process.wait()
