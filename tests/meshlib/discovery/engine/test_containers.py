"""One engine's JSON -> records of containers: health in all its forms, names, ports, and anything
else without an exception.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.engine.containers import parse_containers
from meshlib.discovery.engine.records import ContainerAddress, ContainerRecord
from meshlib.labels.result import PublishedPort

ID = "0123456789abcdef" * 4
CONTAINER: dict[str, Any] = {
    "Id": ID,
    "Names": ["/shop"],
    "Created": 1_700_000_000,
    "Labels": {"a": "b"},
    "State": "running",
    "Status": "Up 2 minutes (healthy)",
    "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8000, "Type": "tcp"}],
    "NetworkSettings": {
        "Networks": {
            "front": {
                "NetworkID": "n1",
                "IPAddress": "172.18.0.2",
                "Aliases": ["Till"],
                "DNSNames": ["shop", "Till", ID[:12]],
            },
        }
    },
}


def container(**changes: Any) -> ContainerRecord:
    records = parse_containers([{**CONTAINER, **changes}], [])
    assert records.malformed == ()
    (record,) = records.containers
    return record


def test_a_container_is_read_into_a_record() -> None:
    assert container() == ContainerRecord(
        id=ID,
        name="shop",
        created_at=1_700_000_000 * 10**9,
        labels={"a": "b"},
        state="running",
        health="healthy",
        addresses=(ContainerAddress("n1", "front", "172.18.0.2", (ID[:12], "shop", "till")),),
        ports=(PublishedPort(80, 8000, "tcp", "host"),),
    )


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["/shop"], "shop"),
        (["/other/db", "/shop"], "shop"),
        (["/other/db"], ID[:12]),
        ([], ID[:12]),
        (None, ID[:12]),
        (["/"], ID[:12]),
    ],
)
def test_the_name_of_a_container_is_not_that_of_a_link_to_it(
    names: list[str] | None, name: str
) -> None:
    assert container(Names=names).name == name


@pytest.mark.parametrize(
    ("status", "field", "health"),
    [
        ("Up 2 minutes", None, ""),
        ("Up 2 minutes (healthy)", None, "healthy"),
        ("Up 2 minutes (unhealthy)", None, "unhealthy"),
        ("Up 2 seconds (health: starting)", None, "starting"),
        ("Up 2 minutes (Paused)", None, ""),
        ("", None, ""),
        ("Up 2 minutes", {"Status": "none"}, ""),
        ("Up 2 minutes (healthy)", {"Status": "none"}, "healthy"),
        ("Up 2 minutes (healthy)", {"Status": "unhealthy"}, "unhealthy"),
        ("Up 2 minutes", {"Status": "starting"}, "starting"),
    ],
)
def test_health_is_read_in_every_form(status: str, field: object, health: str) -> None:
    assert container(Status=status, Health=field).health == health


def test_an_address_of_a_container_is_ipv4_before_ipv6() -> None:
    networks = {
        "six": {"IPAddress": "", "GlobalIPv6Address": "2001:db8::2"},
        "both": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": "2001:db8::2"},
        "none": {},
    }
    found = container(NetworkSettings={"Networks": networks}).addresses
    assert [(place.network, place.address) for place in found] == [
        ("both", "172.18.0.2"),
        ("none", ""),
        ("six", "2001:db8::2"),
    ]
    assert all(place.names == (ID[:12], "shop") for place in found)


@pytest.mark.parametrize(
    ("mode", "read"),
    [
        ("host", "host"),
        ("none", "none"),
        (f"container:{ID}", f"container:{ID}"),
        ("bridge", ""),
        ("default", ""),
        ("front", ""),
    ],
)
def test_only_a_network_mode_without_an_address_matters(mode: str, read: str) -> None:
    assert container(HostConfig={"NetworkMode": mode}).network_mode == read
    assert container(HostConfig=None).network_mode == ""


def test_tasks_of_a_swarm_are_left_out() -> None:
    assert (
        parse_containers(
            [{**CONTAINER, "Labels": {"com.docker.swarm.task.id": "t"}}], []
        ).containers
        == ()
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"Id": None}, "Id is not a string"),
        ({"Created": "2017"}, "Created is not a whole number"),
        ({"Labels": {"a": 1}}, "Labels['a'] is not a string"),
        (
            {"NetworkSettings": {"Networks": {"front": {"IPAddress": "x"}}}},
            "IPAddress is not an IP address",
        ),
        ({"NetworkSettings": {"Networks": {"front": 5}}}, "Networks.front is not an object"),
    ],
)
def test_one_wrong_container_spoils_only_itself(changes: dict[str, Any], why: str) -> None:
    records = parse_containers(
        [{**CONTAINER, **changes}, CONTAINER], [{"Id": "n1", "Name": "front"}, {}]
    )
    assert [record.name for record in records.containers] == ["shop"]
    assert [network.name for network in records.networks] == ["front"]
    assert [wrong.why for wrong in records.malformed] == [why, "Id is not a string"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*CONTAINER, "Networks", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_any_json_can_be_read(containers: object, networks: object) -> None:
    parse_containers(containers, networks)


@given(
    st.fixed_dictionaries(
        {"Id": st.just(ID)}, optional={key: JSON for key in CONTAINER if key != "Id"}
    )
)
def test_any_values_of_the_known_fields_can_be_read(item: dict[str, Any]) -> None:
    records = parse_containers([item, CONTAINER], [])
    assert len(records.malformed) + len(records.containers) == 2
