"""Hooks around requests, alike through HTTP/1, HTTP/2 and ASGI: what each may return, in which
order they are called, and what a failure costs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshlib
from meshlib.messages import ResponseHead
from tests.support.fronts import FRONTS, EndpointLoop, FrontClient, FrontName, Request, Stand
from tests.support.running import quick

OK = b"HTTP/1.1 200 OK\r\nX-Mood: bad\r\nServer: old\r\nContent-Length: 2\r\n\r\nok"

ROUTES: dict[str, Any] = {
    "a": ["127.0.0.1:7001"],
    "b": ["127.0.0.1:7002"],
    "old": meshlib.redirect("https://new.example.com"),
    "named": meshlib.Service(["127.0.0.1:7001"], hooks=["second", "first"]),
}


@pytest.fixture
def loop() -> Iterator[EndpointLoop]:
    loop = EndpointLoop()
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(context))
    asyncio.set_event_loop(loop)
    loop.scripts = {7001: lambda head: [OK], 7002: lambda head: [OK.replace(b"ok", b"b!")]}
    yield loop
    loop.close()
    asyncio.set_event_loop(None)
    assert not problems


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> FrontName:
    name: FrontName = request.param
    return name


def stand_of(loop: EndpointLoop, **settings: float) -> Stand:
    return Stand(loop, meshlib.Mesh(ROUTES).snapshot, quick(**settings))


def ask(
    stand: Stand, front: FrontName, host: str = "a", *, body: bytes | None = None, **more: Any
) -> FrontClient:
    client = stand.client(front)
    if body is None:
        client.begin(Request(host, **more))
    else:
        client.begin(Request(host, "POST", body=True, **more))
        client.body(body)
    stand.settle()
    return client


def fields_at(loop: EndpointLoop, index: int = -1) -> list[str]:
    """The lines that an endpoint has got, names in lower case."""
    lines = loop.heads[index][1].decode().split("\r\n")[1:]
    return [
        name.lower() + ":" + value for name, _, value in (line.partition(":") for line in lines)
    ]


def later(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The same hook, asynchronous."""

    async def waiting(*given: Any) -> Any:
        await asyncio.sleep(0)
        return hook(*given)

    return waiting


@pytest.fixture(params=["def", "async def"])
def kind(request: pytest.FixtureRequest) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return later if request.param == "async def" else lambda hook: hook


Kind = Callable[[Callable[..., Any]], Callable[..., Any]]


def test_fields_are_changed_on_the_way_to_the_endpoint(
    loop: EndpointLoop, front: FrontName, kind: Kind
) -> None:
    stand = stand_of(loop)
    changes = meshlib.Changes(
        {"X-User": "anna", "X-Forwarded-User": "anna"}, add={"X-Role": "a"}, remove=["Cookie"]
    )
    stand.mesh.before(kind(lambda request: changes), name="change")
    sent = (("X-User", "eve"), ("Cookie", "a=b"), ("X-Role", "z"), ("Accept", "*/*"))
    client = ask(stand, front, fields=sent)
    assert client.status == 200
    fields = fields_at(loop)
    assert [line for line in fields if line.startswith("x-user")] == ["x-user: anna"]
    assert "x-forwarded-user: anna" in fields
    assert sorted(line for line in fields if line.startswith("x-role")) == [
        "x-role: a",
        "x-role: z",
    ]
    assert not any(line.startswith("cookie") for line in fields)
    assert "accept: */*" in fields
    assert any(line.startswith("x-forwarded-for: ") for line in fields)
    # The next request is another one.
    stand.mesh.before.hooks = ()
    ask(stand, front, fields=sent)
    assert "x-user: eve" in fields_at(loop)
    assert "x-forwarded-user: anna" not in fields_at(loop)


def test_a_kept_connection_forgets_what_hooks_have_added(loop: EndpointLoop) -> None:
    """Heads that repeat are known by their bytes, and hooks decide each time anew."""
    stand = stand_of(loop)
    returned: list[Any] = [meshlib.Changes({"X-Turn": "1"}), None, meshlib.Changes({"X-Turn": "3"})]
    stand.mesh.before(lambda request: returned.pop(0), name="turns")
    client = stand.client("HTTP/1")
    for _ in range(3):
        client.begin(Request())
        stand.settle()
    turns = [
        [line for line in fields_at(loop, index) if line.startswith("x-turn")] for index in range(3)
    ]
    assert turns == [["x-turn: 1"], [], ["x-turn: 3"]]


