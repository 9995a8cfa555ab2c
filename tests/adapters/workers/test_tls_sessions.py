"""A TLS session stays on one task, whichever worker of the gateway takes the connection."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.commands import PATIENCE
from tests.support.worker_lab import Lab, lab, labels, status_of, wait_for

CLIENTS, RETURNS = 12, 6


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


class Task:
    """A TLS server with session tickets that no other one can read; says its name."""

    def __init__(self, name: str, authority: trustme.CA) -> None:
        self._name = name.encode()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("a.example").configure_cert(self._context)
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._sock.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            client.settimeout(PATIENCE)
            try:
                with self._context.wrap_socket(client, server_side=True) as tls:
                    tls.recv(10)
                    tls.sendall(self._name)
            except OSError:
                client.close()


@pytest.fixture
def tasks() -> Iterator[tuple[trustme.CA, list[Task]]]:
    authority = trustme.CA()
    made = [Task(f"task {number}", authority) for number in range(4)]
    yield authority, made
    for task in made:
        task.close()


def visit(
    address: tuple[str, int], context: ssl.SSLContext, source: str, session: ssl.SSLSession | None
) -> tuple[bytes, bool, ssl.SSLSession]:
    with (
        socket.create_connection(address, timeout=PATIENCE, source_address=(source, 0)) as sock,
        context.wrap_socket(sock, server_hostname="a.example", session=session) as tls,
    ):
        tls.sendall(b"who")
        reply = tls.recv(100)
        assert tls.session is not None
        return reply, bool(tls.session_reused), tls.session


def test_every_worker_finds_the_task_of_a_session(
    gateways: Lab, tasks: tuple[trustme.CA, list[Task]]
) -> None:
    authority, made = tasks
    route = labels(
        "external_route=sni://a.example,internal_port=443",
        endpoints=[task.address for task in made],
    )
    running = gateways.serve(services=route)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    homes = set()
    for client in range(CLIENTS):
        source = f"127.0.4.{client}"
        home, _, session = visit(running.addresses["https"], context, source, None)
        homes.add(home)
        for _ in range(RETURNS):
            again, reused, session = visit(running.addresses["https"], context, source, session)
            assert (again, reused) == (home, True)
    assert len(homes) > 1
    wait_for(lambda: bool(status_of(running)["workers"]), running)
    assert len(status_of(running)["workers"]) == 2
