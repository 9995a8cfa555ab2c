"""Records of a Swarm -> snapshot: who is routed and where to, what is kept, and how little is done
again.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.discovery.engine.networks import (
    ADDRESS_REFUSED,
    GATEWAY_ITSELF,
    LABELS_ON_CONTAINER,
    MALFORMED,
    NO_ADDRESS,
    OFF_GATEWAY,
    OFF_NETWORK,
)
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.own_networks import GATEWAY_UNKNOWN, Surroundings
from meshlib.discovery.engine.records import (
    Attachment,
    Malformed,
    NetworkRecord,
    ServiceRecord,
    SwarmRecords,
    TaskRecord,
    VirtualAddress,
)
from meshlib.discovery.engine.swarm import parse_swarm
from meshlib.discovery.engine.swarm_resolver import SwarmResolver
from meshlib.discovery.limits import DiscoveryLimits
from meshlib.labels.hrm import LABEL
from meshlib.labels.limits import LabelLimits
from meshlib.labels.result import PublishedPort
from meshlib.model import Snapshot
from meshlib.name_records import NameKind
from tests.vectors.engine.scenes import scenes

HRM = NetworkRecord("n1", "ucp-hrm", {LABEL: ""})
BACK = NetworkRecord("n2", "back-end")
INGRESS = NetworkRecord("n0", "ingress", ingress=True)
NETWORKS = (HRM, BACK, INGRESS)
GOOD = {f"{LABEL}.80": "external_route=http://shop.example.com,internal_port=80"}
BAD = {f"{LABEL}.80": "external_route=http://shop.example.com,internal_port=eighty"}

SHOP = ServiceRecord(
    "s1",
    "shop",
    5,
    GOOD,
    replicas=2,
    attachments=(Attachment("n1", ("Till",)), Attachment("back-end")),
    virtual_addresses=(
        VirtualAddress("n0", "10.0.0.2"),
        VirtualAddress("n1", "10.0.1.2"),
        VirtualAddress("n2", "10.0.2.2"),
    ),
)


def task(
    slot: int,
    state: str = "running",
    desired: str = "running",
    *,
    host: int = 0,
    name: str = "",
    node: str = "",
) -> TaskRecord:
    number = host or slot + 10
    addresses = (("n0", f"10.0.0.{number}"), ("n1", f"10.0.1.{number}"), ("n2", f"10.0.2.{number}"))
    return TaskRecord(name or f"t{slot}", "s1", slot, node, state, desired, addresses)


def resolve(
    service: ServiceRecord, *tasks: TaskRecord, options: ResolveOptions | None = None
) -> Snapshot:
    return SwarmResolver(options=options).resolve(SwarmRecords((service,), tasks, NETWORKS))


def endpoints(snapshot: Snapshot) -> list[tuple[str, str, str]]:
    (route,) = snapshot.routes
    assert route.upstream is not None
    return [(e.id, e.address, str(e.state)) for e in route.upstream.endpoints]


def codes(snapshot: Snapshot) -> list[str]:
    return [diagnostic.code for diagnostic in snapshot.diagnostics]


def test_a_service_with_its_tasks() -> None:
    snapshot = resolve(SHOP, task(1), task(2, "starting"))
    (contribution,) = snapshot.contributions
    assert (contribution.key, contribution.service, contribution.created_at) == (
        "swarm/s1",
        "shop",
        5,
    )
    assert endpoints(snapshot) == [
        ("shop.1", "10.0.1.11:80", "ready"),
        ("shop.2", "10.0.1.12:80", "starting"),
    ]
    (route,) = snapshot.routes
    assert route.upstream is not None
    assert route.upstream.name == "shop:80"
    assert snapshot.diagnostics == ()


def test_routes_to_one_port_share_their_upstream() -> None:
    labels = {**GOOD, f"{LABEL}.81": "external_route=http://other.example.com,internal_port=80"}
    one, other = resolve(replace(SHOP, labels=labels), task(1)).routes
    assert one.upstream is other.upstream


def test_routes_to_one_port_that_read_it_differently_share_its_endpoints() -> None:
    lenient = "external_route=http://other.example.com,internal_port=80,lenient=true"
    service = replace(SHOP, labels={**GOOD, f"{LABEL}.81": lenient})
    one, other = resolve(service, task(1)).routes
    assert one.upstream is not None
    assert other.upstream is not None
    assert {one.upstream.transport.lenient, other.upstream.transport.lenient} == {True, False}
    assert one.upstream.endpoints is other.upstream.endpoints


def test_an_identity_survives_the_replacement_of_its_task() -> None:
    before = endpoints(resolve(SHOP, task(1)))
    during = endpoints(resolve(SHOP, task(1, name="z"), task(1, "starting", host=99, name="a")))
    after = endpoints(
        resolve(SHOP, task(1, desired="shutdown", name="z"), task(1, host=99, name="a"))
    )
    assert [e for e in before if e[0] == "shop.1"] == [("shop.1", "10.0.1.11:80", "ready")]
    assert during == [("shop.1", "10.0.1.11:80", "ready"), ("shop.1.a", "10.0.1.99:80", "starting")]
    assert after == [("shop.1", "10.0.1.99:80", "ready"), ("shop.1.z", "10.0.1.11:80", "draining")]


def test_tasks_of_a_global_service_are_told_apart_by_node() -> None:
    service = replace(SHOP, replicas=None)
    found = resolve(
        service,
        task(0, node="b", name="t1"),
        task(0, node="a", host=20, name="t2"),
        task(0, host=30, name="t3"),
    )
    assert [e[0] for e in endpoints(found)] == ["shop.a", "shop.b", "shop.t3"]


def test_a_task_says_on_which_node_it_runs() -> None:
    (route,) = resolve(SHOP, task(1, node="a"), task(2, node="b"), task(3)).routes
    assert route.upstream is not None
    assert [one.node for one in route.upstream.endpoints] == ["a", "b", ""]
    (virtual,) = resolve(SHOP, task(1, node="a"), options=ResolveOptions(use_vip=True)).routes
    assert virtual.upstream is not None
    assert [one.node for one in virtual.upstream.endpoints] == [""]


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([task(1)], [("shop.vip", "10.0.1.2:80", "ready")]),
        ([task(1, "starting")], [("shop.vip", "10.0.1.2:80", "starting")]),
        ([], [("shop.vip", "10.0.1.2:80", "starting")]),
    ],
)
def test_the_virtual_address_on_request(
    tasks: list[TaskRecord], expected: list[tuple[str, str, str]]
) -> None:
    assert endpoints(resolve(SHOP, *tasks, options=ResolveOptions(use_vip=True))) == expected


@pytest.mark.parametrize(
    "service",
    [
        replace(SHOP, dnsrr=True),
        replace(SHOP, virtual_addresses=(VirtualAddress("n0", "10.0.0.2"),)),
        replace(SHOP, virtual_addresses=(VirtualAddress("n1", "127.0.0.1"),)),
    ],
)
def test_without_a_usable_virtual_address_its_tasks_are_asked(service: ServiceRecord) -> None:
    assert endpoints(resolve(service, task(1), options=ResolveOptions(use_vip=True))) == [
        ("shop.1", "10.0.1.11:80", "ready")
    ]


def test_off_any_labelled_network_there_is_no_route_but_a_word_about_it() -> None:
    off = replace(
        SHOP, attachments=(Attachment("n2"),), virtual_addresses=(VirtualAddress("n2", "10.0.2.2"),)
    )
    snapshot = resolve(off, task(1))
    assert snapshot.routes == ()
    (said,) = snapshot.diagnostics
    assert (said.code, said.label) == (OFF_NETWORK.code, f"{LABEL}.80")
    assert endpoints(resolve(off, task(1), options=ResolveOptions(network_label=""))) == [
        ("shop.1", "10.0.2.11:80", "ready")
    ]
    assert codes(resolve(replace(off, labels=BAD))) == ["HRM010", OFF_NETWORK.code]
    assert codes(resolve(replace(off, labels={"other": "label"}))) == []
    moved = replace(off, labels={LABEL: "external_route=http://old,redirect=http://new"})
    assert codes(resolve(moved)) == []
    assert [route.redirect is not None for route in resolve(moved).routes] == [True]


def test_a_network_that_is_not_in_the_list_is_no_network() -> None:
    assert codes(
        resolve(replace(SHOP, attachments=(Attachment("gone"),), virtual_addresses=()))
    ) == [OFF_NETWORK.code]


def test_addresses_that_lead_to_the_gateway_itself_are_refused() -> None:
    evil = replace(task(2), addresses=(("n1", "169.254.169.254"),))
    snapshot = resolve(SHOP, task(1), evil)
    assert [e[0] for e in endpoints(snapshot)] == ["shop.1"]
    assert codes(snapshot) == [ADDRESS_REFUSED.code]


def test_labels_on_the_containers_route_nothing_and_are_reported() -> None:
    assert codes(resolve(replace(SHOP, labels={}, container_labels=GOOD))) == [
        LABELS_ON_CONTAINER.code
    ]
    assert codes(resolve(replace(SHOP, container_labels=GOOD))) == []
    assert resolve(replace(SHOP, labels={}, container_labels=GOOD)).routes == ()


def test_what_was_malformed_is_reported() -> None:
    snapshot = SwarmResolver("here").resolve(SwarmRecords(malformed=(Malformed("task ?", "why"),)))
    assert [c.key for c in snapshot.contributions] == ["here/"]
    assert codes(snapshot) == [MALFORMED.code]


def names(snapshot: Snapshot) -> dict[tuple[str, str, NameKind], tuple[str, ...]]:
    return {(r.network, r.name, r.kind): r.addresses for r in snapshot.names}


def test_names_as_the_embedded_dns_has_them() -> None:
    running = replace(task(1), container_id="0123456789abcdef")
    found = names(
        resolve(replace(SHOP, labels={}, hostname="Counter"), running, task(2, "starting"))
    )
    front = {
        (name, kind): addresses
        for (network, name, kind), addresses in found.items()
        if network == "ucp-hrm"
    }
    assert front == {
        ("shop", NameKind.SERVICE): ("10.0.1.2",),
        ("shop", NameKind.TASKS): ("10.0.1.11",),
        ("till", NameKind.SERVICE): ("10.0.1.2",),
        ("till", NameKind.TASKS): ("10.0.1.11",),
        ("shop.1.t1", NameKind.CONTAINER): ("10.0.1.11",),
        ("0123456789ab", NameKind.CONTAINER): ("10.0.1.11",),
        ("counter", NameKind.CONTAINER): ("10.0.1.11",),
    }
    assert ("back-end", "till", NameKind.SERVICE) not in found
    assert found["back-end", "shop", NameKind.SERVICE] == ("10.0.2.2",)
    assert not any(network == "ingress" for network, _, _ in found)
    dnsrr = names(resolve(replace(SHOP, dnsrr=True), running))
    assert dnsrr["ucp-hrm", "shop", NameKind.SERVICE] == ("10.0.1.11",)


# What is kept from look to look


def records(*services: ServiceRecord, tasks: tuple[TaskRecord, ...] = (task(1),)) -> SwarmRecords:
    return SwarmRecords(services, tasks, NETWORKS)


@pytest.mark.parametrize("remembered", [True, False])
def test_a_label_that_goes_wrong_keeps_its_last_good_route(remembered: bool) -> None:
    resolver = SwarmResolver()
    snapshot = resolver.resolve(records(SHOP))

    def look(service: ServiceRecord, number: int) -> Snapshot:
        # A resolver that was made anew (another process) has the last snapshot only.
        return (resolver if remembered else SwarmResolver()).resolve(
            records(service, tasks=(task(1, host=number),)), snapshot
        )

    snapshot = look(replace(SHOP, labels=BAD), 50)
    assert [route.degraded for route in snapshot.routes] == [True]
    assert endpoints(snapshot) == [("shop.1", "10.0.1.50:80", "ready")]
    assert codes(snapshot) == ["HRM010"]
    snapshot = look(replace(SHOP, labels=BAD), 51)
    assert endpoints(snapshot) == [("shop.1", "10.0.1.51:80", "ready")]
    mended = look(SHOP, 51)
    assert [route.degraded for route in mended.routes] == [False]
    snapshot = look(replace(SHOP, labels={}), 51)
    assert snapshot.routes == ()


def test_a_service_that_the_engine_describes_wrongly_is_what_it_was() -> None:
    resolver = SwarmResolver()
    resolver.resolve(records(SHOP))
    wrong = (Malformed("service s1", "why", "s1"), Malformed("network n1", "why", "n1"))
    for number in (50, 51):
        snapshot = resolver.resolve(
            SwarmRecords(tasks=(task(1, host=number),), networks=(BACK, INGRESS), malformed=wrong)
        )
        assert endpoints(snapshot) == [("shop.1", f"10.0.1.{number}:80", "ready")]
        assert codes(snapshot) == [MALFORMED.code, MALFORMED.code]
    assert resolver.resolve(SwarmRecords(tasks=(task(1),), networks=NETWORKS)).contributions == ()


def test_one_change_among_many_services_is_one_reading() -> None:
    services = [replace(SHOP, id=f"s{n}", name=f"shop{n}") for n in range(10_000)]
    tasks = [replace(task(1), id=f"t{n}", service_id=f"s{n}") for n in range(10_000)]
    resolver = SwarmResolver()
    first = resolver.resolve(SwarmRecords(tuple(services), tuple(tasks), NETWORKS))
    assert resolver.parsed == 10_000
    again = resolver.resolve(
        SwarmRecords(tuple(services[::-1]), tuple(tasks[::-1]), NETWORKS[::-1])
    )
    assert resolver.parsed == 10_000
    assert again == first
    tasks[7] = replace(tasks[7], state="failed")
    changed = resolver.resolve(SwarmRecords(tuple(services), tuple(tasks), NETWORKS))
    assert resolver.parsed == 10_001
    assert "shop7.1.t7" in {name.name for name in set(first.names) - set(changed.names)}
    same = [
        one is other for one, other in zip(first.contributions, changed.contributions, strict=True)
    ]
    assert same.count(False) == 1
    assert changed.contributions[same.index(False)].service == "shop7"


@pytest.mark.parametrize("size", [20, 200])
def test_a_changed_network_is_a_reading_of_its_services_only(size: int) -> None:
    off = [
        replace(
            SHOP, id=f"b{n}", name=f"b{n}", attachments=(Attachment("n2"),), virtual_addresses=()
        )
        for n in range(size)
    ]
    resolver = SwarmResolver()
    resolver.resolve(SwarmRecords((SHOP, *off), (), NETWORKS))
    parsed = resolver.parsed
    snapshot = resolver.resolve(
        SwarmRecords((SHOP, *off), (), (replace(HRM, labels={}), BACK, INGRESS))
    )
    assert resolver.parsed - parsed == 1
    assert OFF_NETWORK.code in codes(snapshot)


def test_an_equal_result_is_the_object_it_was() -> None:
    resolver = SwarmResolver()
    first = resolver.resolve(records(SHOP))
    again = resolver.resolve(records(replace(SHOP, updating=True)))
    assert resolver.parsed == 2
    assert again.contributions[0] is first.contributions[0]


def test_two_networks_of_one_name_are_told_apart_by_id() -> None:
    networks = (NetworkRecord("n5", "twin", {LABEL: ""}), NetworkRecord("n4", "twin", {LABEL: ""}))
    service = replace(SHOP, attachments=(Attachment("n5"),), virtual_addresses=())
    one = replace(task(1), addresses=(("n4", "10.0.4.1"), ("n5", "10.0.5.1")))
    for order in (networks, networks[::-1]):
        assert endpoints(SwarmResolver().resolve(SwarmRecords((service,), (one,), order))) == [
            ("shop.1", "10.0.5.1:80", "ready")
        ]


PARSED = [
    parse_swarm(*(scene.lists[name] for name in ("services", "tasks", "networks")))
    for scene in scenes("swarm")
]


@settings(max_examples=30)
@given(st.sampled_from(PARSED), st.randoms())
def test_the_order_of_records_does_not_matter(scene: SwarmRecords, random: Random) -> None:
    services, tasks, networks = list(scene.services), list(scene.tasks), list(scene.networks)
    for records_of_a_kind in (services, tasks, networks):
        random.shuffle(records_of_a_kind)
    mixed = SwarmRecords(tuple(services), tuple(tasks), tuple(networks), scene.malformed)
    assert SwarmResolver().resolve(mixed) == SwarmResolver().resolve(scene)


SERVICES = (
    SHOP,
    replace(SHOP, name="twin"),
    replace(SHOP, labels={}),
    replace(SHOP, id="s2", name="other"),
)
TASKS = (task(1), task(1, host=99), task(1, "starting"), replace(task(1), service_id="s2"), task(2))
TWIN_NETWORKS = (
    *NETWORKS,
    replace(HRM, labels={}),
    replace(HRM, name="ingress"),
    replace(BACK, id="n9"),
)


@given(st.permutations(SERVICES), st.permutations(TASKS), st.permutations(TWIN_NETWORKS))
def test_nor_does_it_where_two_have_one_id(
    services: list[ServiceRecord], tasks: list[TaskRecord], networks: list[NetworkRecord]
) -> None:
    mixed = SwarmResolver().resolve(SwarmRecords(tuple(services), tuple(tasks), tuple(networks)))
    assert mixed == SwarmResolver().resolve(SwarmRecords(SERVICES, TASKS, TWIN_NETWORKS))


def test_published_ports_are_carried_on_request() -> None:
    ports = (PublishedPort(53, 5300, "udp"), PublishedPort(80, 8080))
    service = replace(SHOP, labels={}, ports=ports)
    on = ResolveOptions(published_ports=True)
    assert resolve(service, task(1)).routes == ()
    snapshot = resolve(service, task(1), task(2, "starting"), options=on)
    assert [r.name for r in snapshot.routes] == ["tcp://:8080", "udp://:5300"]
    assert [e.address for r in snapshot.routes if r.upstream for e in r.upstream.ready] == [
        "10.0.1.11:80",
        "10.0.1.11:53",
    ]
    # Off our networks a port that is published is nobody's mistake; on them an address that is
    # refused is told.
    assert (
        resolve(
            replace(service, attachments=(), virtual_addresses=()), task(1), options=on
        ).diagnostics
        == ()
    )
    refused = replace(task(1), addresses=(("n1", "127.0.0.1"),))
    assert codes(resolve(service, refused, options=on)) == [ADDRESS_REFUSED.code]
    assert codes(resolve(service, refused)) == []


@pytest.mark.parametrize(
    ("name", "stack", "owner"),
    [
        ("shop_web", "shop", "stack shop"),
        ("shop_web", "", "service shop_web"),
        ("evil_web", "shop", "service evil_web"),
        ("shop", "shop", "service shop"),
        ("shopping_web", "shop", "service shopping_web"),
    ],
)
def test_a_service_is_of_the_stack_that_its_name_begins_with(
    name: str, stack: str, owner: str
) -> None:
    labels = {**GOOD, **({"com.docker.stack.namespace": stack} if stack else {})}
    (contribution,) = resolve(replace(SHOP, name=name, labels=labels), task(1)).contributions
    assert (contribution.owner, contribution.networks) == (owner, ("back-end", "ucp-hrm"))


FAT = {
    f"{LABEL}.{n:03}": f"external_route=http://fat{n:03}.example.com,internal_port=80"
    for n in range(50)
}


def test_a_service_over_its_limits_is_cut_down_alone_and_keeps_its_last_good_routes() -> None:
    fat = replace(SHOP, id="s2", name="fat", labels=dict(list(FAT.items())[:8]))
    resolver = SwarmResolver(
        options=ResolveOptions(limits=DiscoveryLimits(labels=LabelLimits(labels=10)))
    )
    before = resolver.resolve(records(SHOP, fat, tasks=(task(1),)))
    # It now has labels before the old ones, more than it may have.
    crowd = {
        f"{LABEL}.000-{n:03}": f"external_route=http://new{n:03},internal_port=80"
        for n in range(20)
    }
    for _ in range(2):
        after = resolver.resolve(
            records(SHOP, replace(fat, labels={**fat.labels, **crowd}), tasks=(task(1),))
        )
        mine, theirs = after.contributions
        assert mine is before.contributions[0]
        assert [d.code for d in theirs.diagnostics] == ["HRM022"]
        assert {route.host for route in theirs.routes if not route.degraded} == {
            "fat000.example.com",
            *(f"new{n:03}" for n in range(9)),
        }
        assert {route.host for route in theirs.routes if route.degraded} == {
            f"fat{n:03}.example.com" for n in range(1, 8)
        }
    settled = resolver.resolve(records(SHOP, fat, tasks=(task(1),)))
    assert settled == before


def test_too_much_text_of_all_costs_those_who_write_it() -> None:
    fat = [
        replace(SHOP, id=f"f{n}", name=f"fat{n}", created_at=1 + n, labels=FAT) for n in range(5)
    ]
    mine = replace(SHOP, created_at=99)
    snapshot = SwarmResolver(
        options=ResolveOptions(limits=DiscoveryLimits(label_text=6000))
    ).resolve(records(*fat, mine))
    assert [(c.service, bool(c.diagnostics)) for c in snapshot.contributions] == [
        *((f"fat{n}", True) for n in range(5)),
        ("shop", False),
    ]
    assert [route.name for route in snapshot.contributions[-1].routes] == [
        "http://shop.example.com"
    ]
    assert {d.code for d in snapshot.diagnostics} == {"LIM002", "HRM040"}


def test_labels_are_read_once_however_often_tasks_change() -> None:
    resolver = SwarmResolver()
    for number in range(20):
        snapshot = resolver.resolve(records(SHOP, tasks=(task(1, host=50 + number),)))
        assert endpoints(snapshot) == [("shop.1", f"10.0.1.{50 + number}:80", "ready")]
    assert (resolver.parsed, resolver.labels_read) == (20, 1)
    resolver.resolve(records(replace(SHOP, labels=BAD)))
    assert (resolver.parsed, resolver.labels_read) == (21, 2)


def test_endpoints_over_all_ports_of_a_service_are_bounded() -> None:
    labels = {
        f"{LABEL}.{n}": f"external_route=http://a{n},internal_port={80 + n}" for n in range(5)
    }
    tasks = [task(n) for n in range(1, 31)]
    snapshot = resolve(
        replace(SHOP, labels=labels),
        *tasks,
        options=ResolveOptions(limits=DiscoveryLimits(endpoints=40)),
    )
    assert [len(route.upstream.endpoints) for route in snapshot.routes if route.upstream] == [
        30,
        10,
        1,
        1,
        1,
    ]
    assert codes(snapshot) == ["LIM003"]


def test_aliases_are_bounded_and_leave_the_name_of_the_service() -> None:
    aliases = tuple(f"a{n:03}" for n in range(1000))
    service = replace(
        SHOP,
        attachments=(Attachment("n1", aliases), Attachment("ucp-hrm", ("z" * 300,))),
        virtual_addresses=(),
    )
    snapshot = resolve(service, task(1), options=ResolveOptions(limits=DiscoveryLimits(names=7)))
    assert [(record.name, str(record.kind)) for record in snapshot.names[:3]] == [
        ("shop", "service"),
        ("shop", "tasks"),
        ("a000", "service"),
    ]
    assert len(snapshot.names) == 7
    assert codes(snapshot) == ["LIM005"]


# Where the gateway is.

MESH = {LABEL: ""}
ONE = NetworkRecord(
    "n1", "one", MESH, subnets=(ip_network("10.0.1.0/24"),), gateways=frozenset({"10.0.1.1"})
)
TWO = NetworkRecord("n2", "two", MESH, subnets=(ip_network("10.0.2.0/24"),))
ME = "f" * 64


def both(*attachments: str) -> ServiceRecord:
    return replace(
        SHOP, attachments=tuple(Attachment(name) for name in attachments), virtual_addresses=()
    )


def look(
    service: ServiceRecord,
    *tasks: TaskRecord,
    surroundings: Surroundings | None,
    options: ResolveOptions | None = None,
) -> Snapshot:
    own = TaskRecord("mine", "gateway", 1, "", "running", "running", (("n2", "10.0.2.99"),), ME)
    return SwarmResolver(options=options).resolve(
        SwarmRecords((service,), (*tasks, own), (ONE, TWO)), surroundings=surroundings
    )


@pytest.mark.parametrize(
    "surroundings",
    [
        Surroundings(frozenset({ME})),
        Surroundings(frozenset({ME[:12]})),
        Surroundings(interfaces=frozenset({"10.0.2.99/24"}), local=True),
    ],
)
def test_of_two_labelled_networks_the_one_that_the_gateway_is_on(
    surroundings: Surroundings,
) -> None:
    assert endpoints(look(both("one", "two"), task(1), surroundings=None)) == [
        ("shop.1", "10.0.1.11:80", "ready")
    ]
    snapshot = look(both("one", "two"), task(1), surroundings=surroundings)
    assert endpoints(snapshot) == [("shop.1", "10.0.2.11:80", "ready")]
    assert {record.network for record in snapshot.names} == {"two"}
    assert snapshot.diagnostics == ()


def test_a_service_that_shares_no_network_with_the_gateway_is_not_routed() -> None:
    snapshot = look(both("one"), task(1), surroundings=Surroundings(frozenset({ME})))
    assert snapshot.routes == ()
    (said,) = snapshot.diagnostics
    assert (said.code, said.message) == (
        OFF_GATEWAY.code,
        "not routed: it is on one, and the gateway is on two",
    )
    assert snapshot.names == ()
    redirected = replace(
        both("one"), labels={LABEL: "external_route=http://a.example,redirect=http://b.example"}
    )
    assert [
        route.name for route in look(redirected, surroundings=Surroundings(frozenset({ME}))).routes
    ] == ["http://a.example"]


def test_published_ports_are_not_opened_for_it_either() -> None:
    service = replace(both("one"), labels={}, ports=(PublishedPort(80, 8080),))
    options = ResolveOptions(published_ports=True)
    assert len(look(service, task(1), surroundings=None, options=options).routes) == 1
    assert (
        look(service, task(1), surroundings=Surroundings(frozenset({ME})), options=options).routes
        == ()
    )


def test_what_the_operator_says_of_its_networks_counts() -> None:
    options = ResolveOptions(reachable=frozenset({"one"}))
    snapshot = look(
        both("one", "two"), task(1), surroundings=Surroundings(frozenset({ME})), options=options
    )
    assert endpoints(snapshot) == [("shop.1", "10.0.1.11:80", "ready")]
    anywhere = ResolveOptions(check_networks=False)
    snapshot = look(
        both("one", "two"), task(1), surroundings=Surroundings(frozenset({ME})), options=anywhere
    )
    assert endpoints(snapshot) == [("shop.1", "10.0.1.11:80", "ready")]


def test_a_gateway_that_is_attached_later_routes_then_and_says_where_it_is_not_known() -> None:
    resolver = SwarmResolver()
    records = SwarmRecords((both("one"),), (task(1),), (ONE, TWO))
    here = Surroundings(interfaces=frozenset({"10.0.2.99/24"}), local=True)
    assert resolver.resolve(records, surroundings=here).routes == ()
    there = Surroundings(interfaces=frozenset({"10.0.2.99/24", "10.0.1.99/24"}), local=True)
    snapshot = resolver.resolve(records, surroundings=there)
    assert endpoints(snapshot) == [("shop.1", "10.0.1.11:80", "ready")]
    again = resolver.resolve(records, surroundings=there)
    assert again.contributions[0] is snapshot.contributions[0]
    unknown = resolver.resolve(records, surroundings=Surroundings())
    assert [said.code for said in unknown.diagnostics] == [GATEWAY_UNKNOWN.code]
    assert len(unknown.routes) == 1


@pytest.mark.parametrize(
    "address",
    [
        "10.0.1.1",
        "10.0.1.0",
        "10.0.1.255",
        "10.0.3.5",
        "10.0.1.50",
        "100.100.100.200",
        "::ffff:10.0.1.5",
    ],
)
def test_addresses_that_no_task_can_have_are_refused(address: str) -> None:
    here = Surroundings(frozenset({ME}), frozenset({"10.0.1.50/24"}), local=True)
    bad = replace(task(1), addresses=(("n1", address),), container_id="b" * 64)
    virtual = replace(both("one"), virtual_addresses=(VirtualAddress("n1", address),))
    snapshot = look(virtual, bad, task(2), surroundings=here)
    assert endpoints(snapshot) == [("shop.2", "10.0.1.12:80", "ready")]
    (said,) = snapshot.diagnostics
    assert said.code == ADDRESS_REFUSED.code
    assert address in said.message
    assert address not in {found for record in snapshot.names for found in record.addresses}
    by_address = look(virtual, task(2), surroundings=here, options=ResolveOptions(use_vip=True))
    assert endpoints(by_address) == [("shop.2", "10.0.1.12:80", "ready")]


@pytest.mark.parametrize(
    "surroundings",
    [
        Surroundings(frozenset({ME})),
        # While its task starts, the Swarm does not know its container yet.
        Surroundings(interfaces=frozenset({"10.0.1.11/24"}), local=True),
    ],
)
@pytest.mark.parametrize("use_vip", [False, True])
def test_the_gateway_is_never_a_target_nor_are_its_other_replicas(
    surroundings: Surroundings, use_vip: bool
) -> None:
    """Of a service with two tasks that publishes a port, each would send the other what comes to
    it, and the port would be taken from the service whose label asks for it.
    """
    options = ResolveOptions(published_ports=True, use_vip=use_vip)
    port = PublishedPort(8443, 8443)
    service = replace(
        both("one", "two"), ports=(port,), virtual_addresses=(VirtualAddress("n1", "10.0.1.2"),)
    )
    shop = replace(
        both("one"),
        id="s2",
        name="db",
        created_at=9,
        labels={LABEL: "external_route=tcp://:8443,internal_port=5432"},
    )
    mine = replace(task(1), container_id=ME if surroundings.containers else "", state="starting")
    theirs = replace(task(3), service_id="s2")
    records = SwarmRecords((service, shop), (mine, task(2), theirs), (ONE, TWO))
    snapshot = SwarmResolver(options=options).resolve(records, surroundings=surroundings)
    assert [(r.name, r.service) for r in snapshot.routes] == [("tcp://:8443", "db")]
    assert [(said.code, said.service) for said in snapshot.diagnostics] == [
        (GATEWAY_ITSELF.code, "shop")
    ]
    unaware = SwarmResolver(options=options).resolve(records, surroundings=None)
    assert [r.service for r in unaware.routes] == ["shop", "shop", "db"]


def test_the_cure_for_another_network_names_the_gateways_service() -> None:
    services = (both("one"), replace(both("two"), id="gateway", name="gw_gateway", labels={}))
    own = TaskRecord("mine", "gateway", 1, "", "running", "running", (("n2", "10.0.2.99"),), ME)
    snapshot = SwarmResolver().resolve(
        SwarmRecords(services, (task(1), own), (ONE, TWO)),
        surroundings=Surroundings(frozenset({ME})),
    )
    (said,) = snapshot.diagnostics
    assert said.code == OFF_GATEWAY.code
    assert "docker service update --network-add one gw_gateway" in said.hint


def test_a_gateway_beside_the_swarm_is_attached_as_a_container() -> None:
    records = SwarmRecords((both("one"),), (task(1),), (ONE, TWO), attached=((ME, "n2"),))
    snapshot = SwarmResolver().resolve(records, surroundings=Surroundings(frozenset({ME})))
    (said,) = snapshot.diagnostics
    assert "docker network connect one ffffffffffff" in said.hint


def test_a_service_with_the_network_of_its_hosts_is_told_what_to_write() -> None:
    service = replace(SHOP, attachments=(Attachment("host"),), virtual_addresses=())
    on_host = replace(task(1), addresses=(), on_host=True)
    (said,) = resolve(service, on_host).diagnostics
    assert said.code == NO_ADDRESS.code
    assert 'endpoints: ["HOST:PORT"]' in said.hint
    assert codes(resolve(service, replace(on_host, on_host=False))) == [OFF_NETWORK.code]


def test_loopback_addresses_of_tasks_are_for_tests_alone() -> None:
    there = replace(task(1), addresses=(("n1", "127.0.0.9"),))
    refused = resolve(SHOP, there)
    assert (endpoints(refused), len(codes(refused))) == ([], 1)
    assert "127.0.0.9" not in [one for record in refused.names for one in record.addresses]
    permitted = resolve(SHOP, there, options=ResolveOptions(loopback_for_tests=True))
    assert endpoints(permitted) == [("shop.1", "127.0.0.9:80", "ready")]
    assert permitted.diagnostics == ()
    assert ("127.0.0.9",) in [record.addresses for record in permitted.names]
