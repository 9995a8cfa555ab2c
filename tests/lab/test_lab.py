"""The lab itself: what other tests rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.fixtures import lab_engine
from tests.lab.lab import Inside, Lab
from tests.lab.node import Node, wait_until

_ROUTED = "com.docker.ucp.mesh.http.8080"


def _response(inside: Inside, address: str, port: int) -> str:
    return wait_until(
        lambda: inside.fetch(f"http://{address}:{port}/"), timeout=10, what=f"{address} responds"
    )


def test_every_replica_of_a_stack_responds_with_its_name(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    lab.stack_deploy("http.yml", "hrm-http-example", {"DOMAIN": "shop.example.com"})
    inside = lab.inside(["ucp-hrm"])
    addresses = lab.task_addresses("hrm-http-example_session-example", "ucp-hrm")
    assert len({_response(inside, address, 8080) for address in addresses}) == 5
    labels = lab.api.inspect_service("hrm-http-example_session-example")["Spec"]["Labels"]
    assert labels[_ROUTED] == "external_route=http://shop.example.com,internal_port=8080"


def test_a_service_with_two_ports_responds_on_both(lab: Lab) -> None:
    lab.network_create("front")
    lab.service_create("twosite", networks=["front"], ports="8000 8001")
    inside = lab.inside(["front"])
    (address,) = lab.task_addresses("twosite", "front")
    for port in (8000, 8001):
        assert _response(inside, address, port).split()[1] == str(port)


def test_networks_are_isolated_and_a_namespace_may_be_on_several(lab: Lab) -> None:
    for network in ("one", "two"):
        lab.network_create(network)
        lab.service_create(f"on-{network}", networks=[network])
    both, one = lab.inside(["one", "two"]), lab.inside(["one"])
    (address,) = lab.task_addresses("on-two", "two")
    assert _response(both, address, 8080)
    assert one.fetch(f"http://{address}:8080/", "-m", "1") == ""


def test_the_python_image_runs_python(lab: Lab) -> None:
    lab.python_image("python:3.11-slim")
    assert (
        lab.docker(
            "run",
            "--rm",
            "python:3.11-slim",
            "python3",
            "-c",
            "import ssl, json, asyncio; print(6 * 7)",
        )
        == "42"
    )


def test_nothing_is_left_of_an_engine() -> None:
    before = _traces()
    node = Node("other")
    try:
        node.start()
        first = node.first_pid
    finally:
        node.close()
    assert not Path(f"/proc/{first}").exists()
    assert not node.directory.exists()
    assert _traces() == before


def _traces() -> tuple[list[str], list[str], str]:
    links = sorted(path.name for path in Path("/sys/class/net").iterdir())
    groups = sorted(
        str(path) for path in Path("/sys/fs/cgroup").rglob("meshlib-lab-*") if path.is_dir()
    )
    return links, groups, Path("/proc/mounts").read_text()


def test_without_its_parts_the_lab_is_skipped_and_in_ci_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "tests.lab.fixtures.missing_parts", lambda: "not installed: dockerd (package docker.io)"
    )
    bring_up = lab_engine.__wrapped__  # type: ignore[attr-defined]
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"dockerd \(package docker.io\)"):
        next(bring_up())
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="dockerd"):
        next(bring_up())
