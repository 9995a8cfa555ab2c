"""One policy whatever the protocol: each case goes through the front of HTTP/1, that of HTTP/2 and
that of ASGI, has the same end in all of them, and takes the same states on the way there. All
transitions that the table allows are taken by some case, and no other ever is.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from meshlib.hook_values import Request as HookRequest
from meshlib.hook_values import Response
from meshlib.http2.sections import Pair
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.table import RoutingTable
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.http1 import response_writer
from meshlib_adapters.http2 import stream
from meshlib_adapters.proxy import awaited
from meshlib_adapters.proxy.exchange_state import TRANSITIONS, State
from tests.support.fronts import (
    CLOSE,
    FRONTS,
    EndpointLoop,
    FrontClient,
    FrontName,
    Request,
    Script,
    Stand,
    recorded,
)
from tests.support.running import quick

IDLE, ROUTED, WAITING = State.IDLE, State.ROUTED, State.WAITING
RESPONDING, TUNNEL = State.RESPONDING, State.TUNNEL
DECIDING = State.DECIDING
OURS = (ROUTED, RESPONDING, IDLE)
FORWARDED = (ROUTED, WAITING, RESPONDING, IDLE)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


class Names:
    """TLS whose certificate covers what is asked for, or nothing of it."""

    asks_clients = False

    def __init__(self, covers: bool) -> None:
        self._covers = covers

    def allows(self, authority: bytes, table: RoutingTable) -> bool:
        return self._covers

    def proven_lines(self, lines: bytes) -> bytes:
        raise AssertionError("certificates are not asked for")

    def proven_pairs(self, pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
        raise AssertionError("certificates are not asked for")


def says(*events: bytes) -> Script:
    return lambda head: events


def accepts(head: bytes) -> list[bytes]:
    """A WebSocket server's handshake (RFC 6455 4.2.2)."""
    match = re.search(rb"(?i)sec-websocket-key: (\S+)", head)
    assert match is not None
    accept = base64.b64encode(hashlib.sha1(match[1] + _GUID).digest())
    fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accept
    return [b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n\r\n"]


def route(host: str, *ports: int, **options: Any) -> Contribution:
    """A host whose endpoints are named after their ports; without any it has none."""
    endpoints = tuple(Endpoint(str(port), "127.0.0.1", port) for port in ports)
    to = ForwardTo(Upstream(UpstreamKey(host, 80), endpoints))
    one = Route(HostPath(host), to, RouteOptions(**options), service=host, label="l", schema="s")
    return Contribution(f"test/{host}", host, routes=(one,))


def moved(host: str, rule: RedirectRule) -> Contribution:
    one = Route(HostPath(host), rule, service=host, label="l", schema="s")
    return Contribution(f"test/{host}", host, routes=(one,))


SNAPSHOT = Snapshot.of(
    [
        route("a", 7001),
        route("two", 7001, 7002),
        route("empty"),
        route("gone", 7009),
        route("sticky", 7001, 7002, 7003, sticky_cookie="SID"),
        route("private", 7001, https_only=True),
        route("strict", 7001, hsts="max-age=300"),
        route("passes", 7001, hooks=("passes",)),
        route("refuses", 7001, hooks=("refuses",)),
        route("raises", 7001, hooks=("raises",)),
        route("waits", 7001, hooks=("waits",)),
        route("unprotected", 7001, hooks=("unknown",)),
        moved("old", RedirectRule("https://new.example.com", 301)),
    ]
)


async def passes(request: HookRequest) -> None:
    await asyncio.sleep(0)


async def refuses(request: HookRequest) -> Response:
    await asyncio.sleep(0)
    return Response(401, {"WWW-Authenticate": "Basic"}, "who are you?")


async def raises(request: HookRequest) -> None:
    await asyncio.sleep(0)
    raise LookupError("no such user")


async def waits(request: HookRequest) -> None:
    await asyncio.Event().wait()


HOOKS = (passes, refuses, raises, waits)
DECIDED = (ROUTED, DECIDING, ROUTED)

Plot = Callable[[Stand, FrontClient], None]


def nothing_more(stand: Stand, client: FrontClient) -> None:
    """The client waits for what comes."""


def client_leaves(stand: Stand, client: FrontClient) -> None:
    client.leave()


def nobody_hurries(stand: Stand, client: FrontClient) -> None:
    client.wait_too_long()


def eleven_bytes(stand: Stand, client: FrontClient) -> None:
    client.body(b"x" * 11)


def time_passes(stand: Stand, client: FrontClient) -> None:
    stand.loop.run_until_complete(asyncio.sleep(0.05))


def endpoint_ends(stand: Stand, client: FrontClient) -> None:
    stand.loop.wires[0].say(CLOSE)


@dataclass(frozen=True)
class Case:
    """A request, what is done about it, and how it ends: the status that the client gets, reason
    and termination code of the record, the endpoint in it, and how many were asked.
    """

    status: int
    reason: str
    termination: str
    states: tuple[State, ...] = OURS
    endpoint: str | None = None
    tries: int | None = None
    request: Request = field(default_factory=Request)
    scripts: dict[int, Script] = field(default_factory=lambda: {7001: says(OK)})
    plot: Plot = nothing_more
    settings: dict[str, float] = field(default_factory=dict)
    secure: bool = False
    tls: Names | None = None
    certified: bool = False
    # Fronts that cannot meet it.
    without: tuple[FrontName, ...] = ()
    # Those where no exchange begins, which therefore write no record.
    unrecorded: tuple[FrontName, ...] = ()


def forwarded(status: int, reason: str, termination: str, *states: State, **more: Any) -> Case:
    """A case of a request that one endpoint is asked."""
    rest = {"endpoint": "7001", "tries": 1, **more}
    return Case(status, reason, termination, (ROUTED, WAITING, *states, IDLE), **rest)


CASES = {
    # Responses of our own.
    "unknown host": Case(404, "no_route", "PQ", request=Request("nobody")),
    "name that is none": Case(400, "bad_authority", "PR", request=Request("a..b")),
    "name of another certificate": Case(
        421, "misdirected", "PQ", secure=True, tls=Names(False), without=("ASGI",)
    ),
    "redirect": Case(301, "redirect", "--", request=Request("old")),
    "redirect to TLS": Case(308, "redirect", "--", request=Request("private")),
    "redirect to TLS, after which it is there": forwarded(
        200, "", "--", RESPONDING, request=Request("private"), secure=True
    ),
    "certificate wanted, and no TLS": Case(
        403, "client_certificate_required", "PQ", certified=True
    ),
    "loop": Case(
        508, "loop", "PR", request=Request(fields=(("Via", ", ".join(["1.1 meshlib"] * 8)),))
    ),
    "no endpoint": Case(503, "no_endpoint", "PQ", request=Request("empty")),
    "too many fields": Case(
        431,
        "too_many_fields",
        "PR",
        (RESPONDING, IDLE),
        request=Request(fields=tuple((f"X-{number}", "y") for number in range(20))),
        settings={"field_count": 10},
        unrecorded=("ASGI",),
    ),
    "body that says it is too large": Case(
        413,
        "body_too_large",
        "PB",
        request=Request(method="POST", body=True, length=11),
        settings={"max_body": 10},
        unrecorded=("ASGI",),
    ),
    "body that turns out too large": forwarded(
        413,
        "body_too_large",
        "PB",
        RESPONDING,
        request=Request(method="POST", body=True),
        scripts={7001: says()},
        plot=eleven_bytes,
        settings={"max_body": 10},
    ),
    # What hooks do.
    "hook that lets it pass": Case(
        200,
        "",
        "--",
        (*DECIDED, WAITING, RESPONDING, IDLE),
        endpoint="7001",
        tries=1,
        request=Request("passes"),
    ),
    "hook that lets a body pass": Case(
        200,
        "",
        "--",
        (*DECIDED, WAITING, RESPONDING, IDLE),
        endpoint="7001",
        tries=1,
        request=Request("passes", method="POST", body=True),
        plot=eleven_bytes,
    ),
    "hook that refuses": Case(
        401, "hook", "PQ", (*DECIDED, RESPONDING, IDLE), request=Request("refuses")
    ),
    "hook that raises": Case(
        500, "hook_failed", "PQ", (*DECIDED, RESPONDING, IDLE), request=Request("raises")
    ),
    "hook that takes too long": Case(
        500,
        "hook_timeout",
        "PQ",
        (*DECIDED, RESPONDING, IDLE),
        request=Request("waits"),
        plot=time_passes,
        settings={"hooks": 0.01},
    ),
    "client that leaves while a hook decides": Case(
        0,
        "client_closed",
        "CQ",
        (ROUTED, DECIDING, IDLE),
        request=Request("waits"),
        plot=client_leaves,
    ),
    "time-outs while a hook decides": Case(
        0,
        "client_closed",
        "CQ",
        (ROUTED, DECIDING, IDLE),
        request=Request("waits"),
        plot=nobody_hurries,
    ),
    "body that is too large while a hook decides": Case(
        413,
        "body_too_large",
        "PB",
        (ROUTED, DECIDING, RESPONDING, IDLE),
        request=Request("waits", method="POST", body=True),
        plot=eleven_bytes,
        settings={"max_body": 10},
        without=("HTTP/1", "ASGI"),  # they do not look into it yet
    ),
    "route that names a hook that is not there": Case(
        503, "unknown_hook", "PQ", request=Request("unprotected")
    ),
    # What endpoints do.
    "response": forwarded(200, "", "--", RESPONDING),
    "response to a body": forwarded(
        200, "", "--", RESPONDING, request=Request(method="POST", body=True), plot=eleven_bytes
    ),
    "nobody listens": forwarded(
        502, "connect_refused", "SC", RESPONDING, request=Request("gone"), endpoint="7009"
    ),
    "the next endpoint responds": forwarded(
        200,
        "",
        "--",
        RESPONDING,
        request=Request("two"),
        scripts={7002: says(OK)},
        endpoint="7002",
        tries=None,
    ),
    "endpoint that closes without a response": forwarded(
        502, "upstream_closed", "SH", RESPONDING, scripts={7001: says(CLOSE)}
    ),
    "endpoint that talks nonsense": forwarded(
        502, "bad_response", "SH", RESPONDING, scripts={7001: says(b"nonsense\r\n\r\n")}
    ),
    "endpoint that is silent": forwarded(
        504, "upstream_timeout", "SH", RESPONDING, scripts={7001: says()}, plot=nobody_hurries
    ),
    "response that is cut": forwarded(
        200, "upstream_closed", "SD", RESPONDING, scripts={7001: says(HALF, CLOSE)}
    ),
    "response that stops": forwarded(
        200,
        "between_bytes_timeout",
        "SD",
        RESPONDING,
        scripts={7001: says(HALF)},
        plot=nobody_hurries,
    ),
    # What clients do.
    "client that leaves before the response": forwarded(
        0, "client_closed", "CH", scripts={7001: says()}, plot=client_leaves
    ),
    "client that leaves in the response": forwarded(
        200, "client_closed", "CD", RESPONDING, scripts={7001: says(HALF)}, plot=client_leaves
    ),
    "client that leaves before it has said whether there is a body": Case(
        0,
        "client_closed",
        "CB",
        (ROUTED, IDLE),
        request=Request(method="POST", body=True, silent=True),
        plot=client_leaves,
        without=("HTTP/1", "HTTP/2"),
    ),
    # Upgrades.
    "tunnel that the endpoint ends": forwarded(
        101,
        "",
        "--",
        TUNNEL,
        request=Request(websocket=True),
        scripts={7001: accepts},
        plot=endpoint_ends,
        without=("HTTP/2",),
    ),
    "tunnel that the client ends": forwarded(
        101,
        "",
        "--",
        TUNNEL,
        request=Request(websocket=True),
        scripts={7001: accepts},
        plot=client_leaves,
        without=("HTTP/2",),
    ),
    "tunnel that nobody uses": forwarded(
        101,
        "tunnel_idle",
        "PT",
        TUNNEL,
        request=Request(websocket=True),
        scripts={7001: accepts},
        plot=nobody_hurries,
        without=("HTTP/2",),
    ),
    "upgrade that is refused": forwarded(
        200, "", "--", RESPONDING, request=Request(websocket=True), without=("HTTP/2",)
    ),
}
MET = [
    (name, front) for name, case in CASES.items() for front in FRONTS if front not in case.without
]


@pytest.fixture
def loop() -> Iterator[EndpointLoop]:
    loop = EndpointLoop()
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(context))
    asyncio.set_event_loop(loop)
    yield loop
    loop.close()
    asyncio.set_event_loop(None)
    assert not problems


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[State, State]]:
    """The transitions of every exchange of a test, as they happen."""
    found: list[tuple[State, State]] = []
    kind = recorded(found)
    for module in (response_writer, stream, awaited):
        monkeypatch.setattr(module, "Exchange", kind)
    return found


