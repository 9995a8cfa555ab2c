"""`Lifespans`: several applications begin and end as one, whatever each of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from meshlib_adapters.asgi.lifespans import Lifespans
from meshlib_adapters.asgi.types import ASGIApplication, Message, Receive, Scope, Send
from tests.support.asgi_calls import saying

Events = list[str]


def app(
    name: str, events: Events, *, fails: str = "", raises: str = "", reason: str = "why"
) -> ASGIApplication:
    """It begins and ends; `fails` or `raises` in the phase of that name."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        for phase in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{phase}"
            events.append(f"{name} {phase}")
            if raises == phase:
                raise KeyError(name)
            if fails == phase:
                await send({"type": f"lifespan.{phase}.failed", "message": reason})
                raise KeyError(name)
            scope["state"][name] = phase
            await send({"type": f"lifespan.{phase}.complete"})

    return run


async def serve(*apps: ASGIApplication) -> tuple[list[str], Lifespans]:
    lifespans = Lifespans(apps)
    sent: list[str] = []
    messages = ["lifespan.startup", "lifespan.shutdown"]

    async def receive() -> Message:
        return {"type": messages.pop(0)}

    async def send(message: Message) -> None:
        sent.append(message["type"] + (": " + message["message"] if "message" in message else ""))

    await lifespans.serve({"type": "lifespan"}, receive, send)
    return sent, lifespans


def serving(*apps: ASGIApplication) -> list[str]:
    return asyncio.run(serve(*apps))[0]


COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_they_begin_in_order_and_end_in_the_reverse_one() -> None:
    events: Events = []
    one = app("one", events)
    assert serving(one, app("two", events), one) == COMPLETE
    assert events == ["one startup", "two startup", "two shutdown", "one shutdown"]


def test_one_without_a_lifespan_does_no_harm() -> None:
    async def returns(scope: Scope, receive: Receive, send: Send) -> None:
        return

    events: Events = []
    assert serving(saying(""), returns, app("one", events)) == COMPLETE
    assert events == ["one startup", "one shutdown"]
    assert serving() == COMPLETE


@pytest.mark.parametrize(("reason", "told"), [("why", "why"), ("", "the startup of")])
def test_one_that_cannot_begin_ends_the_others_and_the_server(reason: str, told: str) -> None:
    events: Events = []
    found = serving(
        app("one", events),
        app("two", events, fails="startup", reason=reason),
        app("three", events),
    )
    assert len(found) == 1
    assert found[0].startswith(f"lifespan.startup.failed: {told}")
    assert events == ["one startup", "two startup", "one shutdown"]


@pytest.mark.parametrize("how", ["fails", "raises"])
def test_one_that_cannot_end_keeps_no_other_from_it(how: str) -> None:
    events: Events = []
    make: Callable[..., ASGIApplication] = app
    found = serving(make("one", events), make("two", events, **{how: "shutdown"}))
    reason = "why" if how == "fails" else "KeyError('two')"
    assert found == ["lifespan.startup.complete", f"lifespan.shutdown.failed: {reason}"]
    assert events[-1] == "one shutdown"


def test_each_has_a_state_of_its_own() -> None:
    one, two = app("one", []), app("two", [])
    _, lifespans = asyncio.run(serve(one, two))
    assert lifespans.state_of(one, {}) == {"one": "shutdown"}
    assert lifespans.state_of(two, {"state": {"server": 1}}) == {"server": 1, "two": "shutdown"}
    assert lifespans.state_of(saying(""), {}) == {}
