"""Bodies that come faster than they are taken: whoever sends them is told to wait for as long as
anybody has to, and no longer.

Without sockets: a connection of these tests says by itself when it takes no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlib_adapters.upstream.connect_race import ConnectRace
from meshlib_adapters.upstream.http1 import HTTP1EndpointConnection
from tests.support.wires import Place, Wire

UPLOAD = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"
MUCH = bytes(100_000)  # more than `buffer_size`


@pytest.fixture
def place() -> Iterator[Callable[..., Place]]:
    loop = asyncio.new_event_loop()
    made: list[Place] = []
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(context))

    def make() -> Place:
        made.append(Place(loop))
        return made[-1]

    yield make
    for one in made:
        loop.call_soon(one.close)
        one.turn()
    loop.close()
    assert not problems


class Full(Wire):
    """Takes everything, and tells its protocol from the first byte on that it should wait."""

    connection: HTTP1EndpointConnection

    def write(self, data: Any) -> None:
        super().write(data)
        self.connection.pause_writing()


def connecting(site: Place) -> ConnectRace:
    """A connection is being made for the client's upload, and the client waits because it has sent
    much. Never comes by itself.
    """
    site.client.data_received(UPLOAD)
    site.client.data_received(MUCH)
    assert not site.wire.reading
    attempt = site.client.exchange.request.connecting
    assert isinstance(attempt, ConnectRace)
    attempt.cancel()
    return attempt


def test_a_connection_that_takes_no_more_of_what_has_waited_for_it(
    place: Callable[..., Place],
) -> None:
    site = place()
    connecting(site)
    connection, _ = site.endpoint()
    wire = connection.transport = Full()
    wire.connection = connection
    site.pool().lease(connection)
    site.client.exchange.request.on_connection(connection, 0.0)
    assert wire.sent.endswith(MUCH)
    assert not site.wire.reading
    connection.resume_writing()
    assert site.wire.reading


def test_a_connection_that_takes_all_of_it(place: Callable[..., Place]) -> None:
    site = place()
    connecting(site)
    connection, wire = site.endpoint()
    site.pool().lease(connection)
    site.client.exchange.request.on_connection(connection, 0.0)
    assert wire.sent.endswith(MUCH)
    assert site.wire.reading


def test_the_next_client_has_to_wait_like_any_other(place: Callable[..., Place]) -> None:
    """What served a client whose upload failed while it waited serves another."""
    site = place()
    chunked = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    site.client.data_received(chunked)
    attempt = site.client.exchange.request.connecting
    assert isinstance(attempt, ConnectRace)
    attempt.cancel()
    size = len(MUCH)
    site.client.data_received(
        b"%x\r\n%s\r\n%s" % (size, MUCH, b"1\r\nx\r\n" * 1000 + b"nonsense\r\n")
    )
    assert not site.wire.reading
    site.turns(lambda: b" 400 " in site.wire.sent)
    site.client.connection_lost(None)
    site.wire = Wire()
    assert site.connected(site.wire) is site.client
    connecting(site)
