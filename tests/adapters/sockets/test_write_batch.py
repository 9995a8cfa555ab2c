"""What is written at the end of a round of the event loop: what else happens in it neither loses
that nor gives it to somebody else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

import pytest

from meshlib.model import RedirectRule
from meshlib_adapters.sockets.write_batch import WriteBatch
from tests.support.backend import OK, Backend, Peer
from tests.support.client import Client, get
from tests.support.http_fixtures import LoopFactory, Start
from tests.support.running import RunningGateway, snapshot_of

Make = Callable[..., Backend]

POST = b"POST /once HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
SECRET = OK.replace(b"ok", b"no")


def in_one_round(site: RunningGateway, *calls: Callable[[], None]) -> None:
    """While these are called the gateway's loop stands still: it finds what they did all at once,
    in their order.
    """
    site.call(lambda: [call() for call in calls])


def silent(peer: Peer) -> None:
    """Reads requests; what it responds, and when, is the test's."""
    while True:
        peer.read_request()


class Note:
    def __init__(self, notes: list[str], text: str) -> None:
        self.notes, self.text = notes, text

    def __repr__(self) -> str:
        return f"<Note {self.text}>"

    def flush(self) -> None:
        if self.text == "bad":
            raise OSError("gone")
        self.notes.append(self.text)


def test_all_of_a_round_in_their_order(loop_factory: LoopFactory) -> None:
    """One that fails costs the others nothing, and the loop is told."""
    loop = loop_factory()
    told: list[str] = []
    notes: list[str] = []
    loop.set_exception_handler(lambda _loop, context: told.append(context["message"]))
    write_batch = WriteBatch(loop)

    async def rounds() -> None:
        for text in ("a", "bad", "b"):
            write_batch.add(Note(notes, text))
        assert notes == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert notes == ["a", "b"]
        write_batch.add(Note(notes, "c"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    try:
        loop.run_until_complete(rounds())
    finally:
        loop.close()
    assert notes == ["a", "b", "c"]
    assert told == ["writing for <Note bad> failed"]


def test_an_idle_connection_dies_as_it_is_taken(start: Start, backend: Make) -> None:
    """Nothing of the request has gone out, so even a POST is safe with the next connection."""
    upstream = backend()
    site = start(upstream)
    client = site.client()
    for number in range(10):
        client.send(get(f"/{number}"))
        assert client.read_response().status == 200
        peer = upstream.peer(number)
        in_one_round(
            site, partial(client.send, POST), partial(peer.sock.shutdown, socket.SHUT_RDWR)
        )
        assert client.read_response().status == 200
    assert sum(request.startswith(b"POST") for request in upstream.requests) == 10


def test_an_response_to_nothing_as_the_connection_is_taken(start: Start, backend: Make) -> None:
    """What came before the request went out is no response to it."""
    upstream = backend()
    site = start(upstream)
    client = site.client()
    for number in range(10):
        client.send(get(f"/{number}"))
        assert client.read_response().status == 200
        peer = upstream.peer(number)
        in_one_round(site, partial(client.send, POST), partial(peer.send, SECRET))
        assert client.read_response().body == b"ok"


@pytest.mark.parametrize("last", [False, True], ids=["kept", "last"])
def test_an_response_and_the_end_of_the_client_s_side(
    start: Start, backend: Make, last: bool
) -> None:
    """A client that has asked and then says FIN has its response, though both come in the same
    round.
    """
    upstream = backend(silent)
    site = start(upstream)
    for number in range(10):
        client = site.client()
        client.send(get("/", "a", "Connection: close") if last else get())
        upstream.wait(lambda number=number: len(upstream.requests) == number + 1)  # type: ignore[misc]
        in_one_round(site, partial(upstream.peer().send, OK), client.shut)
        assert client.read_response().body == b"ok"
        assert client.read_rest() == b""
        assert client.ended == "fin"


def test_an_response_to_one_who_is_gone(start: Start, backend: Make) -> None:
    """Its connection object may serve the next client in the same round: that one never sees it."""
    upstream = backend(silent)
    site = start(upstream)
    for number in range(10):
        first = site.client()
        first.send(get("/first"))
        upstream.wait(lambda number=number: len(upstream.requests) == 2 * number + 1)  # type: ignore[misc]
        others: list[Client] = []

        def at_once(first: Client = first, others: list[Client] = others) -> None:
            upstream.peer().send(SECRET)
            first.reset()
            others.append(site.client())
            others[0].send(get("/second"))

        site.call(at_once)
        upstream.wait(lambda number=number: len(upstream.requests) == 2 * number + 2)  # type: ignore[misc]
        (asked,) = [
            peer
            for peer in upstream.peers
            if peer.requests and peer.requests[-1].startswith(b"GET /second ") and not peer.ended
        ]
        asked.send(OK)
        assert others[0].read_response().body == b"ok"
        others[0].close()


def test_what_we_say_ourselves_comes_behind(start: Start, backend: Make) -> None:
    """Pipelined: an endpoint's response, then a redirect of ours, then an error of ours."""
    upstream = backend()
    rule = RedirectRule("https://c.example")
    site = start(snapshot_of({"a": [upstream]}, redirects={"b": rule}))
    for _ in range(5):
        client = site.client()
        client.send(get("/", "a") + get("/", "b") + get("/", "nobody") + get("/", "a"))
        assert [client.read_response().status for _ in range(4)] == [200, rule.status, 404, 200]
        client.close()


def test_those_who_come_together_are_taken_together(start: Start, backend: Make) -> None:
    """Few rounds of the loop for many new connections: what a round writes goes out at once only if
    a round has much to write.
    """
    site = start(backend())
    clients: list[Client] = []

    async def rounds() -> int:
        clients.extend(site.client() for _ in range(32))
        count = 0
        while len(site.listener.clients) < 32:
            await asyncio.sleep(0)
            count += 1
        return count

    assert site.run(rounds()) <= 16
