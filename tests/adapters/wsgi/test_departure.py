from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from meshlib_adapters.wsgi.departure import departure_of
from tests.support.backend import reset

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    yield client, server
    client.close()
    server.close()


def test_where_nobody_can_tell() -> None:
    assert departure_of({}) is None
    assert departure_of({"gunicorn.socket": object()}) is None


def test_waitress_tells() -> None:
    told = [False, True]
    has_gone = departure_of({"waitress.client_disconnected": lambda: told.pop(0)})
    assert has_gone is not None
    assert [has_gone(), has_gone()] == [False, True]


def test_a_socket_that_has_ended(pair: Pair) -> None:
    client, server = pair
    has_gone = departure_of({"gunicorn.socket": server})
    assert has_gone is not None
    assert not has_gone()
    client.send(b"the next request")
    assert not has_gone()
    assert server.recv(100) == b"the next request"  # nothing was taken from it
    client.close()
    assert has_gone()
    assert has_gone()


def test_a_socket_that_was_reset_or_closed(pair: Pair) -> None:
    client, server = pair
    has_gone = departure_of({"gunicorn.socket": server})
    assert has_gone is not None
    reset(client)
    assert has_gone()
    server.close()
    assert has_gone()
