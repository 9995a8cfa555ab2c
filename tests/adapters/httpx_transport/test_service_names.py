from __future__ import annotations

import pytest

import meshlib
from meshlib.decision import Forward, Respond
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    EndpointState,
    ForwardTo,
    HostPath,
    ListeningPort,
    Route,
    Scheme,
    Snapshot,
    Upstream,
)
from meshlib.name_records import NameKind, NameRecord
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import Transport, UpstreamKey
from meshlib_adapters.httpx_transport.service_names import ServiceNames, URLHost

ORDERS = URLHost("orders", None, False)


def forgotten(key: UpstreamKey) -> None:
    raise AssertionError(f"{key} was forgotten")


def names(mesh: Mesh, *, network: str | None = None, vip: bool = False) -> ServiceNames:
    return ServiceNames(mesh, forgotten, network=network, vip=vip)


def contribution(
    service: str,
    *ports: int,
    addresses: tuple[str, ...] = ("10.0.0.2", "10.0.0.3"),
    networks: tuple[str, ...] = (),
    options: RouteOptions | None = None,
    transport: Transport | None = None,
    state: EndpointState = EndpointState.READY,
    key: str = "",
) -> Contribution:
    routes = []
    for port in ports:
        endpoints = tuple(
            Endpoint(f"{service}.{number}", address, port, state=state)
            for number, address in enumerate(addresses, 1)
        )
        upstream = Upstream(UpstreamKey(service, port, "", transport or Transport()), endpoints)
        host = HostPath(f"{service.lower()}-{port}.example.com")
        action = ForwardTo(upstream)
        routes.append(Route(host, action, options or RouteOptions(), service=service, label="l"))
    return Contribution(key or f"swarm/{service}", service, 1, tuple(routes), networks=networks)


def record(name: str, kind: NameKind, *addresses: str, network: str = "shop_default") -> NameRecord:
    return NameRecord(network, name, kind, addresses)


def addresses(decision: object) -> list[str]:
    assert isinstance(decision, Forward)
    return [endpoint.address for endpoint in decision.upstream.endpoints]


VIP = [
    record("orders", NameKind.SERVICE, "10.0.0.9"),
    record("orders", NameKind.TASKS, "10.0.0.2", "10.0.0.3"),
]


# Services with routes.


def test_a_service_is_asked_at_the_port_of_its_route_with_its_options() -> None:
    options = RouteOptions(sticky_cookie="SID", https_only=True, hsts="max-age=60", response_head=7)
    mesh = Mesh(Snapshot.of([contribution("orders", 8080, options=options)]))
    decision = names(mesh).find(ORDERS)
    assert isinstance(decision, Forward)
    assert addresses(decision) == ["10.0.0.2:8080", "10.0.0.3:8080"]
    assert decision.upstream is mesh.table.upstreams[UpstreamKey("orders", 8080)]
    assert decision.route.name == "http://orders"
    assert decision.route.service == "orders"
    assert decision.route.options == RouteOptions(sticky_cookie="SID", response_head=7)


def test_names_are_compared_without_case() -> None:
    mesh = Mesh(Snapshot.of([contribution("Orders", 8080)]))
    assert addresses(names(mesh).find(ORDERS))


def test_the_port_of_the_url_chooses_among_several() -> None:
    mesh = Mesh(Snapshot.of([contribution("orders", 8080, 9090)]))
    found = names(mesh)
    assert addresses(found.find(URLHost("orders", 9090, False)))[0] == "10.0.0.2:9090"
    with pytest.raises(ConfigurationError, match="several ports: 8080, 9090"):
        found.find(ORDERS)


def test_the_port_of_the_scheme_is_the_usual_one_of_several() -> None:
    mesh = Mesh(Snapshot.of([contribution("orders", 8080, 80)]))
    assert addresses(names(mesh).find(ORDERS))[0] == "10.0.0.2:80"


def test_a_port_that_no_route_has_is_that_of_the_addresses() -> None:
    mesh = Mesh(Snapshot.of([contribution("orders", 8080)], VIP))
    found = names(mesh).find(URLHost("orders", 7000, False))
    assert addresses(found) == ["10.0.0.2:7000", "10.0.0.3:7000"]
    routes_alone = Mesh(Snapshot.of([contribution("orders", 8080)]))
    assert names(routes_alone).find(URLHost("orders", 7000, False)) is None


