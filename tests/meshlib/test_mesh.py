"""Several providers publish, one table follows, and nobody hears of what did not change."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.decision import (
    Carry,
    Decision,
    Forward,
    Passthrough,
    Redirect,
    Refuse,
    Reject,
    Respond,
    Terminate,
)
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.messages import ClientHello, FieldSection, RequestHead
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    ForwardTo,
    HostPath,
    ListeningPort,
    RedirectRule,
    Route,
    Scheme,
    Snapshot,
    Tenure,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.ownership import OwnershipRules
from meshlib.routes import Service, Target, given_routes, redirect
from meshlib.upstream_key import UpstreamKey

NOW = 1_700_000_000.0
HEAD = RequestHead(
    b"GET", b"/", b"nobody", 1, FieldSection(b"", (), None, None, False, frozenset(), None, False)
)


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


def test_settings_stay_with_every_new_table() -> None:
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


def test_subscribers_hear_of_every_change_in_order() -> None:
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
    assert [str(error) for error in caught.value.exceptions] == [
        "first on version 1",
        "last on version 1",
    ]
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
        upstream = Upstream(
            UpstreamKey(service, 8080),
            (Endpoint(f"{service}.1", address, 8080), Endpoint(f"{service}.1.x", address, 8081)),
        )
        routes = (
            Route(
                HostPath(host, "/" if service == "shop" else f"/{service}"),
                ForwardTo(upstream),
                service=service,
                label="l",
                schema="hrm",
            ),
            Route(
                HostPath(f"old.{provider}"),
                RedirectRule("https://new.test"),
                service=service,
                label="l",
                schema="hrm",
            ),
        )
        return Contribution(f"{provider}/{service}", service, 1, routes)

    return Snapshot.of(map(contribution, services or ("shop",)))


@pytest.mark.parametrize("order", [("file", "swarm"), ("swarm", "file")])
def test_two_providers_with_an_upstream_of_one_name(order: tuple[str, str]) -> None:
    parts = {
        "file": shop("file", "a.test", "10.0.0.1"),
        "swarm": shop("swarm", "b.test", "10.0.0.2", "blog", "shop"),
    }
    mesh = Mesh()
    for provider in order:
        assert mesh.publish(provider, parts[provider])
    upstreams = mesh.table.upstreams
    assert {key.name: upstream.endpoints[0].host for key, upstream in upstreams.items()} == {
        "shop:8080": "10.0.0.1",
        "shop:8080@swarm": "10.0.0.2",
        "blog:8080": "10.0.0.2",
    }
    assert {
        (r.host, r.path): r.upstream.name for r in mesh.table.routes if r.upstream is not None
    } == {
        ("a.test", "/"): "shop:8080",
        ("b.test", "/blog"): "blog:8080",
        ("b.test", "/"): "shop:8080@swarm",
    }
    assert all(upstream.key == key for key, upstream in upstreams.items())
    # Routes without a clash are the very objects that the provider made.
    assert mesh.snapshot.contributions[1] is parts["swarm"].contributions[0]
    # When the other is gone the name is free again.
    assert mesh.publish("file", Snapshot())
    assert {key.name for key in mesh.table.upstreams} == {"blog:8080", "shop:8080"}


@pytest.mark.parametrize("order", [("file", "swarm"), ("swarm", "file")])
def test_one_host_of_two_providers_with_an_upstream_of_one_name(order: tuple[str, str]) -> None:
    parts = {
        "file": shop("file", "a.test", "10.0.0.1"),
        "swarm": shop("swarm", "a.test", "10.0.0.2"),
    }
    mesh = Mesh()
    for provider in order:
        mesh.publish(provider, parts[provider])
    (merged,) = (route.upstream for route in mesh.table.routes if route.upstream is not None)
    assert merged is not None
    assert merged.name == "shop:8080+shop:8080@swarm"
    assert dict(mesh.table.upstreams) == {merged.key: merged}
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
    swarm = UpstreamKey("shop", 8080, "swarm")
    before = mesh.table.upstreams[swarm]
    # A change elsewhere compiles its own host; the renamed upstream stays one object, and with it
    # pools need no look.
    mesh.publish("docker", snapshot("c", provider="docker"))
    assert mesh.table.compiled_hosts == 1
    mesh.publish("docker", snapshot("c", "d", provider="docker"))
    assert mesh.table.compiled_hosts == 1
    assert mesh.table.upstreams[swarm] is before
    # Equal again is no change.
    assert not mesh.publish("swarm", shop("swarm", "b.test", "10.0.0.2"))
    # Three of one name.
    mesh.publish("docker", shop("docker", "d.test", "10.0.0.3"))
    assert {key.name for key in mesh.table.upstreams} == {
        "shop:8080",
        "shop:8080@file",
        "shop:8080@swarm",
    }
    assert mesh.table.upstreams[swarm] is before


def owned(host: str, owner: str, age: int, provider: str = "p") -> Contribution:
    upstream = Upstream(UpstreamKey(owner, 80), (Endpoint("1", "10.0.0.1", 80),))
    route = Route(HostPath(host), ForwardTo(upstream), service=owner, label="l", schema="hrm")
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
    parts = {
        "p": Snapshot.of([owned("a", "young", 20)]),
        "q": Snapshot.of([owned("a", "old", 10, "q")]),
    }
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
    mesh.publish(
        "p",
        Snapshot.of([owned("a", "young", 20), owned("b", "young2", 20), owned("b", "older", 10)]),
        now=NOW,
    )
    assert served(mesh) == ["older"]
    mesh.confirm()
    mesh.publish(
        "p",
        Snapshot.of([owned("b", "young2", 20), owned("b", "older", 10), owned("b", "oldest", 5)]),
        now=NOW,
    )
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
        upstream = Upstream(UpstreamKey("shop", 80), (Endpoint("1", "10.0.0.1", 80),))
        hosts = (f"a.{provider}", f"b.{provider}")
        routes = tuple(
            Route(HostPath(host), ForwardTo(upstream), service="shop", label="l", schema="hrm")
            for host in hosts
        )
        return Snapshot.of([Contribution(f"{provider}/shop", "shop", 1, routes)])

    mesh = Mesh()
    mesh.publish("p", two("p"))
    mesh.publish("q", two("q"))
    by_host = {route.host: route.upstream for route in mesh.table.routes}
    assert by_host["a.q"] is by_host["b.q"] is mesh.table.upstreams[UpstreamKey("shop", 80, "q")]
    assert by_host["a.p"] is by_host["b.p"] is mesh.table.upstreams[UpstreamKey("shop", 80)]


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
    assert mesh.publish(
        "supervisor", Snapshot((evil, shop), {"a": Tenure("a", "service evil", 2)}), now=NOW
    )
    assert (served(mesh), mesh.version) == (["evil"], 2)


def test_what_is_restored_is_known_before_anybody_has_published() -> None:
    mesh = Mesh()
    mesh.restore([Tenure("a", "service kept", 5), Tenure("b", "service gone", 5, 7)])
    assert [(tenure.name, tenure.owner) for tenure in mesh.tenures] == [
        ("a", "service kept"),
        ("b", "service gone"),
    ]


ROUTES: Mapping[str, Target] = {
    "shop.example.com": ["10.0.0.5:8080", "10.0.0.6:8080"],
    "shop.example.com/empty": [],
    "api.example.com/v1": Service(["10.0.0.7:80"], name="api", https_only=True),
    "old.example.com": redirect("https://shop.example.com"),
    "sni://mail.example.com": ["10.0.0.8:443"],
    "tcp://:5432": ["10.0.0.9:5432"],
}


def carry_out(decision: Decision) -> str:
    """Exhaustive to mypy: `RedirectToTLS` is none of these."""
    match decision:
        case Forward(upstream=upstream):
            return f"forward to {upstream.name}"
        case Redirect(rule=rule):
            return f"{rule.status} {rule.target}"
        case Respond(status=status):
            return str(status)
        case _:
            assert_never(decision)


@pytest.mark.parametrize(
    ("url", "headers", "secure", "expected"),
    [
        ("https://shop.example.com/cart?a", {}, None, "forward to shop.example.com"),
        ("http://SHOP.example.com:8080/", {}, None, "forward to shop.example.com"),
        ("/cart", {"Host": "shop.example.com"}, None, "forward to shop.example.com"),
        ("http://10.1.1.1/", {"Host": "old.example.com"}, None, "301 https://shop.example.com"),
        ("http://shop.example.com/empty", {}, None, "503"),
        ("http://nobody.example.com/", {}, None, "404"),
        ("http://no body/", {}, None, "400"),
        ("/", {}, None, "404"),
        ("http://api.example.com/v1/x", {}, None, "308 https://api.example.com"),
        ("https://api.example.com/v1/x", {}, None, "forward to api"),
        ("http://api.example.com/v1/x", {}, True, "forward to api"),
        ("https://api.example.com/v1/x", {}, False, "308 https://api.example.com"),
        ("/v1", {"Host": "api.example.com"}, None, "308 https://api.example.com"),
    ],
)
def test_a_request_is_decided_without_io(
    url: str, headers: dict[str, str], secure: bool | None, expected: str
) -> None:
    mesh = Mesh(ROUTES)
    decision = mesh.route("GET", url, headers=headers, secure=secure)
    assert carry_out(decision) == expected
    assert mesh.explain("GET", url, headers=headers, secure=secure).decision == decision


def test_what_is_no_request_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ConfigurationError, match="this is not what a request asks for"):
        Mesh().route("GET", "shop.example.com")


def test_other_connections_are_decided_too() -> None:
    mesh = Mesh(ROUTES)
    decision = mesh.route_tls("Mail.example.com")
    assert isinstance(decision, Passthrough)
    assert (
        decision
        == mesh.route_tls(ClientHello("mail.example.com"))
        == mesh.explain_tls("mail.example.com").decision
    )
    assert mesh.route_tls(None) == Reject(112, "no_route")
    ended = mesh.route_tls("shop.example.com", terminates=lambda name: name == "shop.example.com")
    assert isinstance(ended, Terminate)
    assert mesh.explain_tls("shop.example.com", terminates=lambda name: True).kind == "terminate"
    assert isinstance(mesh.route_port(ListeningPort(Scheme.TCP, 5432)), Carry)
    assert mesh.route_port(ListeningPort(Scheme.UDP, 5432)) == Refuse("no_route")


def test_who_serves_a_host_is_told_without_a_request() -> None:
    mesh = Mesh(ROUTES)
    assert [endpoint.address for endpoint in mesh.endpoints("shop.example.com")] == [
        "10.0.0.5:8080",
        "10.0.0.6:8080",
    ]
    assert [endpoint.address for endpoint in mesh.endpoints("api")] == ["10.0.0.7:80"]
    assert mesh.endpoints("old.example.com") == mesh.endpoints("nobody") == ()
    draining = Endpoint("x", "10.0.0.1", 80, state=EndpointState.DRAINING)
    mesh.replace(
        {
            "a": Service([draining, "10.0.0.2:80"], name="api"),
            "b": Service([draining, "10.0.0.2:80"], name="api"),
        }
    )
    assert [endpoint.address for endpoint in mesh.endpoints("api")] == ["10.0.0.2:80"]
    assert [endpoint.address for endpoint in mesh.endpoints("api", ready=False)] == [
        "10.0.0.2:80",
        "10.0.0.1:80",
    ]


def test_names_are_resolved_as_docker_resolves_them() -> None:
    def web(*addresses: str) -> Snapshot:
        names = [
            NameRecord("front", "web", NameKind.SERVICE, ("10.0.1.2",)),
            NameRecord("front", "web", NameKind.TASKS, addresses),
        ]
        back = NameRecord("back", "web", NameKind.SERVICE, ("10.0.2.2",))
        return Snapshot.of([Contribution("p/web", "web")], (*names, back))

    mesh = Mesh()
    assert mesh.resolve("tasks.web") == ()
    mesh.publish("p", web("10.0.1.3", "10.0.1.4"))
    assert (
        mesh.resolve("tasks.web")
        == mesh.resolve("tasks.web", network="front")
        == ("10.0.1.3", "10.0.1.4")
    )
    with pytest.raises(ConfigurationError, match="network='back'"):
        mesh.resolve("web")
    assert mesh.resolve("web", network="back") == ("10.0.2.2",)
    assert mesh.publish("p", web("10.0.1.5"))
    assert mesh.resolve("tasks.web") == ("10.0.1.5",)
    mesh.publish("q", Snapshot.of([], [NameRecord("side", "till", NameKind.TASKS, ("10.0.3.2",))]))
    assert mesh.resolve("tasks.till") == ("10.0.3.2",)
    assert mesh.resolve("tasks.web") == ("10.0.1.5",)
    mesh.withdraw("p")
    assert mesh.resolve("tasks.web") == ()


def test_routes_from_code_are_replaced_as_a_whole() -> None:
    mesh = Mesh({"a": ["10.0.0.1:80"], "b": ["10.0.0.2:80"]})
    heard: list[int] = []
    mesh.subscribe(lambda now: heard.append(now.version))
    mesh.publish("p", snapshot("c"))
    assert mesh.replace({"b": ["10.0.0.2:80"], "d": ["10.0.0.4:80"]})
    assert [route.host for route in mesh.routes] == ["b", "c", "d"]
    assert mesh.table.compiled_hosts == 2
    assert not mesh.replace({"d": ["10.0.0.4:80"], "b": ["10.0.0.2:80"]})
    assert mesh.replace({})
    assert (hosts(mesh), heard) == (["c"], [1, 2, 3])
    mesh.replace(snapshot("e", provider="given"))
    assert hosts(mesh) == ["c", "e"]


def test_mistakes_are_found_when_routes_are_given_and_change_nothing() -> None:
    with pytest.raises(ConfigurationError, match=r"routes\['Shop'\]"):
        Mesh({"Shop": ["a:1"]})
    mesh = Mesh({"a": ["10.0.0.1:80"]})
    with pytest.raises(ConfigurationError, match=r"routes\['b:80'\]"):
        mesh.replace({"b:80": ["10.0.0.1:80"]})
    wrong = Contribution(
        "p/s",
        "s",
        routes=(
            Route(
                HostPath("b"),
                ForwardTo(Upstream(UpstreamKey("s"), (), "magic")),
                service="s",
                label="l",
                schema="x",
            ),
        ),
    )
    with pytest.raises(
        ConfigurationError, match=r"publish\('p'\): p/s: http://b: 'magic' is no strategy"
    ):
        mesh.publish("p", Snapshot.of([wrong]))
    with pytest.raises(ConfigurationError, match=r"routes: p/s: http://b: 'magic'"):
        Mesh(Snapshot.of([wrong]))
    assert (hosts(mesh), mesh.version, sorted(mesh.parts)) == (["a"], 0, [""])


def test_routes_that_are_withdrawn_leave_their_names_to_others() -> None:
    theirs = Snapshot.of([owned("a", "shop", 10)])
    mesh = Mesh({"a": ["10.0.0.1:80"]})
    mesh.publish("p", theirs, now=NOW)
    assert served(mesh) == ["a"]
    assert [diagnostic.code for diagnostic in mesh.diagnostics] == ["TBL004"]
    mesh.confirm()
    assert mesh.replace({}, now=NOW)
    assert served(mesh) == ["shop"]
    mesh.withdraw("p")
    mesh.replace({"a": ["10.0.0.1:80"]})
    assert served(mesh) == ["a"]


LABELS = {
    "com.docker.ucp.mesh.http.80": "external_route=http://shop.example.com,internal_port=8080"
}


def test_a_mesh_from_labels() -> None:
    mesh = Mesh.from_labels(
        LABELS, ["10.0.0.5", "10.0.0.6:9000"], service="shop", unmatched_status=503
    )
    assert carry_out(mesh.route("GET", "http://shop.example.com")) == "forward to shop:8080"
    assert carry_out(mesh.route("GET", "http://nobody")) == "503"
    assert [endpoint.address for endpoint in mesh.endpoints("shop")] == [
        "10.0.0.5:8080",
        "10.0.0.6:9000",
    ]
    assert mesh.diagnostics == ()
    wrong = Mesh.from_labels({"com.docker.ucp.mesh.http": "external_rout=http://a"}, ["10.0.0.5:1"])
    assert wrong.routes == ()
    assert {diagnostic.service for diagnostic in wrong.diagnostics} == {"service"}
    with pytest.raises(ConfigurationError, match=r"services.shop.endpoints\[1\]"):
        Mesh.from_labels(LABELS, ["10.0.0.5", "10.0.0.6:0"], service="shop")


def test_a_mesh_from_compose() -> None:
    document = {
        "services": {
            "shop": {
                "image": "shop",
                "labels": {
                    "com.docker.ucp.mesh.http": "external_route=http://${NAME},internal_port=80"
                },
            }
        }
    }
    mesh = Mesh.from_compose(json.dumps(document), variables={"NAME": "a.example"}, https_port=8443)
    assert carry_out(mesh.route("GET", "http://a.example")) == "forward to shop:80"
    seen: list[str] = []

    def load(text: str) -> object:
        seen.append(text)
        return document

    assert (
        Mesh.from_compose("services: ...", load=load, variables={"NAME": "a.example"}).snapshot
        == mesh.snapshot
    )
    assert seen == ["services: ..."]


def test_a_text_that_is_no_compose_file() -> None:
    def failing(text: str) -> object:
        raise ConfigurationError("the key is here twice", where="compose:3")

    with pytest.raises(ConfigurationError, match=r"cannot be parsed.*load=load_document"):
        Mesh.from_compose("services:\n  shop: {}")
    with pytest.raises(ConfigurationError, match="compose:3: the key is here twice"):
        Mesh.from_compose("", load=failing)
    with pytest.raises(ConfigurationError, match="compose: the document is not a mapping"):
        Mesh.from_compose("[]")


_NAMES = st.sampled_from(["a", "b", "c", "d"])
_PARTS = st.dictionaries(
    st.sampled_from(["p", "q", "r"]), st.lists(_NAMES, unique=True), min_size=1
)


@given(_PARTS, st.lists(_NAMES, unique=True), st.data())
def test_the_order_of_publications_does_not_matter(
    parts: dict[str, list[str]], own: list[str], data: st.DataObject
) -> None:
    def published(order: Sequence[str]) -> Mesh:
        mesh = Mesh({name: ["10.0.0.1:80"] for name in own})
        for publisher in order:
            mesh.publish(publisher, snapshot(*parts[publisher], provider=publisher))
        return mesh

    one, other = published(sorted(parts)), published(data.draw(st.permutations(sorted(parts))))
    assert one.snapshot == other.snapshot
    assert one.snapshot.tenures == other.snapshot.tenures
    assert one.routes == other.routes
    assert one.diagnostics == other.diagnostics


@given(st.lists(st.lists(_NAMES, unique=True), min_size=1, max_size=4), _PARTS)
def test_replacing_is_idempotent_and_forgets_what_was_before(
    versions: list[list[str]], parts: dict[str, list[str]]
) -> None:
    last = {name: ["10.0.0.9:80"] for name in versions[-1]}
    mesh, fresh = Mesh(), Mesh(last)
    for names in versions[:-1]:
        mesh.replace({name: ["10.0.0.1:80"] for name in names})
    mesh.replace(last)
    table, version = mesh.table, mesh.version
    assert not mesh.replace(dict(reversed(last.items())))
    assert (mesh.table, mesh.version) == (table, version)
    for publisher, names in parts.items():
        for each in (mesh, fresh):
            each.publish(publisher, snapshot(*names, provider=publisher))
    assert mesh.snapshot == fresh.snapshot
    assert mesh.routes == fresh.routes


@given(st.dictionaries(_NAMES, st.sampled_from(["10.0.0.1:80", "[::1]:81"]), min_size=1))
def test_routes_given_in_code_resolve_to_what_they_say(routes: dict[str, str]) -> None:
    mesh = Mesh({name: [address] for name, address in routes.items()})
    for name in ("a", "b", "c", "d"):
        decision = mesh.route("GET", f"http://{name}/x")
        if name in routes:
            assert isinstance(decision, Forward)
            assert [endpoint.address for endpoint in decision.upstream.endpoints] == [routes[name]]
        else:
            assert decision == Respond(404, "no_route")


def test_what_is_no_snapshot_is_not_published() -> None:
    nothing: Any = None
    mesh = Mesh()
    with pytest.raises(
        ConfigurationError, match=r"publish\('x'\): None \(NoneType\) is not a snap"
    ):
        mesh.publish("x", nothing)
    assert mesh.parts == {}


PROTECTED = {"shop.example.com": Service(["10.0.0.5:8080"], hooks=["auth"])}


def test_a_route_waits_closed_for_its_hook() -> None:
    mesh = Mesh(PROTECTED)
    told: list[int] = []
    mesh.subscribe(lambda changed: told.append(changed.version))
    asked = "GET", "https://shop.example.com/"
    assert mesh.route(*asked) == Respond(503, "unknown_hook", route=mesh.routes[0])
    assert [found.code for found in mesh.diagnostics] == ["TBL006"]
    mesh.hook("other", print)
    mesh.hook("auth", print)
    assert isinstance(mesh.route(*asked), Forward)
    assert (mesh.diagnostics, told) == ((), [1, 2])
    assert isinstance(Mesh(PROTECTED, hooks={"auth": print}).route(*asked), Forward)


def test_hooks_that_no_route_names_change_nothing() -> None:
    mesh = Mesh({"a.example.com": ["10.0.0.1:80"]})
    table = mesh.table
    mesh.hook("auth", print)
    assert (mesh.table, mesh.version) == (table, 0)
    draft = mesh.draft("", given_routes(PROTECTED))
    mesh.hook("other", print)
    assert not mesh.is_fresh(draft)
    mesh.replace(PROTECTED)
    assert isinstance(mesh.route("GET", "http://shop.example.com/"), Forward)


def test_hooks_of_changes_are_subscribers() -> None:
    mesh = Mesh()
    told: list[int] = []
    mesh.on_change(lambda changed: told.append(changed.version), name="counter")
    mesh.replace({"a.example.com": ["10.0.0.1:80"]})
    assert told == [1]
