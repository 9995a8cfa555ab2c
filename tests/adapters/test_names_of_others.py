"""What another stack or container gets of a host by its labels: nothing, from the engine's records
to the table.
"""

from __future__ import annotations

import pytest

from meshlib.discovery.engine.container_resolver import ContainerResolver
from meshlib.discovery.engine.records import (
    Attachment,
    ContainerAddress,
    ContainerRecord,
    ContainerRecords,
    NetworkRecord,
    ServiceRecord,
    SwarmRecords,
    TaskRecord,
)
from meshlib.discovery.engine.swarm_resolver import SwarmResolver
from meshlib.labels.hrm import LABEL
from meshlib.mesh import Mesh
from meshlib.messages import ClientHello, FieldSection, RequestHead
from meshlib.table import RoutingTable

NETWORKS = (NetworkRecord("n1", "hrm", {LABEL: ""}),)
SHOP = "http://shop.example.com"


def served_by(table: RoutingTable, path: str) -> list[str]:
    fields = FieldSection(b"", (), None, None, False, frozenset(), None, False)
    decision = table.route(RequestHead(b"GET", path.encode(), b"shop.example.com", 1, fields))
    upstream = decision.route.upstream if decision.route is not None else None
    return sorted({endpoint.id for endpoint in upstream.endpoints}) if upstream is not None else []


def beside_shop(route: str) -> RoutingTable:
    """The stack `shop` has a host, and the stack `evil` asks for `route`."""
    services = [
        ServiceRecord(
            f"s{number}",
            f"{stack}_web",
            number,
            {
                LABEL: f"external_route={asked},internal_port=80",
                "com.docker.stack.namespace": stack,
            },
            replicas=1,
            attachments=(Attachment("n1"),),
        )
        for number, stack, asked in ((1, "shop", SHOP), (2, "evil", route))
    ]
    tasks = [
        TaskRecord(f"t{n}", f"s{n}", 1, "", "running", "running", (("n1", f"10.0.1.{n}"),))
        for n in (1, 2)
    ]
    return RoutingTable.build(
        SwarmResolver().resolve(SwarmRecords(tuple(services), tuple(tasks), NETWORKS))
    )


@pytest.mark.parametrize("path", ["", "/login", "/.well-known/acme-challenge"])
def test_the_same_route_and_paths_below(path: str) -> None:
    table = beside_shop(SHOP + path)
    assert served_by(table, f"{path}/token") == ["shop_web.1"]
    assert [(item.code, item.service) for item in table.diagnostics] == [("TBL004", "evil_web")]


def test_tls_of_the_host() -> None:
    table = beside_shop("sni://shop.example.com")
    assert table.route_tls(ClientHello(server_name="shop.example.com")).route is None
    assert [(item.code, item.service) for item in table.diagnostics] == [("TBL004", "evil_web")]


@pytest.mark.parametrize("options", ["", ",sticky_sessions=S"])
def test_a_container_that_is_redeployed(options: str) -> None:
    def container(name: str, age: int, options: str = "") -> ContainerRecord:
        labels = {LABEL: f"external_route={SHOP},internal_port=80{options}"}
        addresses = (ContainerAddress("", "hrm", f"172.18.0.{age}", (name,)),)
        return ContainerRecord(f"{age:064}", name, age, labels, "running", addresses=addresses)

    resolver, mesh = ContainerResolver(), Mesh()
    evil = container("evil", 2, options)
    for look in ([container("shop", 1), evil], [evil], [container("shop", 3), evil]):
        mesh.publish("docker", resolver.resolve(ContainerRecords(tuple(look), NETWORKS)))
        assert "evil" not in served_by(mesh.table, "/")
    assert served_by(mesh.table, "/") == ["shop"]