def test_a_hook_may_respond(loop: EndpointLoop, front: FrontName, kind: Kind) -> None:
    stand = stand_of(loop)
    response = meshlib.Response(401, {"WWW-Authenticate": "Basic"}, "who?")
    stand.mesh.before(kind(lambda request: response), name="respond")
    stand.mesh.before(lambda request: pytest.fail("it is not asked"), name="behind", order=1)
    client = ask(stand, front)
    assert client.status == 401
    assert ("www-authenticate", "Basic") in client.fields
    assert ("content-length", "4") in client.fields
    assert any(name == "date" for name, _ in client.fields)
    (record,) = stand.records()
    assert (record["reason"], record["status"], loop.heads) == ("hook", 401, [])


@pytest.mark.parametrize(
    ("returned", "status", "location"),
    [
        (meshlib.redirect("https://b.example.com", 307), 307, "https://b.example.com/"),
        (meshlib.Respond(429, "too_fast", 7), 429, None),
    ],
)
def test_a_hook_may_decide(
    loop: EndpointLoop, front: FrontName, returned: Any, status: int, location: str | None
) -> None:
    stand = stand_of(loop)
    stand.mesh.before(lambda request: returned, name="decide")
    client = ask(stand, front)
    assert client.status == status
    assert dict(client.fields).get("location") == location


def test_a_hook_may_send_it_elsewhere(loop: EndpointLoop, front: FrontName, kind: Kind) -> None:
    stand = stand_of(loop)
    elsewhere = stand.mesh.route("GET", "http://b/")
    stand.mesh.before(kind(lambda request: elsewhere), name="canary")
    assert ask(stand, front).status == 200
    assert ask(stand, front, "nobody").status == 200
    assert ask(stand, front, "old").status == 200
    assert [port for port, _ in loop.heads] == [7002] * 3


def test_hooks_see_what_would_become_of_a_request(loop: EndpointLoop, front: FrontName) -> None:
    stand = stand_of(loop)
    seen: list[str] = []
    stand.mesh.before(lambda request: seen.append(type(request.decision).__name__), name="see")
    statuses = [ask(stand, front, host).status for host in ("a", "old", "nobody")]
    assert seen == ["Forward", "Redirect", "Respond"]
    assert statuses == [200, 301, 404]


def test_hooks_of_a_route_come_behind_those_of_all_in_its_order(
    loop: EndpointLoop, front: FrontName, kind: Kind
) -> None:
    stand = stand_of(loop)
    called: list[str] = []
    for name in ("first", "second", "third"):
        stand.mesh.hook(name, kind(lambda request, name=name: called.append(name)))
    stand.mesh.before(kind(lambda request: called.append("all")), name="all")
    assert ask(stand, front, "named").status == 200
    assert ask(stand, front).status == 200
    assert called == ["all", "second", "first", "all"]


def test_hooks_of_the_route_that_a_hook_chooses_are_called_too(
    loop: EndpointLoop, front: FrontName
) -> None:
    stand = stand_of(loop)
    called: list[str] = []
    for name in ("first", "second"):
        stand.mesh.hook(name, lambda request, name=name: called.append(name))
    elsewhere = stand.mesh.route("GET", "http://named/")
    stand.mesh.before(lambda request: elsewhere, name="chooses")
    assert ask(stand, front).status == 200
    assert called == ["second", "first"]


def test_a_route_whose_hook_is_nowhere_stays_closed(
    loop: EndpointLoop, front: FrontName, caplog: pytest.LogCaptureFixture
) -> None:
    """The table lets it pass, since the operator allows the name; the function is missing."""
    stand = stand_of(loop)
    assert ask(stand, front, "named").status == 503
    stand.mesh.hooks.allow(["first", "second"])
    stand.proxy.attentive = True
    assert ask(stand, front, "named").status == 500
    stand.mesh.hook("second", lambda request: None)
    elsewhere = stand.mesh.route("GET", "http://named/")
    stand.mesh.before(lambda request: elsewhere, name="chooses")
    assert ask(stand, front).status == 500
    assert "the hook first is not in this process" in caplog.text
    assert loop.heads == []


