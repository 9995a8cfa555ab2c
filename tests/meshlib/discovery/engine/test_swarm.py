"""A manager's JSON -> records: old and new forms of the API, and anything else without an
exception.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.engine.json_fields import Wrong
from meshlib.discovery.engine.records import (
    Attachment,
    Malformed,
    NetworkRecord,
    ServiceRecord,
    SwarmRecords,
    TaskRecord,
    VirtualAddress,
)
from meshlib.discovery.engine.swarm import is_settled, parse_network, parse_swarm
from meshlib.labels.result import PublishedPort
from tests.vectors.engine.scenes import scenes

SERVICE: dict[str, Any] = {
    "ID": "s1",
    "CreatedAt": "1970-01-01T00:00:01.5Z",
    "Spec": {
        "Name": "shop",
        "Labels": {"a": "b"},
        "TaskTemplate": {
            "ContainerSpec": {"Labels": {"c": "d"}, "Hostname": "till"},
            "Networks": [{"Target": "n1", "Aliases": ["x", "", "y"]}, {"Target": "n2"}],
        },
        "Mode": {"Replicated": {"Replicas": 3}},
    },
    "Endpoint": {
        "Spec": {"Mode": "vip"},
        "Ports": [
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8000, "PublishMode": "ingress"}
        ],
        "VirtualIPs": [{"NetworkID": "n1", "Addr": "10.0.0.3/24"}, {"NetworkID": "n2"}],
    },
    "UpdateStatus": {"State": "updating"},
}
TASK: dict[str, Any] = {
    "ID": "t1",
    "ServiceID": "s1",
    "Slot": 2,
    "NodeID": "node",
    "Status": {"State": "running", "ContainerStatus": {"ContainerID": "c0ffee"}},
    "DesiredState": "running",
    "NetworksAttachments": [
        {"Network": {"ID": "n1"}, "Addresses": ["10.0.0.4/24", "", "2001:db8::4/64"]}
    ],
}


def service(change: dict[str, Any]) -> ServiceRecord:
    """The record of `SERVICE` with a change, nested as it is."""
    (record,) = parse_swarm([_merged(SERVICE, change)], [], []).services
    return record


def _merged(value: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(value)
    for key, item in change.items():
        result[key] = (
            _merged(result[key], item)
            if isinstance(item, dict) and isinstance(result.get(key), dict)
            else item
        )
    return result


def test_a_service_is_read_into_a_record() -> None:
    assert service({}) == ServiceRecord(
        id="s1",
        name="shop",
        created_at=1_500_000_000,
        labels={"a": "b"},
        container_labels={"c": "d"},
        dnsrr=False,
        replicas=3,
        attachments=(Attachment("n1", ("x", "y")), Attachment("n2")),
        virtual_addresses=(VirtualAddress("n1", "10.0.0.3"),),
        ports=(PublishedPort(80, 8000),),
        updating=True,
        hostname="till",
    )


def test_networks_of_old_engines() -> None:
    old = service({"Spec": {"TaskTemplate": {"Networks": None}, "Networks": [{"Target": "n9"}]}})
    assert old.attachments == (Attachment("n9"),)


def test_ports_and_mode_as_asked_for_until_the_engine_has_assigned_them() -> None:
    asked = {"Mode": "dnsrr", "Ports": [{"TargetPort": 443, "PublishMode": "host"}]}
    record = service({"Spec": {"EndpointSpec": asked}, "Endpoint": None})
    assert record.dnsrr
    assert record.ports == (PublishedPort(443, None, "tcp", "host"),)
    assert record.virtual_addresses == ()


@pytest.mark.parametrize(
    ("mode", "dnsrr"), [("", False), (None, False), ("vip", False), ("dnsrr", True)]
)
def test_the_mode_of_a_service_is_vip_unless_said_otherwise(mode: str | None, dnsrr: bool) -> None:
    assert service({"Endpoint": {"Spec": {"Mode": mode}}}).dnsrr is dnsrr


@pytest.mark.parametrize(
    ("mode", "replicas"),
    [
        ({"Replicated": {"Replicas": 0}}, 0),
        ({"Replicated": {"Replicas": None}}, 0),
        ({"Replicated": None, "Global": {}}, None),
    ],
)
def test_replicas_are_read_by_the_mode_of_the_service(
    mode: dict[str, Any], replicas: int | None
) -> None:
    assert service({"Spec": {"Mode": mode}}).replicas == replicas


@pytest.mark.parametrize(
    "state", ["completed", "paused", "rollback_completed", "rollback_paused", ""]
)
def test_no_update_is_under_way(state: str) -> None:
    assert not service({"UpdateStatus": {"State": state}}).updating


def test_a_host_name_made_from_a_template_is_not_known() -> None:
    assert (
        service(
            {"Spec": {"TaskTemplate": {"ContainerSpec": {"Hostname": "{{.Node.Hostname}}"}}}}
        ).hostname
        == ""
    )


def test_a_task_is_read_into_a_record() -> None:
    (record,) = parse_swarm([], [TASK], []).tasks
    assert record == TaskRecord(
        "t1",
        "s1",
        2,
        "node",
        "running",
        "running",
        (("n1", "10.0.0.4"), ("n1", "2001:db8::4")),
        container_id="c0ffee",
    )


def test_a_task_that_has_nothing_yet_and_one_of_no_service() -> None:
    records = parse_swarm(
        [], [{"ID": "t", "ServiceID": "s", "Status": {"State": "new"}}, {"ID": "attachment"}], []
    )
    assert records.tasks == (TaskRecord("t", "s", state="new"),)
    assert records.malformed == ()


def test_a_task_with_the_network_of_its_host_is_known() -> None:
    def read(*drivers: object) -> bool:
        attachments = [{"Network": {"ID": "n", "DriverState": driver}} for driver in drivers]
        item = {"ID": "t", "ServiceID": "s", "NetworksAttachments": attachments}
        found = parse_swarm([], [item], [])
        assert found.malformed == ()
        return found.tasks[0].on_host

    assert read({"Name": "host"}, {"Name": "overlay"})
    assert not read({"Name": "overlay"}, None)
    assert not read()


def test_a_network_is_read_in_the_forms_of_both_lists() -> None:
    assert parse_network(
        {"Id": "n", "Name": "a", "Labels": None, "Ingress": True, "Driver": "overlay"}
    ) == NetworkRecord("n", "a", {}, ingress=True, driver="overlay")
    assert parse_network({"ID": "n", "Name": "a", "Labels": {"x": ""}}) == NetworkRecord(
        "n", "a", {"x": ""}
    )
    with pytest.raises(Wrong):
        parse_network({"Id": "n"})


def test_the_subnets_of_a_network() -> None:
    config = [
        {"Subnet": "2001:db8::/64", "Gateway": "2001:db8::1"},
        {
            "Subnet": "10.0.1.0/24",
            "Gateway": "10.0.1.1/24",
            "AuxiliaryAddresses": {"router": "10.0.1.9", "none": ""},
        },
        {"Subnet": "10.0.1.0/24"},
        {"Gateway": "10.9.9.9"},
    ]
    found = parse_network({"Id": "n", "Name": "a", "IPAM": {"Config": config}})
    assert [str(subnet) for subnet in found.subnets] == ["10.0.1.0/24", "2001:db8::/64"]
    assert found.gateways == {"2001:db8::1", "10.0.1.1", "10.0.1.9", "10.9.9.9"}
    nothing: list[object] = [None, {}, {"Config": None}, {"Config": []}, {"Config": [{}]}]
    for empty in nothing:
        assert parse_network({"Id": "n", "Name": "a", "IPAM": empty}) == NetworkRecord("n", "a")
    for wrong in ("10.0.1.0/33", "fe80::%1/64", 5, "shop"):
        with pytest.raises(Wrong):
            parse_network({"Id": "n", "Name": "a", "IPAM": {"Config": [{"Subnet": wrong}]}})


def test_plain_containers_on_a_swarms_networks() -> None:
    spec = {"NetworkAttachmentSpec": {"ContainerID": "c1"}}
    places = [{"Network": {"ID": "n2"}, "Addresses": ["10.0.2.2/24"]}, {"Network": {"ID": "n1"}}]
    tasks = [
        {"ID": "t1", "Spec": spec, "NetworksAttachments": places, "Status": {"State": "running"}},
        {"ID": "t2", "Spec": {"NetworkAttachmentSpec": None}, "NetworksAttachments": places},
        {
            "ID": "t3",
            "Spec": {"NetworkAttachmentSpec": {"ContainerID": 5}},
            "NetworksAttachments": places,
        },
        {"ID": "t4", "Spec": "x"},
        5,
    ]
    assert parse_swarm([], tasks, []).attached == (("c1", "n1"), ("c1", "n2"))
    assert parse_swarm([], None, []).attached == ()


def test_responses_that_are_no_lists() -> None:
    assert [m.what for m in parse_swarm({}, None, "x").malformed] == ["service", "task", "network"]


RUNNING = TaskRecord("t1", "s1", 1, state="running", desired_state="running")


def task(state: str, desired: str = "running", name: str = "t2") -> TaskRecord:
    return TaskRecord(name, "s1", 2, state=state, desired_state=desired)


@pytest.mark.parametrize(
    ("service_record", "tasks", "settled"),
    [
        (ServiceRecord("s1", "a", replicas=1), [RUNNING], True),
        (ServiceRecord("s1", "a", replicas=0), [], True),
        (ServiceRecord("s1", "a", replicas=2), [RUNNING], False),
        (ServiceRecord("s1", "a", replicas=1), [], False),
        (ServiceRecord("s1", "a", replicas=1, updating=True), [RUNNING], False),
        (ServiceRecord("s1", "a", replicas=1), [RUNNING, task("running")], False),
        (ServiceRecord("s1", "a", replicas=2), [RUNNING, task("starting")], False),
        (ServiceRecord("s1", "a", replicas=1), [RUNNING, task("ready", "ready")], False),
        (ServiceRecord("s1", "a", replicas=1), [RUNNING, task("running", "shutdown")], False),
        (ServiceRecord("s1", "a", replicas=1), [RUNNING, task("shutdown", "shutdown")], True),
        (ServiceRecord("s1", "a", replicas=1), [RUNNING, task("failed")], True),
        (ServiceRecord("s1", "a"), [RUNNING], True),
        (ServiceRecord("s1", "a"), [RUNNING, task("preparing")], False),
        (ServiceRecord("s1", "a"), [], True),
        (ServiceRecord("s1", "a"), [task("running", "complete")], True),
        (ServiceRecord("s1", "a"), [RUNNING, task("pending", "ready")], False),
    ],
)
def test_a_swarm_is_settled_when_its_tasks_are(
    service_record: ServiceRecord, tasks: list[TaskRecord], settled: bool
) -> None:
    assert is_settled(SwarmRecords((service_record,), tuple(tasks))) is settled


def test_one_service_on_its_way_is_enough() -> None:
    services = (ServiceRecord("s1", "a", replicas=1), ServiceRecord("s2", "b", replicas=1))
    assert not is_settled(SwarmRecords(services, (RUNNING,)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(JSON, JSON, JSON)
def test_any_json_can_be_read(services: object, tasks: object, networks: object) -> None:
    is_settled(parse_swarm(services, tasks, networks))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, item in below for place in _places(item, (*path, key)))]


@given(st.data())
def test_a_wrong_value_anywhere_spoils_at_most_its_own_object(data: st.DataObject) -> None:
    other = {**copy.deepcopy(SERVICE), "ID": "s2"}
    broken = copy.deepcopy(SERVICE)
    place = data.draw(st.sampled_from([place for place in _places(SERVICE) if place]))
    inner = broken
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(JSON)
    records = parse_swarm([broken, other], [], [])
    assert len(records.services) + len(records.malformed) == 2
    assert any(record.name == "shop" and record.id == "s2" for record in records.services)
    assert all(isinstance(wrong, Malformed) for wrong in records.malformed)


@pytest.mark.parametrize("scene", scenes("swarm"), ids=lambda scene: scene.name)
def test_the_order_of_the_lists_does_not_matter(scene: Any) -> None:
    lists = [scene.lists[name] for name in ("services", "tasks", "networks")]
    one, other = parse_swarm(*lists), parse_swarm(*(list(reversed(items)) for items in lists))
    assert one == other
