"""A gateway with workers as people run it, a backend behind it, and clients that keep asking."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.commands import PATIENCE, Running, environment, free_port

__all__ = [
    "Backend",
    "Clients",
    "Lab",
    "alive",
    "ask",
    "backend",
    "exchange",
    "lab",
    "labels",
    "status_of",
    "wait_for",
]


class Backend(http.server.ThreadingHTTPServer):
    """Responds with its name; `/slow` waits until `release` is set, `/login` begins a session."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, name: str) -> None:
        self.name = name
        self.release = threading.Event()
        self.waiting = 0
        super().__init__(("127.0.0.1", 0), _Responder)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Responder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.server.waiting += 1
            self.server.release.wait(PATIENCE)
        body = self.server.name.encode()
        self.send_response(200)
        if self.path == "/login":
            self.send_header("Set-Cookie", f"SESSION={os.urandom(8).hex()}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def backend(name: str = "one") -> Iterator[Backend]:
    with Backend(name) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()


def labels(*routes: str, endpoints: list[str]) -> str:
    """A file of services: one that has `routes` (a label's value each)."""
    values = {f"com.docker.ucp.mesh.http.{number}": value for number, value in enumerate(routes)}
    return json.dumps({"services": {"app": {"labels": values, "endpoints": endpoints}}})


@dataclass
class Lab:
    """Starts gateways, and ends those that are left. `program` is what Python runs: `meshlib`, or
    that with a fault in it.
    """

    path: Path
    program: tuple[str, str] = ("-m", "meshlib_adapters.cli")
    started: list[Running] = field(default_factory=list)

    def serve(
        self, *arguments: str, services: str = "", stdout: int | None = None, **variables: str
    ) -> Running:
        file = self.path / "services.yml"
        if services:
            file.write_text(services)
            arguments = ("--services", str(file), *arguments)
        admin = free_port()
        ports = [
            "--http",
            "127.0.0.1:0",
            "--https",
            "127.0.0.1:0",
            "--admin",
            f"127.0.0.1:{admin}",
            "--log-format",
            "json",
        ]
        log_file = self.path / f"serve-{len(self.started)}.log"
        with log_file.open("w") as log, (self.path / "access.log").open("a") as access:
            command = [sys.executable, *self.program, "serve", *ports, "--workers", "2", *arguments]
            process = subprocess.Popen(
                command,
                env=environment(**variables),
                stderr=log,
                stdout=stdout or access,
                text=True,
            )
        running = Running(process, log_file, {"admin": ("127.0.0.1", admin)})
        self.started.append(running)
        wait_for(lambda: running.logged("ready: ") or process.poll() is not None, running)
        assert process.poll() is None, log_file.read_text()
        for record in running.log:
            for part in str(record.get("addresses") or "").split(", "):
                name, _, address = part.partition(" ")
                if address:
                    host, _, port = address.rpartition(":")
                    running.addresses[name] = (host, int(port))
        return running

    def close(self) -> None:
        for running in self.started:
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGTERM)
                running.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(PATIENCE)
            running.process.kill()
            running.process.wait()


@contextlib.contextmanager
def lab(path: Path) -> Iterator[Lab]:
    made = Lab(path)
    try:
        yield made
    finally:
        made.close()


def wait_for(condition: Callable[[], bool], running: Running) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, running.log_file.read_text()
        time.sleep(0.02)


def status_of(running: Running) -> dict[str, Any]:
    code, data = running.ask("/-/status")
    assert code == 200
    return data


def ask(
    address: tuple[str, int], host: str = "app.example.com", path: str = "/", cookie: str = ""
) -> tuple[int, str, str]:
    """Status, body and the session that began, of one request on a connection of its own."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(
            "GET",
            path,
            headers={"Host": host, **({"Cookie": f"SESSION={cookie}"} if cookie else {})},
        )
        response = connection.getresponse()
        session = (response.getheader("Set-Cookie") or "").removeprefix("SESSION=")
        return response.status, response.read().decode(), session


def exchange(sock: socket.socket) -> bytes:
    """The response to a request for `/` on a connection that is there already; what there is of it,
    when the connection ends.
    """
    sock.sendall(b"GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
    response = b""
    while (
        b"\r\n\r\n" not in response or len(response.partition(b"\r\n\r\n")[2]) < 3
    ):  # a backend's name
        data = sock.recv(65536)
        if not data:
            break
        response += data
    return response


class Clients:
    """Threads that ask over kept connections until stopped; each has one request under way at most.

    What ends without its response is a failure, and the thread goes on with a new connection.
    """

    def __init__(self, address: tuple[str, int], count: int = 8) -> None:
        self.responded = 0
        self.failures: list[str] = []
        self._address = address
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with contextlib.ExitStack() as held:
            sock: socket.socket | None = None
            while not self._over.is_set():
                try:
                    if sock is None:
                        sock = held.enter_context(
                            socket.create_connection(self._address, timeout=PATIENCE)
                        )
                    response = exchange(sock)
                except OSError as error:
                    response = repr(error).encode()
                if response.startswith(b"HTTP/1.1 200 ") and response.endswith(b"one"):
                    self.responded += 1
                else:
                    self.failures.append(response.decode("latin-1") or "closed without a response")
                    if sock is not None:
                        sock.close()
                    sock = None
                time.sleep(0.002)


def alive(pid: int) -> bool:
    try:
        return not re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return False