@pytest.mark.parametrize(
    "returned", [LookupError("no such user"), "yes", meshlib.Changes(status=403), OSError("disk")]
)
def test_a_failure_costs_its_own_request(
    loop: EndpointLoop,
    front: FrontName,
    kind: Kind,
    returned: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stand = stand_of(loop)

    def bad(request: meshlib.Request) -> Any:
        if request.field("x-bad") is None:
            return None
        if isinstance(returned, Exception):
            raise returned
        return returned

    stand.mesh.before(kind(bad), name="bad one")
    assert ask(stand, front, fields=(("X-Bad", "1"),)).status == 500
    assert ask(stand, front).status == 200
    assert [record["reason"] for record in stand.records() if "reason" in record] == ["hook_failed"]
    (line,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert line.getMessage().startswith("the hook bad one failed on GET a'/': ")


def test_a_hook_that_cancels_itself_has_failed(loop: EndpointLoop, front: FrontName) -> None:
    stand = stand_of(loop)

    async def cancelled(*given: Any) -> None:
        raise asyncio.CancelledError

    stand.mesh.before(cancelled)
    assert ask(stand, front).status == 500
    stand.mesh.before.hooks = ()
    stand.mesh.after(cancelled)
    assert ask(stand, front).status == 500


def test_nothing_of_a_body_is_sent_before_a_hook_has_decided(
    loop: EndpointLoop, front: FrontName
) -> None:
    stand = stand_of(loop)
    loop.scripts[7001] = lambda head: []
    gate = asyncio.Event()

    async def waits(request: meshlib.Request) -> None:
        await gate.wait()

    stand.mesh.before(waits)
    for length in (11, None):
        client = ask(stand, front, body=b"hello world", length=length)
        assert (client.status, loop.heads) == (0, [])
        gate.set()
        stand.settle()
        loop.wires[-1].say(OK)
        stand.settle()
        assert client.status == 200
        sent = b"".join(bytes(wire.sent) for wire in loop.wires)
        assert sent.count(b"hello world") == (1 if length is not None else 2)
        gate.clear()
        loop.heads.clear()


def test_a_body_is_not_wanted_behind_a_refusal(loop: EndpointLoop, front: FrontName) -> None:
    stand = stand_of(loop)

    async def refuses(request: meshlib.Request) -> meshlib.Response:
        await asyncio.sleep(0)
        return meshlib.Response(403)

    stand.mesh.before(refuses)
    assert ask(stand, front, body=b"hello world", length=11).status == 403
    assert loop.heads == []


def test_a_client_that_leaves_ends_its_hook(loop: EndpointLoop, front: FrontName) -> None:
    stand = stand_of(loop)
    ended: list[str] = []

    async def waits(request: meshlib.Request) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    stand.mesh.before(waits)
    client = ask(stand, front)
    client.leave()
    stand.settle()
    assert ended == ["cancelled"]
    (record,) = stand.records()
    assert (record["reason"], record["termination"]) == ("client_closed", "CQ")


def test_a_client_that_leaves_before_its_hook_has_begun(loop: EndpointLoop) -> None:
    """A coroutine that nobody awaits would be a warning, and with it a failure."""
    stand = stand_of(loop)
    stand.mesh.before(later(lambda request: None))
    client = stand.client("HTTP/2")
    client.begin(Request())
    client.leave()
    stand.settle()
    assert loop.heads == []


# Behind the response's head.


def test_a_response_is_changed(loop: EndpointLoop, front: FrontName, kind: Kind) -> None:
    stand = stand_of(loop)

    def calm(request: meshlib.Request, response: ResponseHead) -> meshlib.Changes:
        assert (request.host, response.status) == ("a", 200)
        assert response.fields.first(b"x-mood") == b"bad"
        return meshlib.Changes(
            {"X-Mood": "good"}, add={"X-New": "1"}, remove=["Server"], status=203
        )

    stand.mesh.after(kind(calm), name="calm")
    stand.mesh.after(kind(lambda request, response: None), name="nothing")
    client = ask(stand, front)
    assert client.status == 203
    own = [pair for pair in client.fields if pair[0] in ("x-mood", "x-new", "server")]
    assert own == [("x-mood", "good"), ("x-new", "1")]
    (record,) = stand.records()
    assert (record["status"], record.get("reason"), record["endpoint"]) == (
        203,
        None,
        "127.0.0.1:7001",
    )


def test_a_response_that_comes_in_parts_waits_for_its_hook(
    loop: EndpointLoop, front: FrontName
) -> None:
    stand = stand_of(loop)
    loop.scripts[7001] = lambda head: [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na",
        b"b",
    ]
    gate = asyncio.Event()

    async def waits(request: meshlib.Request, response: ResponseHead) -> None:
        await gate.wait()

    stand.mesh.after(waits)
    client = ask(stand, front)
    assert client.status == 0
    gate.set()
    stand.settle()
    assert client.status == 200
    loop.wires[0].say(b"cd")
    stand.settle()
    (record,) = stand.records()
    assert (record.get("reason"), record["status"]) == (None, 200)


def test_a_response_may_be_complete_while_its_hook_decides(
    loop: EndpointLoop, front: FrontName
) -> None:
    stand = stand_of(loop)
    loop.scripts[7001] = lambda head: [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na", b"bcd"]
    stand.mesh.after(later(lambda request, response: None))
    clients = [ask(stand, front) for _ in range(3)]
    assert [client.status for client in clients] == [200] * 3
    assert [record.get("reason") for record in stand.records()] == [None] * 3


def test_an_endpoint_that_fails_while_a_hook_decides(loop: EndpointLoop, front: FrontName) -> None:
    stand = stand_of(loop)
    loop.scripts[7001] = lambda head: [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na"]
    gate = asyncio.Event()

    async def waits(request: meshlib.Request, response: ResponseHead) -> None:
        await gate.wait()

    stand.mesh.after(waits)
    client = ask(stand, front)
    loop.wires[0].say(b"")
    stand.settle()
    gate.set()
    stand.settle()
    assert client.status == 502
    (record,) = stand.records()
    assert record["reason"] == "upstream_closed"


def test_a_client_that_leaves_while_the_response_waits(
    loop: EndpointLoop, front: FrontName
) -> None:
    stand = stand_of(loop)

    async def waits(request: meshlib.Request, response: ResponseHead) -> None:
        await asyncio.Event().wait()

    stand.mesh.after(waits)
    client = ask(stand, front)
    client.leave()
    stand.settle()
    assert client.status == 0
    (record,) = stand.records()
    assert record["reason"] == "client_closed"


@pytest.mark.parametrize("returned", [LookupError("x"), meshlib.Response(200)])
def test_a_failure_behind_the_response_costs_that_response(
    loop: EndpointLoop, front: FrontName, kind: Kind, returned: Any
) -> None:
    stand = stand_of(loop)

    def bad(request: meshlib.Request, response: ResponseHead) -> Any:
        if isinstance(returned, Exception):
            raise returned
        return returned

    stand.mesh.after(kind(bad), name="bad")
    assert ask(stand, front).status == 500
    (record,) = stand.records()
    assert record["reason"] == "hook_failed"


def test_a_status_without_a_body_stays(loop: EndpointLoop, front: FrontName) -> None:
    stand = stand_of(loop)
    loop.scripts[7001] = lambda head: [b"HTTP/1.1 204 No Content\r\n\r\n"]
    stand.mesh.after(lambda request, response: meshlib.Changes(status=200), name="bad")
    assert ask(stand, front).status == 500


def test_a_hook_that_takes_too_long_costs_its_response(
    loop: EndpointLoop, front: FrontName
) -> None:
    stand = stand_of(loop, hooks=0.01)

    async def waits(request: meshlib.Request, response: ResponseHead) -> None:
        await asyncio.Event().wait()

    stand.mesh.after(waits)
    client = ask(stand, front)
    loop.run_until_complete(asyncio.sleep(0.05))
    assert client.status == 500
    (record,) = stand.records()
    assert record["reason"] == "hook_timeout"


def test_hooks_hand_on_what_they_know(loop: EndpointLoop, front: FrontName) -> None:
    stand = stand_of(loop)

    class Timed:
        def before(self, request: meshlib.Request) -> None:
            request.state["user"] = "anna"

        def after(self, request: meshlib.Request, response: ResponseHead) -> meshlib.Changes:
            return meshlib.Changes({"X-User": str(request.state["user"])})

    timed = Timed()
    stand.mesh.before(timed)
    stand.mesh.after(timed)
    assert ("x-user", "anna") in ask(stand, front).fields
    stand.mesh.before.hooks = stand.mesh.after.hooks = ()
    stand.mesh.hook("first", timed)
    stand.mesh.hook("second", timed)
    assert ("x-user", "anna") in ask(stand, front, "named").fields


def test_an_upgrade_goes_through_hooks(loop: EndpointLoop) -> None:
    stand = stand_of(loop)
    loop.scripts[7001] = lambda head: [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    ]
    stand.mesh.before(later(lambda request: meshlib.Changes({"X-User": "anna"})))
    stand.mesh.after(lambda request, response: pytest.fail("no response"), name="never")
    assert ask(stand, "HTTP/1", websocket=True).status == 101
    assert "x-user: anna" in fields_at(loop)