def test_a_service_without_a_ready_endpoint_is_known() -> None:
    mesh = Mesh(Snapshot.of([contribution("orders", 8080, state=EndpointState.STARTING)]))
    decision = names(mesh).find(ORDERS)
    assert isinstance(decision, Respond)
    assert (decision.status, decision.reason, decision.retry_after) == (503, "no_endpoint", 1)


def test_a_service_named_in_code_is_found_and_an_entry_without_a_name_is_a_host() -> None:
    service = meshlib.Service(["10.0.0.2:8080"], name="orders")
    mesh = Mesh({"shop.example.com": service, "pages": ["10.0.0.3:80"]})
    found = names(mesh)
    assert addresses(found.find(ORDERS)) == ["10.0.0.2:8080"]
    assert addresses(found.find(URLHost("orders", 8080, False))) == ["10.0.0.2:8080"]
    assert found.find(URLHost("orders", 81, False)) is None
    assert found.find(URLHost("pages", None, False)) is None


def test_routes_of_ports_are_no_http_services() -> None:
    upstream = Upstream(UpstreamKey("db", 5432), (Endpoint("db.1", "10.0.0.2", 5432),))
    port = ListeningPort(Scheme.TCP, 5432)
    route = Route(port, ForwardTo(upstream), service="db", label="l")
    mesh = Mesh(Snapshot.of([Contribution("swarm/db", "db", 1, (route,))]))
    assert names(mesh).find(URLHost("db", None, False)) is None


def test_a_service_asked_over_https_is_one_that_speaks_tls() -> None:
    secure = contribution("orders", 8443, transport=Transport(tls_name="orders.internal"))
    mesh = Mesh(Snapshot.of([secure, contribution("plain", 8080)], VIP))
    found = names(mesh).find(URLHost("orders", None, True))
    assert isinstance(found, Forward)
    assert found.upstream.transport.tls_name == "orders.internal"
    assert names(mesh).find(URLHost("plain", None, True)) is None


def test_a_service_with_plain_routes_alone_is_asked_over_https_at_its_addresses() -> None:
    mesh = Mesh(Snapshot.of([contribution("orders", 8080)], VIP))
    found = names(mesh).find(URLHost("orders", None, True))
    assert isinstance(found, Forward)
    assert addresses(found) == ["10.0.0.2:443", "10.0.0.3:443"]
    assert found.upstream.transport == Transport(tls_name="orders")


# Names without routes.


def test_a_service_without_routes_is_its_tasks_at_the_port_of_the_url() -> None:
    found = names(Mesh(Snapshot.of([], VIP)))
    assert addresses(found.find(ORDERS)) == ["10.0.0.2:80", "10.0.0.3:80"]
    assert addresses(found.find(URLHost("orders", 8080, False)))[0] == "10.0.0.2:8080"
    assert addresses(found.find(URLHost("tasks.orders", None, False)))[1] == "10.0.0.3:80"


def test_the_virtual_address_on_request() -> None:
    found = names(Mesh(Snapshot.of([contribution("orders", 8080)], VIP)), vip=True)
    assert addresses(found.find(ORDERS)) == ["10.0.0.9:8080"]
    assert addresses(found.find(URLHost("orders", 90, False))) == ["10.0.0.9:90"]
    tasks = ["10.0.0.2:8080", "10.0.0.3:8080"]
    assert addresses(found.find(URLHost("tasks.orders", None, False))) == tasks


def test_the_name_of_a_container() -> None:
    mesh = Mesh(Snapshot.of([], [record("shop-db-1", NameKind.CONTAINER, "10.0.0.5")]))
    assert addresses(names(mesh).find(URLHost("shop-db-1", 5000, False))) == ["10.0.0.5:5000"]


def test_tls_to_a_name_without_routes_is_verified_by_the_name() -> None:
    found = names(Mesh(Snapshot.of([], VIP))).find(URLHost("orders", None, True))
    assert isinstance(found, Forward)
    assert addresses(found) == ["10.0.0.2:443", "10.0.0.3:443"]
    assert found.upstream.transport == Transport(tls_name="orders")


def test_names_of_nobody() -> None:
    found = names(Mesh(Snapshot.of([contribution("orders", 8080)], VIP)))
    assert found.find(URLHost("www.example.org", None, False)) is None
    assert found.find(URLHost("10.0.0.2", None, False)) is None


# Networks.


