"""Several providers publish, one table follows, and nobody hears of what did not change."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from meshlib.decision import Respond
from meshlib.messages import FieldSection, RequestHead
from meshlib.model import Contribution, Endpoint, RedirectRule, Route, Scheme, Snapshot, Tenure, Upstream
from meshlib.ownership import OwnershipRules
from meshlib_adapters.publish import CurrentSnapshot

HEAD = RequestHead(b"GET", b"/", b"nobody", 1, FieldSection(b"", (), None, None, False, frozenset(), None, False))


def snapshot(*hosts: str, provider: str = "p") -> Snapshot:
    def contribution(host: str) -> Contribution:
        upstream = Upstream(f"{host}:80", (Endpoint("1", "10.0.0.1", 80),))
        return Contribution(f"{provider}/{host}", host, 1, (Route(Scheme.HTTP, host, "/", host, "l", "hrm", 80, upstream),))

    return Snapshot.of(map(contribution, hosts))


def hosts(current: CurrentSnapshot) -> list[str]:
    return [route.host for route in current.table.routes]


def test_what_providers_know_is_merged() -> None:
    current = CurrentSnapshot()
    assert (current.version, hosts(current)) == (0, [])
    assert repr(current) == "<CurrentSnapshot version 0 of nobody: <RoutingTable 0 http hosts, 0 sni hosts>>"
    assert current.publish("p", snapshot("a", "b"))
    assert current.publish("q", snapshot("c", provider="q"))
    assert (current.version, hosts(current)) == (2, ["a", "b", "c"])
    assert current.snapshot == Snapshot.merge([snapshot("a", "b"), snapshot("c", provider="q")])
    assert current.publish("p", snapshot("b"))
    assert hosts(current) == ["b", "c"]
    assert repr(current).startswith("<CurrentSnapshot version 3 of p, q: ")


def test_equal_is_no_change() -> None:
    current = CurrentSnapshot()
    assert not current.publish("p", Snapshot())
    assert not current.publish("p", Snapshot())
    assert current.publish("p", snapshot("a"))
    table = current.table
    assert not current.publish("p", snapshot("a"))
    assert not current.publish("q", Snapshot())
    assert current.table is table
    assert current.version == 1


def test_a_change_compiles_only_what_changed() -> None:
    current = CurrentSnapshot(snapshot("a", "b", "c"))
    assert hosts(current) == ["a", "b", "c"]
    before = current.table
    current.publish("", snapshot("a", "b", "c", "d"))
    assert current.table.compiled_hosts == 1
    assert before is not current.table


def test_settings_stay() -> None:
    current = CurrentSnapshot(unmatched_status=503, retry_after=9)
    current.publish("p", snapshot("a"))
    assert current.table.route(HEAD) == Respond(503, "no_route", 9)


def test_a_key_that_two_providers_use() -> None:
    current = CurrentSnapshot()
    current.publish("p", snapshot("a"))
    with pytest.raises(ValueError, match="p/a"):
        current.publish("q", snapshot("a"))
    assert (current.version, hosts(current)) == (1, ["a"])
    assert current.publish("p", snapshot("b"))
    assert hosts(current) == ["b"]


def test_subscribers() -> None:
    current = CurrentSnapshot()
    seen: list[tuple[str, int, list[str]]] = []

    def first(now: CurrentSnapshot) -> None:
        seen.append(("first", now.version, hosts(now)))

    end = current.subscribe(first)
    current.subscribe(first)
    current.publish("p", snapshot("a"))
    end()
    end()
    current.publish("p", snapshot("a"))
    current.publish("p", snapshot("b"))
    assert seen == [("first", 1, ["a"]), ("first", 1, ["a"]), ("first", 2, ["b"])]


def test_a_subscriber_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    current = CurrentSnapshot()
    seen = []

    def failing(now: CurrentSnapshot) -> None:
        raise RuntimeError("broken")

    current.subscribe(failing)
    current.subscribe(lambda now: seen.append(now.version))
    with caplog.at_level(logging.ERROR):
        assert current.publish("p", snapshot("a"))
    assert seen == [1]
    assert "a subscriber failed on version 1" in caplog.text


def test_who_leaves_while_being_called() -> None:
    current = CurrentSnapshot()
    seen = []
    ends: list[Callable[[], None]] = []

    def once(now: CurrentSnapshot) -> None:
        seen.append(now.version)
        ends[0]()

    ends.append(current.subscribe(once))
    current.publish("p", snapshot("a"))
    current.publish("p", snapshot("b"))
    assert seen == [1]


def shop(provider: str, host: str, address: str, *services: str) -> Snapshot:
    def contribution(service: str) -> Contribution:
        upstream = Upstream(f"{service}:8080", (Endpoint(f"{service}.1", address, 8080), Endpoint(f"{service}.1.x", address, 8081)))
        routes = (
            Route(Scheme.HTTP, host, "/" if service == "shop" else f"/{service}", service, "l", "hrm", 8080, upstream),
            Route(Scheme.HTTP, f"old.{provider}", "/", service, "l", "hrm", redirect=RedirectRule("https://new.test")),
        )
        return Contribution(f"{provider}/{service}", service, 1, routes)

    return Snapshot.of(map(contribution, services or ("shop",)))


@pytest.mark.parametrize("order", [("file", "swarm"), ("swarm", "file")])
def test_two_providers_with_an_upstream_of_one_name(order: tuple[str, str]) -> None:
    parts = {"file": shop("file", "a.test", "10.0.0.1"), "swarm": shop("swarm", "b.test", "10.0.0.2", "blog", "shop")}
    current = CurrentSnapshot()
    for provider in order:
        assert current.publish(provider, parts[provider])
    upstreams = current.table.upstreams
    assert {name: upstream.endpoints[0].host for name, upstream in upstreams.items()} == {
        "shop:8080": "10.0.0.1",
        "shop:8080@swarm": "10.0.0.2",
        "blog:8080": "10.0.0.2",
    }
    assert {(r.host, r.path): r.upstream.name for r in current.table.routes if r.upstream is not None} == {
        ("a.test", "/"): "shop:8080",
        ("b.test", "/blog"): "blog:8080",
        ("b.test", "/"): "shop:8080@swarm",
    }
    assert all(upstream.name == name for name, upstream in upstreams.items())
    # Routes without a clash are the very objects that the provider made.
    assert current.snapshot.contributions[1] is parts["swarm"].contributions[0]
    # When the other is gone the name is free again.
    assert current.publish("file", Snapshot())
    assert set(current.table.upstreams) == {"blog:8080", "shop:8080"}


@pytest.mark.parametrize("order", [("file", "swarm"), ("swarm", "file")])
def test_one_host_of_two_providers_with_an_upstream_of_one_name(order: tuple[str, str]) -> None:
    parts = {"file": shop("file", "a.test", "10.0.0.1"), "swarm": shop("swarm", "a.test", "10.0.0.2")}
    current = CurrentSnapshot()
    for provider in order:
        current.publish(provider, parts[provider])
    (merged,) = (route.upstream for route in current.table.routes if route.upstream is not None)
    assert merged is not None
    assert merged.name == "shop:8080+shop:8080@swarm"
    assert dict(current.table.upstreams) == {merged.name: merged}
    found = [(endpoint.id, endpoint.address) for endpoint in merged.endpoints]
    assert found == [
        ("shop.1", "10.0.0.1:8080"),
        ("shop.1.x", "10.0.0.1:8081"),
        ("shop.1.x@swarm", "10.0.0.2:8081"),
        ("shop.1@swarm", "10.0.0.2:8080"),
    ]


def test_clashes_of_names_leave_a_change_small() -> None:
    current = CurrentSnapshot()
    current.publish("file", shop("file", "a.test", "10.0.0.1"))
    current.publish("swarm", shop("swarm", "b.test", "10.0.0.2"))
    before = current.table.upstreams["shop:8080@swarm"]
    # A change elsewhere compiles its own host; the renamed upstream stays one object, and with it pools need no look.
    current.publish("docker", snapshot("c", provider="docker"))
    assert current.table.compiled_hosts == 1
    current.publish("docker", snapshot("c", "d", provider="docker"))
    assert current.table.compiled_hosts == 1
    assert current.table.upstreams["shop:8080@swarm"] is before
    # Equal again is no change.
    assert not current.publish("swarm", shop("swarm", "b.test", "10.0.0.2"))
    # Three of one name.
    current.publish("docker", shop("docker", "d.test", "10.0.0.3"))
    assert set(current.table.upstreams) == {"shop:8080", "shop:8080@file", "shop:8080@swarm"}
    assert current.table.upstreams["shop:8080@swarm"] is before


def owned(host: str, owner: str, age: int, provider: str = "p") -> Contribution:
    upstream = Upstream(f"{owner}:80", (Endpoint("1", "10.0.0.1", 80),))
    route = Route(Scheme.HTTP, host, "/", owner, "l", "hrm", 80, upstream)
    return Contribution(f"{provider}/{owner}", owner, age, (route,), owner=f"service {owner}")


def served(current: CurrentSnapshot) -> list[str]:
    return [route.service for route in current.table.routes]


def test_a_redeployed_container_keeps_its_host() -> None:
    shop, evil = owned("a", "shop", 10), owned("a", "evil", 20)
    current = CurrentSnapshot()
    current.publish("p", Snapshot.of([shop, evil]))
    assert served(current) == ["shop"]
    current.publish("p", Snapshot.of([evil]))
    assert served(current) == []
    assert [d.code for d in current.table.diagnostics] == ["TBL004"]
    current.publish("p", Snapshot.of([owned("a", "shop", 30), evil]))
    assert served(current) == ["shop"]


@pytest.mark.parametrize("order", [("p", "q"), ("q", "p")])
def test_first_snapshots_count_as_if_they_had_come_together(order: tuple[str, str]) -> None:
    parts = {"p": Snapshot.of([owned("a", "young", 20)]), "q": Snapshot.of([owned("a", "old", 10, "q")])}
    current = CurrentSnapshot()
    for name in order:
        current.publish(name, parts[name])
    assert served(current) == ["old"]
    # From now on the record decides: an older one comes too late.
    current.publish("p", Snapshot.of([owned("a", "oldest", 1)]))
    assert served(current) == ["old"]


def test_age_decides_until_it_is_confirmed_when_records_were_restored() -> None:
    current = CurrentSnapshot()
    current.restore([Tenure("a", "service kept", 5)])
    current.publish("p", Snapshot.of([owned("a", "young", 20), owned("b", "young2", 20)]))
    current.publish("p", Snapshot.of([owned("a", "young", 20), owned("b", "young2", 20), owned("b", "older", 10)]))
    assert served(current) == ["older"]
    current.confirm()
    current.publish("p", Snapshot.of([owned("b", "young2", 20), owned("b", "older", 10), owned("b", "oldest", 5)]))
    assert served(current) == ["older"]


def test_names_that_are_kept_long_enough_are_freed_and_released_ones_at_once() -> None:
    now = 100.0
    current = CurrentSnapshot(rules=OwnershipRules(keep=60), clock=lambda: now)
    heard: list[int] = []
    current.subscribe(lambda it: heard.append(it.version))
    shop, evil = owned("a", "shop", 1), owned("a", "evil", 2)
    current.publish("p", Snapshot.of([shop, evil]))
    current.publish("p", Snapshot.of([evil]))
    assert not current.settle()
    now = 160.0
    assert current.settle()
    assert (served(current), heard) == (["evil"], [1, 2, 3])
    current.publish("p", Snapshot.of([shop, evil]))
    assert served(current) == ["evil"]
    assert current.release(["a"])
    assert served(current) == ["shop"]
    assert not current.release(["never"])


def test_a_worker_takes_what_its_supervisor_settled() -> None:
    shop, evil = owned("a", "shop", 30), owned("a", "evil", 20)
    tenures = {"a": Tenure("a", "service shop", 1)}
    current = CurrentSnapshot()
    settled = Snapshot((evil, shop), tenures)
    assert current.publish("supervisor", settled)
    assert served(current) == ["shop"]
    assert not current.publish("supervisor", Snapshot((evil, shop), dict(tenures)))
    assert current.publish("supervisor", Snapshot((evil, shop), {"a": Tenure("a", "service evil", 2)}))
    assert (served(current), current.version) == (["evil"], 2)


def test_many_routes_are_published_while_the_loop_goes_on() -> None:
    many = snapshot(*(f"h{n}" for n in range(5000)))
    current, other = CurrentSnapshot(), CurrentSnapshot()
    told: list[tuple[int, int]] = []
    current.subscribe(lambda now: told.append((now.version, threading.get_ident())))

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
        assert await current.publish_apart("p", many)
        apart, rounds = rounds, 0
        assert other.publish("p", many)
        at_once = rounds
        assert not await current.publish_apart("p", many)
        over = True
        await ticking
        return apart, at_once

    apart, at_once = asyncio.run(story())
    assert at_once == 0
    assert apart >= 10
    assert told == [(1, threading.get_ident())]
    assert (current.snapshot, hosts(current)) == (other.snapshot, hosts(other))


def test_what_is_published_meanwhile_is_not_lost() -> None:
    many = snapshot(*(f"h{n}" for n in range(400)))

    class Disturbed(CurrentSnapshot):
        left = 0

        def _draft(self, provider_name: str, snapshot: Snapshot) -> Any:
            draft = super()._draft(provider_name, snapshot)
            if provider_name == "p" and self.left:
                self.left -= 1
                self.publish("q", others.pop())
            return draft

    for times in range(5):
        others = [snapshot(f"other{n}", provider="q") for n in range(times)]
        last = others[0] if others else Snapshot()
        current = Disturbed()
        current.left = times
        assert asyncio.run(current.publish_apart("p", many))
        fresh = CurrentSnapshot()
        fresh.publish("p", many)
        if times < 4:
            fresh.publish("q", last)
            assert current.snapshot == fresh.snapshot
        assert set(hosts(current)) >= {f"h{n}" for n in range(400)}
