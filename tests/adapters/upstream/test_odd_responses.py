"""Odd responses of old applications, through a gateway: always taken, on request, or never."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from meshlib.model import Contribution, ForwardTo, Snapshot
from meshlib.upstream_key import Transport
from tests.support.backend import Backend, Peer
from tests.support.http_fixtures import Start
from tests.support.odd_responses import ODD, ask, is_whole
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]


def routes(web: Backend, *, lenient: bool) -> Snapshot:
    (contribution,) = snapshot_of({"": [web]}).contributions
    (route,) = contribution.routes
    assert route.upstream is not None
    key = replace(route.upstream.key, transport=Transport(lenient=lenient))
    action = ForwardTo(replace(route.upstream, key=key))
    return Snapshot.of([Contribution("test/any", "any", routes=(replace(route, action=action),))])


@pytest.mark.parametrize("lenient", [False, True])
def test_what_is_taken_and_what_is_not(start: Start, backend: Make, lenient: bool) -> None:
    responses = iter([case["response"].encode("latin-1") for case in ODD])

    def respond(peer: Peer) -> None:
        peer.read_head()
        peer.send(next(responses))
        peer.sock.shutdown(socket.SHUT_WR)
        while peer.more():
            pass

    settings = quick(pool_size=0)
    running = start(routes(backend(respond), lenient=lenient), settings)
    wrong = []
    for case in ODD:
        response = ask(running.address)
        taken = case["taken"] == "always" or (case["taken"] == "lenient" and lenient)
        if is_whole(response, case.get("status", 200)) != taken:
            wrong.append((case["title"], case["taken"], response))
        # Nothing odd is passed on in any case.
        head = response.partition(b"\r\n\r\n")[0]
        assert not any(byte in head for byte in b"\0\x01\x7f\x1b"), case["title"]
        assert b"\n" not in head.replace(b"\r\n", b""), case["title"]
    assert wrong == []
