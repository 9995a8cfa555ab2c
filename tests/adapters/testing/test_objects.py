"""Objects as the engine's API writes them, read back by the parsers that a provider uses."""

from __future__ import annotations

import pytest

from meshlib.discovery.engine.containers import parse_containers
from meshlib.discovery.engine.swarm import parse_swarm
from meshlib_adapters.testing.objects import (
    check_ports,
    container_json,
    host_of,
    network_json,
    service_json,
    task_json,
)

LABELS = {"com.docker.ucp.mesh.http.80": "external_route=http://a.example.com,internal_port=8080"}


class At:
    def __init__(self, address: str) -> None:
        self.address = address


@pytest.mark.parametrize(
    ("place", "host"),
    [
        ("127.0.0.2:80", "127.0.0.2"),
        ("127.0.0.2", "127.0.0.2"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        (At("127.0.0.3:1"), "127.0.0.3"),
    ],
)
def test_hosts_of_places(place: str | At, host: str) -> None:
    assert host_of(place) == host


def test_a_place_at_another_port_than_the_labels_is_a_mistake() -> None:
    check_ports("shop", LABELS, ["127.0.0.2:8080", "127.0.0.3", At("[::1]:8080")])
    check_ports("shop", {}, ["127.0.0.2:1"])
    check_ports("shop", {"com.docker.lb.port": "9", "com.docker.lb.hosts": "a"}, ["127.0.0.2:9"])
    with pytest.raises(ValueError, match=r"port 8080 of its tasks, .* FakeUpstream\(port=8080\)"):
        check_ports("shop", LABELS, [At("127.0.0.2:81")])


def test_objects_of_a_swarm_are_read_as_they_are_meant() -> None:
    network = network_json("n1", "front", mesh=True, driver="overlay", subnet="10.0.1.0/24")
    service = service_json(
        "s1", "shop", LABELS, version=3, replicas=2, virtual={"n1": "10.0.1.9/24"}
    )
    task = task_json(5, "s1", 1, {"n1": "front"}, "127.0.0.2")
    records = parse_swarm([service], [task], [network])
    assert records.malformed == ()
    (found,) = records.services
    assert (found.name, found.replicas, found.labels) == ("shop", 2, LABELS)
    assert [one.address for one in found.virtual_addresses] == ["10.0.1.9"]
    assert records.tasks[0].addresses == (("n1", "127.0.0.2"),)
    assert (records.tasks[0].state, records.tasks[0].desired_state) == ("preparing", "running")
    assert [str(one) for one in records.networks[0].subnets] == ["10.0.1.0/24"]
    assert "com.docker.ucp.mesh.http" in records.networks[0].labels
    assert network_json("n", "b", mesh=False, driver="bridge", subnet="")["Scope"] == "local"


def test_a_container_is_read_as_it_is_meant() -> None:
    container = container_json(7, "web", LABELS, {"front": ("n1", "127.0.0.2")}, [80])
    records = parse_containers([container], [])
    assert records.malformed == ()
    (found,) = records.containers
    assert (found.name, found.state, found.addresses[0].address) == ("web", "running", "127.0.0.2")