def stand_for(loop: EndpointLoop, case: Case) -> Stand:
    loop.scripts = dict(case.scripts)
    stand = Stand(loop, SNAPSHOT, quick(**case.settings), secure=case.secure, tls=case.tls)
    for hook in HOOKS if case.request.host in {hook.__name__ for hook in HOOKS} else ():
        stand.mesh.hook(hook.__name__, hook)
    if case.certified:
        stand.proxy.certified_hosts = lambda host: False
    return stand


def steps(states: tuple[State, ...]) -> list[tuple[State, State]]:
    return list(zip((IDLE, *states), states, strict=False))


@pytest.mark.parametrize(("name", "front"), MET)
def test_every_protocol_has_the_same_policy(
    loop: EndpointLoop, taken: list[tuple[State, State]], name: str, front: FrontName
) -> None:
    case = CASES[name]
    stand = stand_for(loop, case)
    client = stand.client(front)
    client.begin(case.request)
    stand.settle()
    case.plot(stand, client)
    stand.settle()
    assert client.status == case.status
    records = stand.records()
    if front in case.unrecorded:
        assert (records, taken) == ([], [])
        return
    (record,) = records
    ended = (record["status"], record.get("reason", ""), record["termination"])
    assert ended == (case.status, case.reason, case.termination)
    assert record.get("endpoint_id") == case.endpoint
    if case.tries is not None:
        assert record["tries"] == case.tries
    assert taken == steps(case.states)


