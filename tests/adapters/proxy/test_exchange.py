"""An exchange by itself, with a front that keeps what it is told to send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from meshlib.client_claims import Peer
from meshlib.errors import LimitExceeded
from meshlib.http1 import BodyKind, parse_request_head, parse_response_head
from meshlib.http2.sections import Pair
from meshlib.mesh import Mesh
from meshlib.model import RedirectRule
from meshlib.proxy_protocol import ProxyAddress
from meshlib.route_options import RouteOptions
from meshlib.table import RoutingTable
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.exchange import Exchange
from meshlib_adapters.proxy.exchange_state import State
from meshlib_adapters.proxy.local_responses import LocalResponse
from meshlib_adapters.proxy.outcomes import PENDING, Outcome
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.proxy.time_outs import check_time, end_slow, phase_time_out
from meshlib_adapters.upstream.messages import ForwardResponse
from tests.support.running import quick, snapshot_of


class ListFront:
    """Keeps what an exchange sends."""

    def __init__(self, tls: Any = None) -> None:
        self.peer = Peer("192.0.2.7", "https" if tls is not None else "http", 80)
        self.tls = tls
        self.body_pending = False
        self.sent: list[tuple[Any, ...]] = []
        self.exchange: Exchange | None = None

    def keep_time(self) -> None:
        self.sent.append(("time",))

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        return ProxyAddress("192.0.2.7", 1), ProxyAddress("192.0.2.1", 80)

    def decided(self, outcome: Outcome | None) -> None:
        self.sent.append(("decided", outcome))

    def send_interim(self, response: ForwardResponse) -> None:
        self.sent.append(("interim", response.status))

    def send_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        self.sent.append(("response", response.status, b"".join(pieces), done))

    def send_data(self, pieces: list[bytes], done: bool) -> None:
        self.sent.append(("data", b"".join(pieces), done))

    def send_local(self, response: LocalResponse) -> None:
        self.sent.append(("local", response.status, response.reason))
        assert self.exchange is not None
        self.exchange.end()

    def begin_tunnel(self, response: ForwardResponse, data: bytes) -> None:
        self.sent.append(("tunnel", data))

    def tunnel_data(self, data: bytes) -> None:
        self.sent.append(("tunnel data", data))

    def tunnel_eof(self) -> None:
        self.sent.append(("tunnel eof",))

    def pause_request(self, paused: bool) -> None:
        self.sent.append(("paused", paused))

    def cut(self, reason: str, who: str = "", *, at_once: bool = False) -> None:
        self.sent.append(("cut", reason, who, at_once))
        assert self.exchange is not None
        self.exchange.drop(reason, who)


class NoName:
    """TLS that covers no name of those that are asked for."""

    asks_clients = False

    def allows(self, authority: bytes, table: RoutingTable) -> bool:
        return False

    def proven_lines(self, lines: bytes) -> bytes:
        raise AssertionError("certificates are not asked for")

    def proven_pairs(self, pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
        raise AssertionError("certificates are not asked for")


class Stand:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tls: Any = None,
        *,
        options: Any = None,
        **changes: float,
    ) -> None:
        self.lines: list[str] = []
        snapshot = snapshot_of(
            {"a": [7001]},
            redirects={"old": RedirectRule("https://new.example.com", 301)},
            options=options,
        )
        self.snapshot = snapshot

        async def make() -> Proxy:
            log = AccessLog(lambda text: self.lines.extend(text.splitlines()))
            return Proxy(Mesh(snapshot), quick(**changes), access_log=log)

        self.proxy = loop.run_until_complete(make())
        self.front = ListFront(tls)
        self.exchange = self.front.exchange = Exchange(self.proxy, self.front)

    def begin(self, text: str) -> None:
        """A request without a body, as far as its decision says."""
        head = parse_request_head(text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        otherwise = self.exchange.route(head)
        if otherwise is None:
            self.exchange.forward(b"", done=True)
        else:
            assert otherwise is not PENDING
            self.exchange.respond(otherwise)

    def begin_in(self, loop: asyncio.AbstractEventLoop, text: str) -> None:
        """`begin`, where a connection is made for it."""

        async def begin() -> None:
            self.begin(text)

        loop.run_until_complete(begin())

    def reasons(self) -> list[str]:
        self.proxy.close()
        return [json.loads(line).get("reason", "") for line in self.lines]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


CASES = {
    "unknown host": ("GET / HTTP/1.1\nHost: nobody", ("local", 404, "no_route")),
    "redirect": ("GET /x HTTP/1.1\nHost: old", ("local", 301, "redirect")),
    "bad host": ("GET / HTTP/1.1\nHost: a..b", ("local", 400, "bad_authority")),
    "loop": (
        "GET / HTTP/1.1\nHost: a\nVia: " + ", ".join(["1.1 meshlib"] * 8),
        ("local", 508, "loop"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_responses_of_our_own_end_the_exchange(loop: asyncio.AbstractEventLoop, case: str) -> None:
    text, expected = CASES[case]
    stand = Stand(loop)
    stand.begin(text)
    assert stand.front.sent == [expected]
    assert stand.exchange.state is State.IDLE
    assert stand.reasons() == [expected[2]]


def test_a_name_of_another_connection(loop: asyncio.AbstractEventLoop) -> None:
    stand = Stand(loop, NoName())
    stand.begin("GET / HTTP/1.1\nHost: a")
    assert stand.front.sent == [("local", 421, "misdirected")]
    stand.proxy.close()


def test_a_request_that_is_dropped_while_it_waits(loop: asyncio.AbstractEventLoop) -> None:
    stand = Stand(loop)

    async def run() -> None:
        stand.begin("GET / HTTP/1.1\nHost: a")
        assert stand.exchange.state is State.WAITING
        stand.exchange.drop("client_closed")

    loop.run_until_complete(run())
    assert stand.exchange.state is State.IDLE
    assert stand.front.sent == []
    assert stand.reasons() == ["client_closed"]


@pytest.mark.parametrize("size", [0, 10, 11])
def test_the_limit_of_bodies(loop: asyncio.AbstractEventLoop, size: int) -> None:
    stand = Stand(loop, max_body=10)
    if size > 10:
        with pytest.raises(LimitExceeded) as raised:
            stand.exchange.check_body(size)
        assert raised.value.status_hint == 413
    else:
        stand.exchange.check_body(size)
    stand.proxy.close()


# Time-outs: whoever owes the next bytes is to blame.

LIMITS = {"response_head": 3.0, "between_bytes": 5.0, "tunnel_idle": 7.0}
GET = "GET / HTTP/1.1\nHost: a"


def responding(stand: Stand, *, clear: bool = True) -> None:
    head = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    stand.exchange.on_response(ForwardResponse.of_http1(head), BodyKind.LENGTH, [], False)
    if clear:
        stand.front.sent.clear()


def tunnelling(stand: Stand, *, clear: bool = True) -> None:
    head = parse_response_head(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    )
    stand.exchange.on_upgrade(ForwardResponse.of_http1(head), b"")
    if clear:
        stand.front.sent.clear()


TIMES = {
    "a response that does not begin": (None, False, False, 3.0, ("local", 504)),
    "a body that does not come": (None, True, True, 5.0, ("local", 408)),
    "an endpoint that does not take the body": (None, True, False, 5.0, ("local", 504)),
    "a response that stops": (responding, False, False, 5.0, ("cut", "S")),
    "a client that does not take it": (responding, False, True, 5.0, ("cut", "C")),
    "a tunnel": (tunnelling, False, False, 7.0, ("cut", "")),
}


@pytest.mark.parametrize("case", TIMES)
@pytest.mark.parametrize("seconds", [2, 9])
def test_time_outs_of_a_route_take_the_place_of_the_settings(
    loop: asyncio.AbstractEventLoop, case: str, seconds: int
) -> None:
    begin, pending, client_owes, _, (what, which) = TIMES[case]
    options = RouteOptions(response_head=seconds, between_bytes=seconds, tunnel_idle=seconds)
    stand = Stand(loop, options=options, **LIMITS)
    stand.front.body_pending = pending
    stand.begin_in(loop, GET)
    # Whoever looks after time-outs is told, for they may be shorter than all that it knows of.
    assert stand.front.sent == [("time",)]
    if begin is not None:
        stand.front.sent.clear()
        begin(stand, clear=False)
        assert stand.front.sent[-1] == ("time",)
    stand.front.sent.clear()
    check_time(stand.exchange, seconds - 0.1, client_owes=client_owes)
    assert stand.front.sent == []
    check_time(stand.exchange, seconds, client_owes=client_owes)
    ((kind, *rest),) = stand.front.sent
    assert kind == what
    assert rest[0 if what == "local" else 1] == which
    stand.proxy.close()


def test_the_time_out_of_each_phase(loop: asyncio.AbstractEventLoop) -> None:
    stand = Stand(loop, options=RouteOptions(response_head=1, between_bytes=2, tunnel_idle=3))
    assert {phase_time_out(stand.exchange, phase, 9.0) for phase in Phase} == {9.0}
    stand.begin_in(loop, GET)
    found = {phase.name: phase_time_out(stand.exchange, phase, 9.0) for phase in Phase}
    own = {"BODY": 2, "RESPONSE": 1, "STREAM": 2, "TUNNEL": 3}
    assert found == dict.fromkeys([phase.name for phase in Phase], 9.0) | own
    stand.proxy.close()
    stand = Stand(loop)
    stand.begin_in(loop, GET)
    assert {phase_time_out(stand.exchange, phase, 9.0) for phase in Phase} == {9.0}
    stand.proxy.close()


@pytest.mark.parametrize("case", TIMES)
def test_time_outs(loop: asyncio.AbstractEventLoop, case: str) -> None:
    begin, pending, client_owes, limit, (what, which) = TIMES[case]
    stand = Stand(loop, **LIMITS)
    stand.front.body_pending = pending
    stand.begin_in(loop, GET)
    if begin is not None:
        begin(stand)
    check_time(stand.exchange, limit - 0.1, client_owes=client_owes)
    assert stand.front.sent == []
    check_time(stand.exchange, limit, client_owes=client_owes)
    ((kind, *rest),) = stand.front.sent
    assert kind == what
    assert rest[0 if what == "local" else 1] == which
    assert what == "local" or rest[2] is True
    stand.proxy.close()


@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_is_too_slow(loop: asyncio.AbstractEventLoop, begun: bool) -> None:
    stand = Stand(loop)
    stand.begin_in(loop, GET)
    if begun:
        responding(stand)
    end_slow(stand.exchange, "body_too_slow")
    expected = ("cut", "body_too_slow", "C", True) if begun else ("local", 408, "body_too_slow")
    assert stand.front.sent == [expected]
    stand.proxy.close()


TOKEN = "/.well-known/acme-challenge/AbC"


@pytest.mark.parametrize(
    ("labels", "target", "proto", "expected"),
    [
        (1, "/x", "", (301, "redirect")),
        (1, "/x", "http", (301, "redirect")),
        (1, "/x", "https", (508, "redirect_loop")),
        (1, TOKEN, "", (301, "redirect")),
        (2, "/x", "", (301, "redirect")),
        (2, "/x", "https", None),
        (2, TOKEN, "", None),
        (2, TOKEN + "/..", "", (301, "redirect")),
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_the_redirect_pair_of_hrm_behind_a_proxy_that_ends_tls(
    labels: int, target: str, proto: str, expected: tuple[int, str] | None, trusted: bool
) -> None:
    key = "com.docker.ucp.mesh.http"
    pair = {
        f"{key}.1": "external_route=http://h.example,redirect=https://h.example",
        f"{key}.2": "external_route=http://h.example,internal_port=80",
    }
    given = dict(list(pair.items())[:labels])

    async def ask() -> list[tuple[Any, ...]]:
        proxy = Proxy(Mesh.from_labels(given, ["127.0.0.1:9"]), quick())
        front = ListFront()
        front.peer = Peer("192.0.2.7", "http", 80, trusted)
        exchange = front.exchange = Exchange(proxy, front)
        claim = f"X-Forwarded-Proto: {proto}\r\n" if proto else ""
        head = parse_request_head(
            f"GET {target} HTTP/1.1\r\nHost: h.example\r\n{claim}\r\n".encode()
        )
        otherwise = exchange.route(head)
        if otherwise is not None:
            assert otherwise is not PENDING
            exchange.respond(otherwise)
        proxy.close()
        return front.sent

    if not trusted and target == "/x":
        expected = (301, "redirect")
    sent = asyncio.run(ask())
    assert sent == ([("local", *expected)] if expected is not None else [])
