"""Troubles on the wire that nginx or HAProxy do not have: each is tried on them and on ours, so
that what "right" means is theirs and not only ours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.differential.compare import TIMEOUT
from tests.support.backend import OK, Backend, Lost, Peer, Script
from tests.support.client import Client, get
from tests.support.http_fixtures import backend, stack
from tests.support.other_proxies import other_proxy
from tests.support.running import RunningGateway, snapshot_of

__all__ = ["backend", "stack"]

pytestmark = TIMEOUT

Address = tuple[str, int]
_SIZE: Final = 3_000_000
_SWITCH: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
)
# Refused, or given up on, at once: far less than the time that a head or a body has.
_AT_ONCE: Final = 3.0


@dataclass(frozen=True)
class Trouble:
    """What the backend does, whether what a client then sees is right, and who does it right."""

    backend: Script
    is_right: Callable[[Address], bool]
    rightly: tuple[str, ...]


def _refuses_an_upload(peer: Peer) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch")
    with suppress(Lost):
        peer.read_rest()


def _upload(address: Address) -> bool:
    # The client goes on sending, and must be read for that long: else a reset takes the response
    # from it.
    client = Client(address)
    upload = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % _SIZE
    sender = threading.Thread(target=client.send, args=(upload + bytes(_SIZE),))
    sender.start()
    sender.join()
    try:
        response = client.read_response()
    except Lost:
        return False
    finally:
        client.close()
    return (response.status, response.body) == (413, b"much")


def _pauses(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst ")
    time.sleep(1.2)
    peer.send(b"and last")


def _half_closed(address: Address) -> bool:
    client = Client(address)
    client.send(get().replace(b"HTTP/1.1", b"HTTP/1.0"))
    client.shut()
    response = client.read_rest()
    client.close()
    return response.endswith(b"first and last") and client.ended == "fin"


def _responds_once(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)
    time.sleep(0.02)


def _kept(address: Address) -> bool:
    # The endpoint has closed the connection that was kept.
    client = Client(address)
    try:
        statuses = []
        for _ in range(10):
            statuses.append(client.ask(get()).status)
            time.sleep(0.03)
    except Lost:
        return False
    finally:
        client.close()
    return statuses == [200] * 10


def _ends_when_asked_again(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)
    peer.read_request()


def _asked_again(address: Address) -> bool:
    client = Client(address)
    try:
        return [client.ask(get()).status for _ in range(10)] == [200] * 10
    except Lost:
        return False
    finally:
        client.close()


def _upgrades(peer: Peer) -> None:
    if b"Upgrade" in peer.read_request().title():
        if peer.number and peer.raw.count(b"GET /") == 1:
            peer.send(_SWITCH)
            peer.read_rest()
        return  # closed: it was kept for too long
    peer.send(OK)
    if b"pgrade" in peer.read_request():
        return


def _handshake(address: Address) -> bool:
    client = Client(address)
    other = Client(address)
    try:
        if other.ask(get()).status != 200:
            return False
        client.send(get("/ws", "a", "Connection: upgrade", "Upgrade: websocket"))
        return client.read_head().status == 101
    except Lost:
        return False
    finally:
        client.close()
        other.close()


def _responds(peer: Peer) -> None:
    with suppress(Lost):
        while True:
            peer.read_request()
            peer.send(OK)


def _at_once(wire: bytes) -> Callable[[Address], bool]:
    # Whatever it is taken for, nobody waits for what can never come.
    def is_right(address: Address) -> bool:
        client = Client(address)
        began = time.monotonic()
        client.sock.settimeout(_AT_ONCE)
        client.send(wire)
        try:
            client.more()
        except TimeoutError:
            return False
        finally:
            client.close()
        return time.monotonic() - began < _AT_ONCE

    return is_right


def _leading_line(address: Address) -> bool:
    client = Client(address)
    try:
        return [client.ask(b"\r\n" + get()).status for _ in range(2)] == [200, 200]
    except Lost:
        return False
    finally:
        client.close()


def _switches_unasked(peer: Peer) -> None:
    peer.read_request()
    peer.send(_SWITCH + b"frames")
    with suppress(Lost):
        peer.read_rest()


def _no_tunnel(address: Address) -> bool:
    client = Client(address)
    client.sock.settimeout(_AT_ONCE)
    client.send(get())
    try:
        return client.more().startswith(b"HTTP/1.1 502")
    except TimeoutError:
        return False
    finally:
        client.close()


_TRAILERS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\n"
TROUBLES: Final = {
    "a response in the middle of an upload": Trouble(
        _refuses_an_upload, _upload, ("nginx", "haproxy")
    ),
    "a client that is half closed, and a pause": Trouble(_pauses, _half_closed, ("haproxy",)),
    "a kept connection that has ended": Trouble(_responds_once, _kept, ("nginx", "haproxy")),
    "a kept connection that ends": Trouble(_ends_when_asked_again, _asked_again, ("nginx",)),
    "a handshake on a kept connection": Trouble(_upgrades, _handshake, ("nginx",)),
    "LF at the end of trailers": Trouble(_responds, _at_once(_TRAILERS), ("nginx", "haproxy")),
    "CR at the end of a head": Trouble(
        _responds,
        _at_once(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\rabc"),
        ("nginx", "haproxy"),
    ),
    "LF at the end of a head": Trouble(
        _responds, _at_once(b"GET / HTTP/1.1\r\nHost: h\r\n\n"), ("nginx", "haproxy")
    ),
    "an empty line in front": Trouble(_responds, _leading_line, ("nginx", "haproxy")),
    "a 101 that nobody asked for": Trouble(_switches_unasked, _no_tunnel, ("haproxy",)),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_they_do_it_right(
    name: str, trouble: Trouble, tmp_path: Path, backend: Callable[..., Backend]
) -> None:
    behind = backend(trouble.backend)
    with other_proxy(name, tmp_path, behind.port, kept=True) as address:
        assert trouble.is_right(address) == (name in trouble.rightly)


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_so_do_we(trouble: Trouble, backend: Callable[..., Backend]) -> None:
    running = RunningGateway(snapshot_of({"": [backend(trouble.backend)]}))
    try:
        assert trouble.is_right(running.address)
    finally:
        running.stop()
