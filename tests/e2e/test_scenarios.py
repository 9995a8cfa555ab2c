"""The scenarios that gateways of this kind were documented with, on a real Swarm, with nothing but
the services' own labels.
"""

from __future__ import annotations

import json

from tests.e2e.running import Gateway
from tests.lab.lab import Lab
from tests.lab.node import wait_until

_LABEL = "com.docker.ucp.mesh.http"


def test_http_stack_every_replica_is_seen(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    gateway = Gateway(lab, ["ucp-hrm"])
    lab.stack_deploy("http.yml", "hrm-http-example", {"DOMAIN": "demo.example.com"})
    gateway.wait_for("demo.example.com", endpoints=5)
    seen = gateway.replicas("demo.example.com", 20)
    assert len(seen) == 5
    assert all(body.endswith(" 8080\n") for body in seen)
    assert gateway.status("other.example.com") == "404"
    (route,) = gateway.routes()["routes"]
    assert (route["scheme"], route["host"], route["path"], route["internal_port"]) == (
        "http",
        "demo.example.com",
        "/",
        8080,
    )
    assert route["service"] == "hrm-http-example_session-example"


def test_sticky_stack_a_session_stays_on_its_replica(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    gateway = Gateway(lab, ["ucp-hrm"])
    lab.stack_deploy("sticky.yml", "sticky", {"DOMAIN": "demo.example.com"})
    gateway.wait_for("demo.example.com", endpoints=5)
    for _ in range(3):
        response = gateway.get("demo.example.com", "/cgi-bin/login", "-i")
        replica = response.split()[-1]
        cookie = next(
            line.split()[1].rstrip(";")
            for line in response.splitlines()
            if line.startswith("Set-Cookie: SESSION=")
        )
        seen = {
            gateway.get("demo.example.com", "/", "-H", f"Cookie: a=b; {cookie}") for _ in range(8)
        }
        assert seen == {f"{replica} 8080\n"}
    assert len(gateway.replicas("demo.example.com", 20)) == 5  # without the cookie: balanced


def test_two_ports_of_one_service(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    labels = {
        f"{_LABEL}.800{n}": f"external_route=http://site{n + 1}.example.com,internal_port=800{n}"
        for n in (0, 1)
    }
    gateway = Gateway(lab, ["ucp-hrm"])
    lab.service_create(
        "twosite",
        labels=labels,
        networks=["ucp-hrm"],
        replicas=3,
        ports="8000 8001",
        publish=["8000", "8001"],
    )
    for number in (0, 1):
        host = f"site{number + 1}.example.com"
        gateway.wait_for(host, endpoints=3)
        seen = gateway.replicas(host, 9)
        assert len(seen) == 3
        assert {body.split()[1] for body in seen} == {f"800{number}"}


def test_renamed_site_responds_with_301(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    gateway = Gateway(lab, ["ucp-hrm"])
    labels = {
        f"{_LABEL}.1": "external_route=http://oldsite.example.com,redirect=http://foo.example.com",
        f"{_LABEL}.8080": "external_route=http://foo.example.com,internal_port=8080",
    }
    lab.service_create("lbinfo", labels=labels, networks=["ucp-hrm"], replicas=3)
    gateway.wait_for("foo.example.com", endpoints=3)
    assert (
        gateway.status("oldsite.example.com", "/a%2Fb?c=d")
        == "301 http://foo.example.com/a%2Fb?c=d"
    )
    assert len(gateway.replicas("foo.example.com", 9)) == 3


def test_renamed_site_needs_no_network(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    gateway = Gateway(lab, ["ucp-hrm"])
    lab.service_create(
        "renamed",
        labels={
            f"{_LABEL}.1": "external_route=http://oldsite.example.com,redirect=http://foo.example.com"
        },
    )
    wait_until(
        lambda: gateway.status("oldsite.example.com", "/a") == "301 http://foo.example.com/a",
        timeout=10,
        what="it is redirected",
    )


def test_two_routed_networks_are_isolated_from_each_other(lab: Lab) -> None:
    for name in ("ucp-hrm", "new-hrm-network"):
        lab.network_create(name)
        host = f"{name}.example.com"
        labels = {f"{_LABEL}.8080": f"external_route=http://{host},internal_port=8080"}
        lab.service_create(f"on-{name}", labels=labels, networks=[name])
    gateway = Gateway(lab, ["ucp-hrm", "new-hrm-network"])
    for name in ("ucp-hrm", "new-hrm-network"):
        gateway.wait_for(f"{name}.example.com", endpoints=1)
        assert gateway.get(f"{name}.example.com").endswith(" 8080\n")
    (address,) = lab.task_addresses("on-new-hrm-network", "new-hrm-network")
    assert lab.inside(["ucp-hrm"]).fetch(f"http://{address}:8080/", "-m", "1") == ""


def test_of_two_routed_networks_the_one_that_the_gateway_is_on(lab: Lab) -> None:
    """A service on both is reached by the one; a service on the other alone is not routed, until
    the gateway is attached there.
    """
    for network in ("a-first", "b-second"):
        lab.network_create(network)
    gateway = Gateway(lab, ["b-second"])
    for name, networks in (("both", ["a-first", "b-second"]), ("apart", ["a-first"])):
        lab.service_create(
            name,
            labels={_LABEL: f"external_route=http://{name}.example.com,internal_port=8080"},
            networks=networks,
        )
    gateway.wait_for("both.example.com", endpoints=1)
    assert gateway.get("both.example.com").endswith(" 8080\n")

    def diagnosed() -> list[str]:
        return [
            item["message"]
            for item in gateway.routes()["diagnostics"]
            if (item["service"], item["code"]) == ("apart", "NET005")
        ]

    (message,) = wait_until(diagnosed, timeout=10, what="the service apart is diagnosed")
    assert "it is on a-first, and the gateway is on b-second" in message
    assert gateway.status("apart.example.com") == "404"
    lab.docker("network", "connect", "a-first", gateway.inside.container)
    gateway.wait_for("apart.example.com", endpoints=1)
    assert gateway.get("apart.example.com").endswith(" 8080\n")


def test_off_any_routed_network_and_wrong_labels_cost_only_themselves(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    lab.network_create("private", mesh=False)
    gateway = Gateway(lab, ["ucp-hrm"])
    good = {
        f"{_LABEL}.1": "external_route=http://good.example.com,internal_port=8080",
        f"{_LABEL}.2": "external_rout=http://x,internal_port=1",
    }
    lab.service_create("good", labels=good, networks=["ucp-hrm"])
    off = {f"{_LABEL}.1": "external_route=http://off.example.com,internal_port=8080"}
    lab.service_create("off", labels=off, networks=["private"])
    gateway.wait_for("good.example.com", endpoints=1)
    assert gateway.get("good.example.com").endswith(" 8080\n")
    assert gateway.status("off.example.com") == "404"

    def diagnosed() -> dict[str, dict[str, str]]:
        found = {
            item["service"]: item
            for item in gateway.routes()["diagnostics"]
            if item["severity"] == "error"
        }
        return found if {"good", "off"} <= set(found) else {}

    found = wait_until(diagnosed, timeout=10, what="both services are diagnosed")
    assert found["off"]["code"] == "NET001"
    assert "--label" in found["off"]["hint"]
    assert found["good"]["label"] == f"{_LABEL}.2"
    told = json.loads(gateway.command("routes", "--json"))["diagnostics"]
    assert ("off", "NET001") in {(item["service"], item["code"]) for item in told}
    assert "NET001" in gateway.command("routes")
