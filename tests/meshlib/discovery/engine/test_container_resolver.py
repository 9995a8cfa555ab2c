"""Records of plain containers -> snapshot: who serves together, who is routed, and what is kept."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.bounds import MAX_NAME
from meshlib.discovery.engine.container_resolver import ContainerResolver
from meshlib.discovery.engine.containers import parse_containers
from meshlib.discovery.engine.networks import (
    ADDRESS_REFUSED,
    GATEWAY_ITSELF,
    MALFORMED,
    NO_ADDRESS,
    OFF_GATEWAY,
    OFF_NETWORK,
)
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.own_networks import GATEWAY_UNKNOWN, Surroundings
from meshlib.discovery.engine.records import (
    ContainerAddress,
    ContainerRecord,
    ContainerRecords,
    Malformed,
    NetworkRecord,
)
from meshlib.discovery.limits import DiscoveryLimits
from meshlib.labels.hrm import LABEL
from meshlib.labels.limits import LabelLimits
from meshlib.labels.result import PublishedPort
from meshlib.model import Snapshot
from meshlib.name_records import NameKind
from meshlib.table import RoutingTable
from tests.vectors.engine.scenes import scenes

FRONT = NetworkRecord("n1", "front", {LABEL: ""})
BACK = NetworkRecord("n2", "back")
NETWORKS = (FRONT, BACK, NetworkRecord("n0", "bridge"))
GOOD = {LABEL: "external_route=http://web.example.com,internal_port=80"}
BAD = {LABEL: "external_route=http://web.example.com,internal_port=eighty"}


def container(
    number: int, labels: dict[str, str] | None = None, *, compose: str = "", network: str = "front"
) -> ContainerRecord:
    composed = (
        {"com.docker.compose.project": "demo", "com.docker.compose.service": compose}
        if compose
        else {}
    )
    return ContainerRecord(
        id=f"{number:064}",
        name=f"c{number}",
        created_at=number,
        labels={**(GOOD if labels is None else labels), **composed},
        state="running",
        addresses=(ContainerAddress("", network, f"172.18.0.{number}", (f"c{number}", "alias")),),
    )


def resolve(*containers: ContainerRecord, options: ResolveOptions | None = None) -> Snapshot:
    return ContainerResolver(options=options).resolve(ContainerRecords(containers, NETWORKS))


def endpoints(snapshot: Snapshot) -> list[list[tuple[str, str, str]]]:
    return [
        [(e.id, e.address, str(e.state)) for e in r.upstream.endpoints]
        for r in snapshot.routes
        if r.upstream
    ]


def codes(snapshot: Snapshot) -> list[str]:
    return [diagnostic.code for diagnostic in snapshot.diagnostics]


def test_a_single_container() -> None:
    snapshot = resolve(container(1))
    (contribution,) = snapshot.contributions
    assert (contribution.key, contribution.service, contribution.created_at) == (
        "docker/c1",
        "c1",
        1,
    )
    assert endpoints(snapshot) == [[("c1", "172.18.0.1:80", "ready")]]


def test_containers_of_one_compose_service_serve_together() -> None:
    snapshot = resolve(container(2, compose="web"), container(1, compose="web"), container(3))
    assert [c.key for c in snapshot.contributions] == ["docker/c3", "docker/demo_web"]
    assert endpoints(snapshot)[1] == [
        ("c1", "172.18.0.1:80", "ready"),
        ("c2", "172.18.0.2:80", "ready"),
    ]
    assert snapshot.contributions[1].created_at == 1


def test_services_of_two_owners_that_come_out_with_one_name_are_two() -> None:
    # "demo_shop_web" is web of demo_shop; shop_web of demo and a container of that name say the
    # same.
    names = [("demo_shop", "web"), ("demo", "shop_web")]
    made = [
        replace(
            container(n),
            labels={
                **GOOD,
                "com.docker.compose.project": project,
                "com.docker.compose.service": service,
            },
        )
        for n, (project, service) in enumerate(names, 1)
    ]
    snapshot = resolve(*made, replace(container(3), name="demo_shop_web"))
    assert {item.owner for item in snapshot.contributions} == {
        "project demo_shop",
        "project demo",
        "container demo_shop_web",
    }
    assert sorted(endpoint for (endpoint,) in endpoints(snapshot)) == [
        ("c1", "172.18.0.1:80", "ready"),
        ("c2", "172.18.0.2:80", "ready"),
        ("demo_shop_web", "172.18.0.3:80", "ready"),
    ]


def test_no_service_can_call_its_upstream_as_merged_ones_are_called() -> None:
    shared = [container(1, compose="a"), container(2, compose="b")]
    labels = {
        LABEL: "external_route=http://other.example,internal_port=80",
        "com.docker.compose.project": "demo_a:80+demo",
    }
    forged = replace(container(3), labels={**labels, "com.docker.compose.service": "b"})
    table = RoutingTable.build(resolve(*shared, forged))
    assert {
        key.name: [e.id for e in upstream.endpoints] for key, upstream in table.upstreams.items()
    } == {
        "demo_a:80+demo_b:80": ["c1", "c2"],
        "demo_a:80%2Bdemo_b:80": ["c3"],
    }


def test_containers_of_one_compose_service_with_other_labels_are_kept_apart() -> None:
    other = {LABEL: "external_route=http://web.example.com,internal_port=81"}
    snapshot = resolve(
        container(1, compose="web"), container(2, other, compose="web"), container(3, compose="web")
    )
    assert {c.service for c in snapshot.contributions} == {"demo_web"}
    names = [route.upstream.name for route in snapshot.routes if route.upstream]
    assert len(snapshot.contributions) == len(names) == 2
    assert len(set(names)) == 2
    assert sorted(len(group) for group in endpoints(snapshot)) == [1, 2]


def test_groups_of_one_name_and_one_first_name_are_told_apart_by_id() -> None:
    labels = [
        {LABEL: f"external_route=http://web.example.com,internal_port={port}"}
        for port in (80, 81, 82)
    ]
    snapshot = resolve(
        *(
            replace(container(n, label, compose="web"), name="same")
            for n, label in enumerate(labels, 1)
        )
    )
    assert len(snapshot.contributions) == 3


def test_a_one_off_container_is_not_routed() -> None:
    shell = container(2, compose="web")
    shell = replace(shell, labels={**shell.labels, "com.docker.compose.oneoff": "True"})
    snapshot = resolve(container(1, compose="web"), shell)
    assert endpoints(snapshot) == [[("c1", "172.18.0.1:80", "ready")]]
    assert [c.key for c in snapshot.contributions] == ["docker/c2", "docker/demo_web"]
    assert snapshot.diagnostics == ()


def test_a_one_off_container_with_the_name_of_a_service_takes_nothing_from_it() -> None:
    shell = replace(container(2, compose="web"), name="demo_web")
    shell = replace(shell, labels={**shell.labels, "com.docker.compose.oneoff": "True"})
    snapshot = resolve(container(1, compose="web"), shell)
    assert [(c.key, len(c.routes)) for c in snapshot.contributions] == [
        ("docker/demo_web", 1),
        ("docker/demo_web/demo_web", 0),
    ]


@pytest.mark.parametrize(
    ("state", "health", "expected"),
    [
        ("running", "", "ready"),
        ("running", "healthy", "ready"),
        ("running", "starting", "starting"),
        ("running", "unhealthy", "unhealthy"),
        ("paused", "", None),
        ("restarting", "", None),
        ("exited", "", None),
    ],
)
def test_the_state_of_a_container_is_that_of_its_endpoint(
    state: str, health: str, expected: str | None
) -> None:
    snapshot = resolve(replace(container(1), state=state, health=health))
    assert [[e[2] for e in group] for group in endpoints(snapshot)] == [
        [expected] if expected else []
    ]


def test_the_port_that_is_published_counts_before_those_that_are_only_exposed() -> None:
    label = {LABEL: "external_route=http://web.example.com"}
    published, exposed = (
        PublishedPort(8080, 80, mode="host"),
        PublishedPort(8443, None, mode="host"),
    )
    for ports, expected in (((published, exposed), [8080]), ((exposed,), [8443]), ((), [])):
        snapshot = resolve(replace(container(1, label), ports=ports))
        assert [r.upstream and r.upstream.key.port for r in snapshot.routes] == expected


def test_off_any_labelled_network_there_is_no_route_but_a_word_about_it() -> None:
    outside = container(1, network="bridge")
    assert codes(resolve(outside)) == [OFF_NETWORK.code]
    assert resolve(outside).routes == ()
    assert endpoints(resolve(outside, options=ResolveOptions(network_label=""))) == [
        [("c1", "172.18.0.1:80", "ready")]
    ]
    assert codes(resolve(container(1, BAD, network="bridge"))) == ["HRM010", OFF_NETWORK.code]
    assert codes(resolve(container(1, {}, network="bridge"))) == []
    assert (
        codes(
            resolve(
                container(1, {LABEL: "external_route=http://a,redirect=http://b"}, network="bridge")
            )
        )
        == []
    )


def test_a_network_that_is_not_in_the_list_has_no_labels() -> None:
    assert codes(resolve(container(1, network="made-just-now"))) == [OFF_NETWORK.code]


def test_networks_of_one_name_are_told_apart_by_id() -> None:
    twins = (NetworkRecord("n4", "twin"), NetworkRecord("n5", "twin", {LABEL: ""}))
    for networks in (twins, twins[::-1]):
        for network_id, routed in (("n4", []), ("n5", [[("c1", "172.18.0.1:80", "ready")]])):
            one = replace(
                container(1), addresses=(ContainerAddress(network_id, "twin", "172.18.0.1"),)
            )
            assert (
                endpoints(ContainerResolver().resolve(ContainerRecords((one,), networks))) == routed
            )


def test_an_id_that_is_in_no_list_is_looked_for_by_name() -> None:
    one = replace(
        container(1), addresses=(ContainerAddress("front", "front", "172.18.0.1"),)
    )  # as Podman writes it
    assert endpoints(resolve(one)) == [[("c1", "172.18.0.1:80", "ready")]]


def test_a_network_that_the_engine_describes_wrongly_is_what_it_was() -> None:
    resolver = ContainerResolver()
    first = resolver.resolve(ContainerRecords((container(1),), NETWORKS))
    again = resolver.resolve(
        ContainerRecords((container(1),), (), (Malformed("network n1", "why", "n1"),))
    )
    assert endpoints(again) == endpoints(first) == [[("c1", "172.18.0.1:80", "ready")]]
    assert codes(again) == [MALFORMED.code]


def test_a_network_without_an_address_is_no_way_to_a_container() -> None:
    any_network = ResolveOptions(network_label="")
    one = replace(
        container(1),
        addresses=(ContainerAddress("", "a", ""), ContainerAddress("", "back", "172.19.0.1")),
    )
    assert endpoints(resolve(one, options=any_network)) == [[("c1", "172.19.0.1:80", "ready")]]
    nowhere = replace(container(1), addresses=(ContainerAddress("", "front", ""),))
    assert endpoints(resolve(nowhere)) == [[]]
    assert codes(resolve(nowhere)) == []


def test_addresses_that_lead_to_the_gateway_itself_are_refused() -> None:
    evil = replace(container(1), addresses=(ContainerAddress("", "front", "127.0.0.1"),))
    assert codes(resolve(evil)) == [ADDRESS_REFUSED.code]
    assert endpoints(resolve(evil)) == [[]]
    assert codes(resolve(replace(evil, labels={}))) == []


def test_routes_to_one_port_share_their_upstream() -> None:
    labels = {**GOOD, f"{LABEL}.2": "external_route=http://other.example.com,internal_port=80"}
    one, other = resolve(container(1, labels)).routes
    assert one.upstream is other.upstream


def test_routes_to_one_port_that_read_it_differently_share_its_endpoints() -> None:
    lenient = "external_route=http://other.example.com,internal_port=80,lenient=true"
    one, other = resolve(container(1, {**GOOD, f"{LABEL}.2": lenient})).routes
    assert one.upstream is not None
    assert other.upstream is not None
    assert {one.upstream.transport.lenient, other.upstream.transport.lenient} == {True, False}
    assert one.upstream.endpoints is other.upstream.endpoints


def test_containers_are_found_by_their_names() -> None:
    stopped = replace(container(2, {}), state="exited")
    snapshot = resolve(
        container(1, {}),
        stopped,
        container(3, {}, network="bridge"),
        container(4, {}, network="back"),
    )
    found = [(r.network, r.name, r.kind, r.addresses) for r in snapshot.names]
    assert found == [
        ("front", "alias", NameKind.CONTAINER, ("172.18.0.1",)),
        ("front", "c1", NameKind.CONTAINER, ("172.18.0.1",)),
        ("back", "alias", NameKind.CONTAINER, ("172.18.0.4",)),
        ("back", "c4", NameKind.CONTAINER, ("172.18.0.4",)),
    ]


def test_what_was_malformed_is_reported() -> None:
    assert codes(
        ContainerResolver().resolve(ContainerRecords(malformed=(Malformed("container ?", "why"),)))
    ) == [MALFORMED.code]


@pytest.mark.parametrize("remembered", [True, False])
def test_a_label_that_goes_wrong_keeps_its_last_good_route(remembered: bool) -> None:
    resolver = ContainerResolver()
    snapshot = resolver.resolve(ContainerRecords((container(1, compose="web"),), NETWORKS))

    def look(labels: dict[str, str]) -> Snapshot:
        # Labels of a container never change: it was made anew, under its old name and with another
        # address.
        made_anew = replace(container(9, labels, compose="web"), name="c1")
        return (resolver if remembered else ContainerResolver()).resolve(
            ContainerRecords((made_anew,), NETWORKS), snapshot
        )

    snapshot = look(BAD)
    assert [route.degraded for route in snapshot.routes] == [True]
    assert endpoints(snapshot) == [[("c1", "172.18.0.9:80", "ready")]]
    assert codes(snapshot) == ["HRM010"]
    assert [route.degraded for route in look(GOOD).routes] == [False]
    assert look({}).routes == ()


def test_one_change_among_many_containers_is_one_reading() -> None:
    containers = [replace(container(n % 250 + 1), name=f"c{n}", id=f"{n}") for n in range(500)]
    resolver = ContainerResolver()
    first = resolver.resolve(ContainerRecords(tuple(containers), NETWORKS))
    assert resolver.resolve(ContainerRecords(tuple(containers[::-1]), NETWORKS[::-1])) == first
    assert resolver.parsed == 500
    containers[7] = replace(containers[7], health="unhealthy")
    changed = resolver.resolve(ContainerRecords(tuple(containers), NETWORKS))
    assert resolver.parsed == 501
    assert [
        one is other for one, other in zip(first.contributions, changed.contributions, strict=True)
    ].count(False) == 1


def test_an_equal_result_is_the_object_it_was() -> None:
    resolver = ContainerResolver()
    first = resolver.resolve(ContainerRecords((container(1),), NETWORKS))
    again = resolver.resolve(ContainerRecords((replace(container(1), health="healthy"),), NETWORKS))
    assert resolver.parsed == 2
    assert again.contributions[0] is first.contributions[0]


PARSED = [
    parse_containers(scene.lists["containers"], scene.lists["networks"])
    for scene in scenes("containers")
]


@settings(max_examples=30)
@given(st.sampled_from(PARSED), st.randoms())
def test_the_order_of_records_does_not_matter(scene: ContainerRecords, random: Random) -> None:
    containers, networks = list(scene.containers), list(scene.networks)
    random.shuffle(containers)
    random.shuffle(networks)
    mixed = ContainerRecords(tuple(containers), tuple(networks), scene.malformed)
    assert ContainerResolver().resolve(mixed) == ContainerResolver().resolve(scene)


CONTAINERS = (
    container(1),
    replace(container(1), name="twin"),
    replace(container(2), name="c1"),
    container(3, BAD, compose="web"),
)
TWIN_NETWORKS = (*NETWORKS, NetworkRecord("n1", "front"), NetworkRecord("n9", "front"))


@given(st.permutations(CONTAINERS), st.permutations(TWIN_NETWORKS))
def test_nor_does_it_where_two_have_one_id_or_name(
    containers: list[ContainerRecord], networks: list[NetworkRecord]
) -> None:
    mixed = ContainerResolver().resolve(ContainerRecords(tuple(containers), tuple(networks)))
    assert mixed == ContainerResolver().resolve(ContainerRecords(CONTAINERS, TWIN_NETWORKS))


def test_published_ports_are_carried_on_request() -> None:
    def published(number: int, *ports: PublishedPort, **labels: str) -> ContainerRecord:
        return replace(container(number, labels, compose="web"), ports=ports)

    on = ResolveOptions(published_ports=True)
    one = published(1, PublishedPort(80, 8001), PublishedPort(443))
    other = published(2, PublishedPort(80, 8002))
    assert resolve(one, other).routes == ()
    snapshot = resolve(one, other, options=on)
    assert [r.name for r in snapshot.routes] == ["tcp://:8001", "tcp://:8002"]
    both = [("c1", "172.18.0.1:80", "ready"), ("c2", "172.18.0.2:80", "ready")]
    assert endpoints(snapshot) == [both, both]
    once = published(3, PublishedPort(80, 8003), **{"com.docker.compose.oneoff": "True"})
    assert resolve(once, options=on).routes == ()
    refused = replace(one, addresses=(ContainerAddress("", "front", "127.0.0.1", ()),))
    assert codes(resolve(refused, options=on)) == [ADDRESS_REFUSED.code]
    assert codes(resolve(refused)) == []


def test_a_container_is_of_its_project_or_stands_for_itself() -> None:
    found = {
        c.service: (c.owner, c.networks)
        for c in resolve(container(1), container(2, compose="web")).contributions
    }
    assert found == {"c1": ("container c1", ("front",)), "demo_web": ("project demo", ("front",))}


def test_a_container_over_its_limits_is_cut_down_alone_and_keeps_its_last_good_routes() -> None:
    def fat(count: int) -> ContainerRecord:
        return container(
            2,
            {
                f"{LABEL}.{n:03}": f"external_route=http://a{99 - n:02},internal_port=80"
                for n in range(98 - count, 98)
            },
        )

    limits = DiscoveryLimits(labels=LabelLimits(characters=600), names=1, endpoints=1)
    resolver = ContainerResolver(options=ResolveOptions(limits=limits))
    before = resolver.resolve(ContainerRecords((container(1), fat(5)), NETWORKS))
    assert codes(before) == ["LIM005", "LIM005"]
    after = resolver.resolve(ContainerRecords((container(1), fat(20)), NETWORKS))
    assert after.contributions[0] is before.contributions[0]
    assert [d.code for d in after.contributions[1].diagnostics] == ["LIM005", "HRM040"]
    last_good = [route.host for route in after.routes if route.degraded]
    assert last_good == ["a06", "a05", "a04", "a03", "a02"]
    assert (resolver.parsed, resolver.labels_read) == (3, 3)
    # Health is no news to labels.
    resolver.resolve(
        ContainerRecords((replace(container(1), health="unhealthy"), fat(20)), NETWORKS)
    )
    assert (resolver.parsed, resolver.labels_read) == (4, 3)


def test_the_names_that_labels_make_are_bounded() -> None:
    long = {
        "com.docker.compose.project": "p" * 100_000,
        "com.docker.compose.service": "s" * 100_000,
    }
    snapshot = resolve(replace(container(1), labels=GOOD | long))
    (contribution,) = snapshot.contributions
    (route,) = snapshot.routes
    assert route.upstream is not None
    assert (
        max(
            map(
                len,
                (contribution.key, contribution.service, contribution.owner, route.upstream.name),
            )
        )
        <= MAX_NAME
    )
    again = resolve(replace(container(1), labels=BAD | long))
    resolver = ContainerResolver()
    kept = resolver.resolve(
        ContainerRecords((replace(container(1), labels=BAD | long),), NETWORKS), snapshot
    )
    assert (len(again.routes), [r.degraded for r in kept.routes]) == (0, [True])


# Where the gateway is.

FRONT_HERE = replace(
    FRONT, subnets=(ip_network("172.18.0.0/16"),), gateways=frozenset({"172.18.0.1"})
)
BACK_HERE = NetworkRecord("n2", "back", {LABEL: ""}, subnets=(ip_network("172.19.0.0/16"),))
ME = ContainerRecord(
    "f" * 64, "gateway", state="running", addresses=(ContainerAddress("n2", "back", "172.19.0.99"),)
)


def look(
    *containers: ContainerRecord,
    surroundings: Surroundings | None,
    options: ResolveOptions | None = None,
) -> Snapshot:
    records = ContainerRecords((*containers, ME), (FRONT_HERE, BACK_HERE))
    return ContainerResolver(options=options).resolve(records, surroundings=surroundings)


@pytest.mark.parametrize(
    "surroundings",
    [
        Surroundings(frozenset({ME.id})),
        Surroundings(interfaces=frozenset({"172.19.0.99/16"}), local=True),
    ],
)
def test_of_two_labelled_networks_the_one_that_the_gateway_is_on(
    surroundings: Surroundings,
) -> None:
    places = tuple(
        ContainerAddress(f"n{n}", name, f"172.1{7 + n}.0.2", ("c",))
        for n, name in ((1, "front"), (2, "back"))
    )
    two = replace(container(2), addresses=places[::-1])
    assert endpoints(look(two, surroundings=surroundings)) == [[("c2", "172.19.0.2:80", "ready")]]
    assert endpoints(
        look(two, surroundings=None, options=ResolveOptions(reachable=frozenset({"front"})))
    ) == [[("c2", "172.18.0.2:80", "ready")]]
    off = look(container(2), surroundings=surroundings)
    assert codes(off) == [OFF_GATEWAY.code]
    assert off.routes == ()
    assert off.names == ()


def test_a_gateway_with_the_network_of_its_host_is_known_by_its_interfaces() -> None:
    me = replace(ME, addresses=(ContainerAddress("n0", "host", ""),))
    here = Surroundings(frozenset({me.id}), frozenset({"172.18.0.1/16"}), local=True)
    snapshot = ContainerResolver().resolve(
        ContainerRecords((container(2), me), (FRONT_HERE, BACK_HERE)), surroundings=here
    )
    assert endpoints(snapshot) == [[("c2", "172.18.0.2:80", "ready")]]
    far = ContainerResolver().resolve(
        ContainerRecords((container(2), me), (FRONT_HERE, BACK_HERE)),
        surroundings=Surroundings(frozenset({me.id})),
    )
    assert codes(far) == [GATEWAY_UNKNOWN.code]


@pytest.mark.parametrize(
    "address",
    ["172.18.0.1", "172.18.0.0", "172.18.255.255", "172.19.0.5", "172.18.0.50", "64:ff9b::1"],
)
def test_addresses_that_no_container_can_have_are_refused(address: str) -> None:
    here = Surroundings(frozenset({ME.id}), frozenset({"172.18.0.50/16"}), local=True)
    bad = replace(container(2), addresses=(ContainerAddress("n1", "front", address, ("c2",)),))
    snapshot = look(bad, surroundings=here)
    assert codes(snapshot) == [ADDRESS_REFUSED.code]
    assert endpoints(snapshot) == [[]]
    assert all(record.addresses == () for record in snapshot.names)


def test_each_container_is_reached_by_a_network_that_it_is_on() -> None:
    """One service, and containers on different networks: nobody is left out without a word."""
    here = Surroundings(interfaces=frozenset({"172.18.0.50/16", "172.19.0.50/16"}), local=True)
    elsewhere = NetworkRecord("n3", "elsewhere", {LABEL: ""}, subnets=(ip_network("10.9.0.0/16"),))
    places = (
        ("n1", "front", "172.18.0.2"),
        ("n2", "back", "172.19.0.3"),
        ("n3", "elsewhere", "10.9.0.4"),
    )
    records = [
        replace(container(n, compose="web"), addresses=(ContainerAddress(*place),))
        for n, place in enumerate(places, 2)
    ]
    snapshot = ContainerResolver().resolve(
        ContainerRecords(tuple(records), (FRONT_HERE, BACK_HERE, elsewhere)), surroundings=here
    )
    assert endpoints(snapshot) == [
        [("c2", "172.18.0.2:80", "ready"), ("c3", "172.19.0.3:80", "ready")]
    ]
    (said,) = snapshot.diagnostics
    assert (said.code, said.message) == (
        OFF_GATEWAY.code,
        "container c4 gets no requests: it is on elsewhere, and the gateway is on back, front",
    )


# The gateway itself is no target.


def gateway(number: int, labels: dict[str, str], *, compose: str = "gw") -> ContainerRecord:
    return replace(
        container(number, labels, compose=compose),
        addresses=(ContainerAddress("n1", "front", f"172.18.0.{number}"),),
        ports=(PublishedPort(8443, 8443),),
    )


@pytest.mark.parametrize(
    "surroundings",
    [
        Surroundings(frozenset({f"{8:064}"})),
        Surroundings(interfaces=frozenset({"172.18.0.8/16"}), local=True),
    ],
)
@pytest.mark.parametrize("labels", [{}, GOOD, BAD])
def test_the_gateway_is_never_a_target_nor_are_its_other_replicas(
    surroundings: Surroundings, labels: dict[str, str]
) -> None:
    on = ResolveOptions(published_ports=True)
    mine = [gateway(number, labels) for number in (8, 9)]
    # A replica with other labels, while the gateway is being replaced, is the gateway as well.
    older = gateway(7, {**labels, LABEL: "external_route=http://old.example,internal_port=8443"})
    shop = replace(container(3), ports=(PublishedPort(5432, 8443),))
    snapshot = look(*mine, older, shop, surroundings=surroundings, options=on)
    assert sorted((r.name, r.service) for r in snapshot.routes) == [
        ("http://web.example.com", "c3"),
        ("tcp://:8443", "c3"),
    ]
    told = [said.service for said in snapshot.diagnostics if said.code == GATEWAY_ITSELF.code]
    assert told == ["demo_gw"] * (2 if labels else 1)
    unaware = look(*mine, older, shop, surroundings=None, options=on)
    assert len(unaware.routes) > 2


def test_redirects_of_the_gateways_own_labels_are_served() -> None:
    labels = {LABEL: "external_route=http://old.example,redirect=http://new.example"}
    me = Surroundings(frozenset({f"{8:064}"}))
    snapshot = look(gateway(8, labels), surroundings=me)
    assert [route.name for route in snapshot.routes] == ["http://old.example"]
    assert snapshot.diagnostics == ()


# Containers without a network of their own.


@pytest.mark.parametrize("mode", ["host", "none", "container:1234567890abcdef"])
def test_a_container_without_an_address_of_its_own_is_told_what_to_write(mode: str) -> None:
    bridge = replace(FRONT_HERE, driver="bridge")
    one = replace(
        container(1),
        network_mode=mode,
        addresses=(ContainerAddress("n0", mode, ""),) if mode in ("host", "none") else (),
    )
    here = Surroundings(interfaces=frozenset({"172.18.0.50/16"}), local=True)
    snapshot = ContainerResolver().resolve(ContainerRecords((one,), (bridge,)), surroundings=here)
    assert snapshot.routes == ()
    (said,) = snapshot.diagnostics
    assert said.code == NO_ADDRESS.code
    assert ("172.18.0.1:PORT" in said.hint) is (mode == "host")


# Containers that do not run.


def stopped(record: ContainerRecord) -> ContainerRecord:
    places = tuple(replace(place, address="") for place in record.addresses)
    return replace(record, state="exited", addresses=places, ports=())


def test_a_stopped_container_has_its_routes_and_no_endpoints() -> None:
    resolver = ContainerResolver()
    inferred = container(2, {LABEL: "external_route=http://port.example"})
    both = (container(1), replace(inferred, ports=(PublishedPort(8080, 80),)))
    before = resolver.resolve(ContainerRecords(both, NETWORKS))
    wrong = stopped(container(3, BAD))
    after = resolver.resolve(ContainerRecords((*map(stopped, both), wrong), NETWORKS))
    assert [r.match for r in after.routes] == [r.match for r in before.routes]
    assert [r.upstream and r.upstream.key for r in after.routes] == [
        r.upstream and r.upstream.key for r in before.routes
    ]
    assert endpoints(after) == [[], []]
    assert after.diagnostics == ()
    assert {c.created_at for c in after.contributions} == {0}
    assert resolver.resolve(ContainerRecords(both, NETWORKS)) == before


def test_a_stopped_container_takes_nothing_from_one_that_runs() -> None:
    older, newer = stopped(container(1)), container(2)
    snapshot = resolve(older, newer)
    assert [(r.name, r.service) for r in snapshot.routes] == [("http://web.example.com", "c2")]
    table = RoutingTable.build(snapshot)
    assert table.diagnostics == ()


def test_a_removed_container_is_known_for_a_while() -> None:
    resolver = ContainerResolver()

    def look(now: float | None, *containers: ContainerRecord) -> list[list[tuple[str, str, str]]]:
        return endpoints(resolver.resolve(ContainerRecords(containers, NETWORKS), now=now))

    here = [[("c1", "172.18.0.1:80", "ready")]]
    assert look(0.0, container(1)) == here
    assert look(1.0) == [[]]
    assert look(20.0) == [[]]
    assert look(30.9, replace(container(2), name="c1")) == [[("c1", "172.18.0.2:80", "ready")]]
    assert look(31.0) == [[]]
    assert look(61.0) == []
    assert look(62.0, container(1)) == here
    assert look(None) == []


def test_loopback_addresses_of_containers_are_for_tests_alone() -> None:
    place = ContainerAddress("", "front", "127.0.0.9", ("c1",))
    there = replace(container(1), addresses=(place,))
    refused = resolve(there)
    assert (endpoints(refused), refused.names) == ([[]], ())
    permitted = resolve(there, options=ResolveOptions(loopback_for_tests=True))
    assert endpoints(permitted) == [[("c1", "127.0.0.9:80", "ready")]]
    assert permitted.diagnostics == ()
    assert [record.addresses for record in permitted.names] == [("127.0.0.9",)]
