"""Snapshots of many routes are published beside the event loop, and nothing that comes meanwhile is
lost.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator

import anyio
import pytest

from meshlib.drafts import Draft
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.asgi import MeshApp
from meshlib_adapters.providers.feed import Feed, log_failure, offer, publish_apart
from meshlib_adapters.providers.provider import ProviderStatus


def snapshot(*hosts: str, provider: str = "p") -> Snapshot:
    def contribution(host: str) -> Contribution:
        upstream = Upstream(UpstreamKey(host, 80), (Endpoint("1", "10.0.0.1", 80),))
        return Contribution(
            f"{provider}/{host}",
            host,
            1,
            (Route(HostPath(host), ForwardTo(upstream), service=host, label="l", schema="hrm"),),
        )

    return Snapshot.of(map(contribution, hosts))


def hosts(mesh: Mesh) -> list[str]:
    return [route.host for route in mesh.table.routes]


def test_many_routes_are_published_while_the_loop_goes_on() -> None:
    many = snapshot(*(f"h{n}" for n in range(5000)))
    mesh, other = Mesh(), Mesh()
    told: list[tuple[int, int]] = []
    mesh.subscribe(lambda now: told.append((now.version, threading.get_ident())))

    async def story() -> tuple[int, int]:
        rounds = 0
        over = False

        async def go_on() -> None:
            nonlocal rounds
            while not over:
                rounds += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(go_on())
        await asyncio.sleep(0)
        rounds = 0
        assert await publish_apart(mesh, "p", many)
        apart, rounds = rounds, 0
        assert other.publish("p", many)
        at_once = rounds
        assert not await publish_apart(mesh, "p", many)
        over = True
        await ticking
        return apart, at_once

    apart, at_once = asyncio.run(story())
    assert at_once == 0
    assert apart >= 10
    assert told == [(1, threading.get_ident())]
    assert (mesh.snapshot, hosts(mesh)) == (other.snapshot, hosts(other))


def test_what_is_published_meanwhile_is_not_lost() -> None:
    many = snapshot(*(f"h{n}" for n in range(400)))

    class Disturbed(Mesh):
        left = 0

        def draft(self, name: str, snapshot: Snapshot, *, now: float | None = None) -> Draft:
            draft = super().draft(name, snapshot, now=now)
            if name == "p" and self.left:
                self.left -= 1
                self.publish("q", others.pop())
            return draft

    for times in range(4):
        others = [snapshot(f"other{n}", provider="q") for n in range(times)]
        last = others[0] if others else Snapshot()
        mesh = Disturbed()
        mesh.left = times
        assert asyncio.run(publish_apart(mesh, "p", many))
        fresh = Mesh()
        fresh.publish("p", many)
        fresh.publish("q", last)
        assert (mesh.snapshot, hosts(mesh)) == (fresh.snapshot, hosts(fresh))


def test_a_subscriber_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    mesh = Mesh(on_error=log_failure)

    def failing(now: Mesh) -> None:
        raise RuntimeError("broken")

    mesh.subscribe(failing)
    with caplog.at_level(logging.ERROR):
        assert asyncio.run(publish_apart(mesh, "p", snapshot("a")))
    assert "a subscriber of the mesh failed" in caplog.text
    assert "RuntimeError: broken" in caplog.text


WRONG = Snapshot.of(
    [
        Contribution(
            "p/b",
            "b",
            routes=(
                Route(
                    HostPath("B"),
                    ForwardTo(Upstream(UpstreamKey("b"))),
                    service="b",
                    label="l",
                    schema="mine",
                ),
            ),
        )
    ]
)


def test_what_cannot_be_served_is_logged_and_what_was_there_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mesh = Mesh(snapshot("a"))

    async def story() -> list[str]:
        return [await offer(mesh, "p", each) for each in (snapshot("b"), WRONG, snapshot("b"))]

    reason = (
        "its snapshot cannot be served, and the previous one stays: publish('p'): p/b: "
        "http://B: the host 'B' is not in normal form (write \"b\")"
    )
    assert asyncio.run(story()) == ["", reason, ""]
    assert hosts(mesh) == ["a", "b"]
    assert caplog.messages == [f"p: {reason}"]


def test_a_provider_is_followed_beyond_a_snapshot_that_cannot_be_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Provider:
        name = "p"
        status = ProviderStatus("ok", None, "")

        async def snapshots(self) -> AsyncIterator[Snapshot]:
            yield WRONG
            yield snapshot("b")

    async def story() -> list[str]:
        mesh = Mesh()
        async with MeshApp(mesh, providers=[Provider()]):
            return hosts(mesh)

    assert asyncio.run(story()) == ["b"]
    assert len(caplog.messages) == 1


def test_a_gateway_follows_a_provider_beyond_it_and_starts_without_what_it_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Provider:
        name = "p"
        status = ProviderStatus("ok", None, "")

        def __init__(self, *delivered: Snapshot) -> None:
            self._delivered = delivered

        async def snapshots(self) -> AsyncIterator[Snapshot]:
            for each in self._delivered:
                yield each

    async def story(provider: Provider, seconds: float, refused: list[str]) -> list[str]:
        mesh = Mesh(snapshot("a"))
        feed = Feed(mesh, [provider], lambda name: WRONG, logging.getLogger("test"))
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(feed.run)
            await feed.first_snapshots(seconds, stop)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert feed.from_disk == ()
        assert list(feed.refused) == refused
        return hosts(mesh)

    assert asyncio.run(story(Provider(WRONG, snapshot("b")), 30, [])) == ["a", "b"]
    assert [line.partition(":")[0] for line in caplog.messages] == ["p"]
    assert asyncio.run(story(Provider(snapshot("b"), WRONG), 30, ["p"])) == ["a", "b"]
    caplog.clear()
    assert asyncio.run(story(Provider(), 0, [])) == ["a"]
    refused, without = caplog.messages
    assert refused.startswith(
        "p: its snapshot cannot be served, and the previous one stays: publish('p'): "
    )
    assert without.startswith("starting without the routes of p")
