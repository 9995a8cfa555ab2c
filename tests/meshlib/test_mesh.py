"""Several providers publish, one table follows, and nobody hears of what did not change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshlib.decision import Respond
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.messages import FieldSection, RequestHead
from meshlib.model import Contribution, Endpoint, RedirectRule, Route, Scheme, Snapshot, Tenure, Upstream
from meshlib.ownership import OwnershipRules

NOW = 1_700_000_000.0
HEAD = RequestHead(b"GET", b"/", b"nobody", 1, FieldSection(b"", (), None, None, False, frozenset(), None, False))


def snapshot(*hosts: str, provider: str = "p") -> Snapshot:
    def contribution(host: str) -> Contribution:
        upstream = Upstream(f"{host}:80", (Endpoint("1", "10.0.0.1", 80),))
        return Contribution(f"{provider}/{host}", host, 1, (Route(Scheme.HTTP, host, "/", host, "l", "hrm", 80, upstream),))

    return Snapshot.of(map(contribution, hosts))


def hosts(mesh: Mesh) -> list[str]:
    return [route.host for route in mesh.table.routes]


def test_what_providers_know_is_merged() -> None:
    mesh = Mesh()
    assert (mesh.version, hosts(mesh)) == (0, [])
    assert repr(mesh) == "<Mesh version 0 of nobody: <RoutingTable 0 http hosts, 0 sni hosts>>"
    assert mesh.publish("p", snapshot("a", "b"))
    assert mesh.publish("q", snapshot("c", provider="q"))
    assert (mesh.version, hosts(mesh)) == (2, ["a", "b", "c"])
    assert mesh.snapshot == Snapshot.merge([snapshot("a", "b"), snapshot("c", provider="q")])
    assert mesh.publish("p", snapshot("b"))
    assert hosts(mesh) == ["b", "c"]
    assert repr(mesh).startswith("<Mesh version 3 of p, q: ")


def test_equal_is_no_change() -> None:
    mesh = Mesh()
    assert not mesh.publish("p", Snapshot())
    assert not mesh.publish("p", Snapshot())
    assert mesh.publish("p", snapshot("a"))
    table = mesh.table
    assert not mesh.publish("p", snapshot("a"))
    assert not mesh.publish("q", Snapshot())
    assert mesh.table is table
    assert mesh.version == 1


def test_a_change_compiles_only_what_changed() -> None:
    mesh = Mesh(snapshot("a", "b", "c"))
    assert hosts(mesh) == ["a", "b", "c"]
    before = mesh.table
    mesh.publish("", snapshot("a", "b", "c", "d"))
    assert mesh.table.compiled_hosts == 1
    assert before is not mesh.table


def test_settings_stay() -> None:
    mesh = Mesh(unmatched_status=503, retry_after=9)
    mesh.publish("p", snapshot("a"))
    assert mesh.table.route(HEAD) == Respond(503, "no_route", 9)


def test_a_key_that_two_providers_use() -> None:
    mesh = Mesh()
    mesh.publish("p", snapshot("a"))
    with pytest.raises(ConfigurationError, match=r"p/a.*begin the keys"):
        mesh.publish("q", snapshot("a"))
    assert (mesh.version, hosts(mesh)) == (1, ["a"])
    assert mesh.publish("p", snapshot("b"))
    assert hosts(mesh) == ["b"]


def test_subscribers() -> None:
    mesh = Mesh()
    seen: list[tuple[str, int, list[str]]] = []

    def first(now: Mesh) -> None:
        seen.append(("first", now.version, hosts(now)))

    end = mesh.subscribe(first)
    mesh.subscribe(first)
    mesh.publish("p", snapshot("a"))
    end()
    end()
    mesh.publish("p", snapshot("a"))
    mesh.publish("p", snapshot("b"))
    assert seen == [("first", 1, ["a"]), ("first", 1, ["a"]), ("first", 2, ["b"])]


def failing(text: str) -> Callable[[Mesh], None]:
    def fail(mesh: Mesh) -> None:
        raise RuntimeError(f"{text} on version {mesh.version}")

    return fail


def test_all_subscribers_are_called_before_failures_are_raised() -> None:
    mesh = Mesh()
    seen: list[int] = []
    mesh.subscribe(failing("first"))
    mesh.subscribe(lambda now: seen.append(now.version))
    mesh.subscribe(failing("last"))
    with pytest.raises(ExceptionGroup, match="version 1") as caught:
        mesh.publish("p", snapshot("a"))
    assert [str(error) for error in caught.value.exceptions] == ["first on version 1", "last on version 1"]
    assert (seen, hosts(mesh)) == ([1], ["a"])


def test_failures_of_subscribers_are_told_to_on_error() -> None:
    told: list[str] = []
    mesh = Mesh(on_error=lambda error: told.append(str(error)))
    seen: list[int] = []
    mesh.subscribe(failing("broken"))
    mesh.subscribe(lambda now: seen.append(now.version))
    assert mesh.publish("p", snapshot("a"))
    assert mesh.publish("p", snapshot("b"))
    assert (seen, told) == ([1, 2], ["broken on version 1", "broken on version 2"])


def test_who_leaves_while_being_called() -> None:
    mesh = Mesh()
    seen = []
    ends: list[Callable[[], None]] = []

    def once(now: Mesh) -> None:
        seen.append(now.version)
        ends[0]()

    ends.append(mesh.subscribe(once))
    mesh.publish("p", snapshot("a"))
    mesh.publish("p", snapshot("b"))
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
    mesh = Mesh()
    for provider in order:
        assert mesh.publish(provider, parts[provider])
    upstreams = mesh.table.upstreams
    assert {name: upstream.endpoints[0].host for name, upstream in upstreams.items()} == {
        "shop:8080": "10.0.0.1",
        "shop:8080@swarm": "10.0.0.2",
        "blog:8080": "10.0.0.2",
    }
    assert {(r.host, r.path): r.upstream.name for r in mesh.table.routes if r.upstream is not None} == {
        ("a.test", "/"): "shop:8080",
        ("b.test", "/blog"): "blog:8080",
        ("b.test", "/"): "shop:8080@swarm",
    }
    assert all(upstream.name == name for name, upstream in upstreams.items())
    # Routes without a clash are the very objects that the provider made.
    assert mesh.snapshot.contributions[1] is parts["swarm"].contributions[0]
    # When the other is gone the name is free again.
    assert mesh.publish("file", Snapshot())
    assert set(mesh.table.upstreams) == {"blog:8080", "shop:8080"}


@pytest.mark.parametrize("order", [("file", "swarm"), ("swarm", "file")])
def test_one_host_of_two_providers_with_an_upstream_of_one_name(order: tuple[str, str]) -> None:
    parts = {"file": shop("file", "a.test", "10.0.0.1"), "swarm": shop("swarm", "a.test", "10.0.0.2")}
    mesh = Mesh()
    for provider in order:
        mesh.publish(provider, parts[provider])
    (merged,) = (route.upstream for route in mesh.table.routes if route.upstream is not None)
    assert merged is not None
    assert merged.name == "shop:8080+shop:8080@swarm"
    assert dict(mesh.table.upstreams) == {merged.name: merged}
    found = [(endpoint.id, endpoint.address) for endpoint in merged.endpoints]
    assert found == [
        ("shop.1", "10.0.0.1:8080"),
        ("shop.1.x", "10.0.0.1:8081"),
        ("shop.1.x@swarm", "10.0.0.2:8081"),
        ("shop.1@swarm", "10.0.0.2:8080"),
    ]


def test_clashes_of_names_leave_a_change_small() -> None:
    mesh = Mesh()
    mesh.publish("file", shop("file", "a.test", "10.0.0.1"))
    mesh.publish("swarm", shop("swarm", "b.test", "10.0.0.2"))
    before = mesh.table.upstreams["shop:8080@swarm"]
    # A change elsewhere compiles its own host; the renamed upstream stays one object, and with it pools need no look.
    mesh.publish("docker", snapshot("c", provider="docker"))
    assert mesh.table.compiled_hosts == 1
    mesh.publish("docker", snapshot("c", "d", provider="docker"))
    assert mesh.table.compiled_hosts == 1
    assert mesh.table.upstreams["shop:8080@swarm"] is before
    # Equal again is no change.
    assert not mesh.publish("swarm", shop("swarm", "b.test", "10.0.0.2"))
    # Three of one name.
    mesh.publish("docker", shop("docker", "d.test", "10.0.0.3"))
    assert set(mesh.table.upstreams) == {"shop:8080", "shop:8080@file", "shop:8080@swarm"}
    assert mesh.table.upstreams["shop:8080@swarm"] is before


def owned(host: str, owner: str, age: int, provider: str = "p") -> Contribution:
    upstream = Upstream(f"{owner}:80", (Endpoint("1", "10.0.0.1", 80),))
    route = Route(Scheme.HTTP, host, "/", owner, "l", "hrm", 80, upstream)
    return Contribution(f"{provider}/{owner}", owner, age, (route,), owner=f"service {owner}")


def served(mesh: Mesh) -> list[str]:
    return [route.service for route in mesh.table.routes]


def test_a_redeployed_container_keeps_its_host() -> None:
    shop, evil = owned("a", "shop", 10), owned("a", "evil", 20)
    mesh = Mesh()
    mesh.publish("p", Snapshot.of([shop, evil]), now=NOW)
    assert served(mesh) == ["shop"]
    mesh.publish("p", Snapshot.of([evil]), now=NOW)
    assert served(mesh) == []
    assert [d.code for d in mesh.table.diagnostics] == ["TBL004"]
    mesh.publish("p", Snapshot.of([owned("a", "shop", 30), evil]), now=NOW)
    assert served(mesh) == ["shop"]


@pytest.mark.parametrize("order", [("p", "q"), ("q", "p")])
def test_first_snapshots_count_as_if_they_had_come_together(order: tuple[str, str]) -> None:
    parts = {"p": Snapshot.of([owned("a", "young", 20)]), "q": Snapshot.of([owned("a", "old", 10, "q")])}
    mesh = Mesh()
    for name in order:
        mesh.publish(name, parts[name], now=NOW)
    assert served(mesh) == ["old"]
    # From now on the record decides: an older one comes too late.
    mesh.publish("p", Snapshot.of([owned("a", "oldest", 1)]), now=NOW)
    assert served(mesh) == ["old"]


def test_age_decides_until_it_is_confirmed_when_records_were_restored() -> None:
    mesh = Mesh()
    mesh.restore([Tenure("a", "service kept", 5)])
    assert mesh.tenures == (Tenure("a", "service kept", 5),)
    mesh.publish("p", Snapshot.of([owned("a", "young", 20), owned("b", "young2", 20)]), now=NOW)
    mesh.publish("p", Snapshot.of([owned("a", "young", 20), owned("b", "young2", 20), owned("b", "older", 10)]), now=NOW)
    assert served(mesh) == ["older"]
    mesh.confirm()
    mesh.publish("p", Snapshot.of([owned("b", "young2", 20), owned("b", "older", 10), owned("b", "oldest", 5)]), now=NOW)
    assert served(mesh) == ["older"]


def test_names_that_are_kept_long_enough_are_freed_and_released_ones_at_once() -> None:
    mesh = Mesh(rules=OwnershipRules(keep=60))
    heard: list[int] = []
    mesh.subscribe(lambda it: heard.append(it.version))
    shop, evil = owned("a", "shop", 1), owned("a", "evil", 2)
    mesh.publish("p", Snapshot.of([shop, evil]), now=100)
    mesh.publish("p", Snapshot.of([evil]))  # at the time that was told last
    assert not mesh.settle(now=159)
    assert mesh.settle(now=160)
    assert (served(mesh), heard) == (["evil"], [1, 2, 3])
    mesh.publish("p", Snapshot.of([shop, evil]))
    assert served(mesh) == ["evil"]
    assert mesh.release(["a"])
    assert served(mesh) == ["shop"]
    assert not mesh.release(["never"], now=161)
    assert mesh.tenures == (Tenure("a", "service shop", 160),)


def test_a_mesh_of_a_settled_snapshot() -> None:
    shop, evil = owned("a", "shop", 30), owned("a", "evil", 20)
    assert served(Mesh(Snapshot((evil, shop), {"a": Tenure("a", "service shop", 1)}))) == ["shop"]


def test_an_upstream_that_gives_way_does_so_in_all_its_routes() -> None:
    def two(provider: str) -> Snapshot:
        upstream = Upstream("shop:80", (Endpoint("1", "10.0.0.1", 80),))
        hosts = (f"a.{provider}", f"b.{provider}")
        routes = tuple(Route(Scheme.HTTP, host, "/", "shop", "l", "hrm", 80, upstream) for host in hosts)
        return Snapshot.of([Contribution(f"{provider}/shop", "shop", 1, routes)])

    mesh = Mesh()
    mesh.publish("p", two("p"))
    mesh.publish("q", two("q"))
    by_host = {route.host: route.upstream for route in mesh.table.routes}
    assert by_host["a.q"] is by_host["b.q"] is mesh.table.upstreams["shop:80@q"]
    assert by_host["a.p"] is by_host["b.p"] is mesh.table.upstreams["shop:80"]


def test_without_the_time_a_name_is_kept_until_its_publisher_is_withdrawn() -> None:
    shop, evil = owned("a", "shop", 10), owned("a", "evil", 20, "q")
    mesh = Mesh()
    mesh.publish("p", Snapshot.of([shop]))
    mesh.publish("q", Snapshot.of([evil]))
    mesh.publish("p", Snapshot())
    assert served(mesh) == []
    assert not mesh.withdraw("p")  # nothing is left of it to forget
    assert served(mesh) == []
    mesh.publish("p", Snapshot.of([shop]))
    assert mesh.withdraw("p")
    assert served(mesh) == ["evil"]
    # When the time is told, names that nobody has asked for since before then are free.
    mesh.publish("q", Snapshot.of([owned("b", "blog", 1, "q")]))
    mesh.publish("r", Snapshot.of([owned("a", "other", 30, "r")]))
    assert "other" not in served(mesh)
    assert mesh.settle(now=NOW)
    assert "other" in served(mesh)


def test_a_name_that_is_withdrawn_stays_with_an_owner_who_asks_for_it_elsewhere() -> None:
    mesh = Mesh()
    mesh.publish("p", Snapshot.of([owned("a", "shop", 10)]))
    mesh.publish("q", Snapshot.of([owned("a", "shop", 20, "q"), owned("a", "evil", 30, "q")]))
    mesh.confirm()
    before = mesh.tenures
    assert mesh.withdraw("p")
    assert mesh.tenures == before


def test_who_published_can_withdraw() -> None:
    mesh = Mesh(snapshot("a"))
    mesh.publish("p", snapshot("b", provider="q"))
    assert sorted(mesh.parts) == ["", "p"]
    assert mesh.withdraw()
    assert (hosts(mesh), sorted(mesh.parts)) == (["b"], ["p"])
    assert not mesh.withdraw()
    assert not mesh.withdraw("nobody")
    assert mesh.withdraw("p")
    assert (hosts(mesh), mesh.snapshot, mesh.version) == ([], Snapshot(), 3)
    mesh.publish("p", Snapshot())
    assert not mesh.withdraw("p")
    assert mesh.parts == {}


def test_a_draft_takes_effect_when_it_is_committed() -> None:
    mesh = Mesh()
    draft = mesh.draft("p", snapshot("a"), now=NOW)
    assert (mesh.version, hosts(mesh), mesh.parts) == (0, [], {})
    assert draft.changes_something
    assert mesh.is_fresh(draft)
    assert mesh.commit(draft)
    assert (mesh.version, hosts(mesh)) == (1, ["a"])
    same = mesh.draft("p", snapshot("a"))
    assert not same.changes_something
    assert not mesh.commit(same)


def test_a_draft_is_of_no_use_when_something_else_took_effect() -> None:
    mesh = Mesh()
    draft = mesh.draft("p", snapshot("a"))
    mesh.publish("q", snapshot("b", provider="q"))
    assert not mesh.is_fresh(draft)
    with pytest.raises(ValueError, match="make another one"):
        mesh.commit(draft)
    assert hosts(mesh) == ["b"]


def test_a_worker_takes_what_its_supervisor_settled() -> None:
    shop, evil = owned("a", "shop", 30), owned("a", "evil", 20)
    tenures = {"a": Tenure("a", "service shop", 1)}
    mesh = Mesh()
    settled = Snapshot((evil, shop), tenures)
    assert mesh.publish("supervisor", settled, now=NOW)
    assert served(mesh) == ["shop"]
    assert not mesh.publish("supervisor", Snapshot((evil, shop), dict(tenures)), now=NOW)
    assert mesh.publish("supervisor", Snapshot((evil, shop), {"a": Tenure("a", "service evil", 2)}), now=NOW)
    assert (served(mesh), mesh.version) == (["evil"], 2)


def test_what_is_restored_is_known_before_anybody_has_published() -> None:
    mesh = Mesh()
    mesh.restore([Tenure("a", "service kept", 5), Tenure("b", "service gone", 5, 7)])
    assert [(tenure.name, tenure.owner) for tenure in mesh.tenures] == [("a", "service kept"), ("b", "service gone")]