@pytest.mark.parametrize("front", FRONTS)
def test_a_session_stays_at_its_endpoint(
    loop: EndpointLoop, taken: list[tuple[State, State]], front: FrontName
) -> None:
    """The endpoint that sets the cookie is the one that is asked by whoever sends it, though others
    come first in their turn; who sends no cookie is served by all.
    """
    begun = b"HTTP/1.1 200 OK\r\nSet-Cookie: SID=mine\r\nContent-Length: 0\r\n\r\n"
    case = Case(200, "", "--", scripts=dict.fromkeys((7001, 7002, 7003), says(begun)))
    stand = stand_for(loop, case)

    def ask(*fields: tuple[str, str]) -> None:
        stand.client(front).begin(Request("sticky", fields=fields))
        stand.settle()

    ask()
    loop.scripts = dict.fromkeys((7001, 7002, 7003), says(OK))
    for _ in range(6):
        ask(("Cookie", "x=y; SID=mine"))
        ask()
    home, *later = [record["endpoint_id"] for record in stand.records()]
    assert set(later[::2]) == {home}
    assert set(later[1::2]) == {"7001", "7002", "7003"}
    assert taken == steps(FORWARDED) * 13


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("front", FRONTS)
def test_strict_transport_security_is_said_over_tls_alone(
    loop: EndpointLoop, front: FrontName, secure: bool
) -> None:
    stand = stand_for(loop, Case(200, "", "--", secure=secure))
    client = stand.client(front)
    client.begin(Request("strict"))
    stand.settle()
    assert client.status == 200
    assert (("strict-transport-security", "max-age=300") in client.fields) == secure
    assert len(stand.records()) == 1


@pytest.mark.parametrize("front", FRONTS)
def test_every_request_has_an_id_of_our_own(loop: EndpointLoop, front: FrontName) -> None:
    stand = stand_for(loop, Case(200, "", "--"))
    for _ in range(2):
        stand.client(front).begin(Request(fields=(("X-Request-ID", "evil"),)))
        stand.settle()
    assert len(stand.records()) == 2
    ids = [re.findall(rb"(?im)^x-request-id: (\S+)\r$", head) for _, head in loop.heads]
    assert [len(found) for found in ids] == [1, 1]
    assert ids[0] != ids[1]
    assert b"evil" not in ids[0] + ids[1]


def test_every_transition_is_taken_by_a_case() -> None:
    """What `test_every_protocol_has_the_same_policy` has seen in each case."""
    taken = {step for case in CASES.values() for step in steps(case.states)}
    assert taken == {(one, other) for one, following in TRANSITIONS.items() for other in following}