def test_a_name_of_several_networks_needs_one() -> None:
    two = [
        record("orders", NameKind.TASKS, "10.0.0.2", network="blue"),
        record("orders", NameKind.TASKS, "10.1.0.2", network="green"),
    ]
    mesh = Mesh(Snapshot.of([], two))
    with pytest.raises(ConfigurationError, match="several networks: blue, green"):
        names(mesh).find(ORDERS)
    assert addresses(names(mesh, network="green").find(ORDERS)) == ["10.1.0.2:80"]
    assert names(mesh, network="red").find(ORDERS) is None


def test_a_network_has_its_own_services_of_a_name() -> None:
    blue = contribution("orders", 8080, addresses=("10.0.0.2",), networks=("blue",), key="a/1")
    green = contribution("orders", 9090, addresses=("10.1.0.2",), networks=("green",), key="b/1")
    records = [
        record("orders", NameKind.TASKS, "10.0.0.2", network="blue"),
        record("orders", NameKind.TASKS, "10.1.0.2", network="green"),
    ]
    mesh = Mesh(Snapshot.of([blue, green], records))
    assert addresses(names(mesh, network="blue").find(ORDERS)) == ["10.0.0.2:8080"]
    assert addresses(names(mesh, network="green").find(ORDERS)) == ["10.1.0.2:9090"]


def test_the_addresses_of_the_network_take_the_place_of_those_of_the_route() -> None:
    both = contribution("orders", 8080, addresses=("10.0.0.2",), networks=("blue", "green"))
    records = [
        record("orders", NameKind.TASKS, "10.0.0.2", network="blue"),
        record("orders", NameKind.TASKS, "10.1.0.2", network="green"),
    ]
    mesh = Mesh(Snapshot.of([both], records))
    assert addresses(names(mesh, network="blue").find(ORDERS)) == ["10.0.0.2:8080"]
    assert addresses(names(mesh, network="green").find(ORDERS)) == ["10.1.0.2:8080"]


# Changes.


def test_what_did_not_change_is_the_very_same_decision() -> None:
    mesh = Mesh(Snapshot.of([contribution("orders", 8080)], VIP))
    found = names(mesh, vip=True)
    first = found.find(ORDERS)
    mesh.publish("other", Snapshot.of([contribution("pages", 80)]))
    assert found.find(ORDERS) is first


def test_the_next_look_up_sees_what_is_published() -> None:
    mesh = Mesh()
    found = names(mesh)
    assert found.find(ORDERS) is None
    mesh.publish("swarm", Snapshot.of([], VIP))
    decision = found.find(ORDERS)
    assert isinstance(decision, Forward)
    key = decision.upstream.key
    mesh.publish("swarm", Snapshot.of([], [record("orders", NameKind.TASKS, "10.0.0.7")]))
    following = found.upstream(key)
    assert following is not None
    assert [endpoint.host for endpoint in following.endpoints] == ["10.0.0.7"]
    assert addresses(found.find(ORDERS)) == ["10.0.0.7:80"]
    mesh.withdraw("swarm")
    assert found.upstream(key) is None
    assert found.find(ORDERS) is None


def test_an_upstream_whose_name_has_become_ambiguous_is_gone() -> None:
    mesh = Mesh()
    mesh.publish("a", Snapshot.of([], [record("orders", NameKind.TASKS, "10.0.0.7")]))
    found = names(mesh)
    decision = found.find(ORDERS)
    assert isinstance(decision, Forward)
    other = record("orders", NameKind.TASKS, "10.1.0.7", network="green")
    mesh.publish("b", Snapshot.of([], [other]))
    assert found.upstream(decision.upstream.key) is None


def test_an_upstream_of_a_route_that_lost_its_host_is_kept_as_well() -> None:
    mesh = Mesh(Snapshot.of([contribution("orders", 8080)]))
    found = names(mesh)
    decision = found.find(ORDERS)
    assert isinstance(decision, Forward)
    assert found.upstream(decision.upstream.key) is decision.upstream
    assert found.upstream(UpstreamKey("nobody", 1)) is None


def test_names_that_nobody_asks_for_are_forgotten() -> None:
    gone: list[UpstreamKey] = []
    mesh = Mesh(Snapshot.of([contribution("orders", 8080)], VIP))
    found = ServiceNames(mesh, gone.append, network="shop_default")
    for port in range(8080, 8080 + 300):
        assert isinstance(found.find(URLHost("orders", port, False)), Forward)
    assert len(gone) == 300 - 256 - 1
    assert UpstreamKey("orders", 8080) not in gone  # a route has it
    assert gone[0].port == 8081
