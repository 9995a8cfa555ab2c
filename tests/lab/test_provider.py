"""The Docker providers on a real engine."""

from __future__ import annotations

import time

from meshlib.discovery.engine.options import ResolveOptions
from meshlib_adapters.providers.docker.containers import ContainerProvider
from meshlib_adapters.providers.docker.swarm import SwarmProvider
from tests.lab.following import Following
from tests.lab.lab import Lab
from tests.lab.node import Node

# These look from outside of all containers; which networks a gateway would be on is for tests/e2e.
ANYWHERE = ResolveOptions(check_networks=False)
_HOST = "http://shop.example.com"


def _label(host: str = _HOST, port: int = 8080) -> dict[str, str]:
    return {f"com.docker.ucp.mesh.http.{port}": f"external_route={host},internal_port={port}"}


def _addresses(lab: Lab, service: str, network: str, port: int = 8080) -> list[str]:
    return sorted(f"{address}:{port}" for address in lab.task_addresses(service, network))


def test_services_come_change_scale_and_go(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    with Following(SwarmProvider(lab.url, options=ANYWHERE)) as following:
        following.until(lambda routes: routes == {}, "an empty swarm")
        lab.service_create("shop", labels=_label(), networks=["ucp-hrm"], replicas=2)
        following.until(
            lambda routes: routes == {_HOST: _addresses(lab, "shop", "ucp-hrm")},
            "the service's two tasks",
        )

        lab.service_scale("shop", 5)
        following.until(lambda routes: len(routes[_HOST]) == 5, "five tasks")
        assert following.routes[_HOST] == _addresses(lab, "shop", "ucp-hrm")
        lab.service_scale("shop", 1)
        following.until(
            lambda routes: routes[_HOST] == _addresses(lab, "shop", "ucp-hrm"), "one task"
        )

        (key,) = _label()
        lab.service_update(
            "shop", "--label-add", f"{key}=external_route=http://new.example.com,internal_port=8080"
        )
        following.until(lambda routes: set(routes) == {"http://new.example.com"}, "the new label")
        assert following.routes["http://new.example.com"] == _addresses(lab, "shop", "ucp-hrm")

        lab.service_remove("shop")
        following.until(lambda routes: routes == {}, "the service is gone")


def test_a_rolling_update_never_leaves_a_route_without_endpoints(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    lab.service_create("shop", labels=_label(), networks=["ucp-hrm"], replicas=3)
    with Following(SwarmProvider(lab.url, options=ANYWHERE)) as following:
        following.until(lambda routes: len(routes.get(_HOST, [])) == 3, "three tasks")
        before = set(following.routes[_HOST])
        lab.service_update(
            "shop", "--force", "--update-parallelism", "1", "--update-order", "start-first"
        )
        following.until(
            lambda routes: len(routes[_HOST]) == 3 and not before & set(routes[_HOST]),
            "three new tasks",
            timeout=60,
        )
        assert all(
            snapshot.routes[0].upstream.ready
            for _, snapshot in following.seen
            if snapshot.routes[0].upstream
        )


def test_a_network_made_later_is_seen(lab: Lab) -> None:
    lab.network_create("plain", mesh=False)
    lab.service_create("shop", labels=_label(), networks=["plain"])
    with Following(SwarmProvider(lab.url, options=ANYWHERE)) as following:
        following.until(
            lambda routes: not any(routes.values()), "the service is on no labelled network"
        )
        lab.network_create("new-hrm-network")
        lab.service_update("shop", "--network-add", "new-hrm-network")
        following.until(
            lambda routes: len(routes.get(_HOST, [])) == 1, "a task on the new network", timeout=60
        )
        assert following.routes[_HOST] == _addresses(lab, "shop", "new-hrm-network")


def test_services_on_different_labelled_networks_are_all_routed(lab: Lab) -> None:
    for name in ("one", "two"):
        lab.network_create(name)
        lab.service_create(
            f"on-{name}", labels=_label(f"http://{name}.example.com"), networks=[name]
        )
    with Following(SwarmProvider(lab.url, options=ANYWHERE)) as following:
        following.until(lambda routes: len(routes) == 2 and all(routes.values()), "two routes")
        for name in ("one", "two"):
            assert following.routes[f"http://{name}.example.com"] == _addresses(
                lab, f"on-{name}", name
            )


def test_a_crashed_engine_leaves_the_last_snapshot_and_is_found_again(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    lab.service_create("shop", labels=_label(), networks=["ucp-hrm"], replicas=2)
    with Following(SwarmProvider(lab.url, options=ANYWHERE)) as following:
        following.until(lambda routes: len(routes.get(_HOST, [])) == 2, "two tasks")
        with lab.engine_stopped(crash=True):
            with following.nothing_new():
                following.until_status("degraded")
                time.sleep(1)
            assert len(following.routes[_HOST]) == 2
        following.until_status("ok")
        lab.wait_running("shop", 2)
        following.until(
            lambda routes: routes[_HOST] == _addresses(lab, "shop", "ucp-hrm"),
            "the new tasks",
            timeout=60,
        )


def test_an_engine_that_never_responds_is_noticed_and_forgiven(lab: Lab) -> None:
    with Following(SwarmProvider(lab.url, options=ANYWHERE)) as following:
        following.until_status("ok")
        lab.node.pause()
        try:
            following.until_status("degraded", "no response")
        finally:
            lab.node.resume()
        following.until_status("ok")


def test_an_engine_without_a_swarm_says_what_to_do() -> None:
    node = Node("lonely")
    try:
        node.start()
        with Following(SwarmProvider(node.url, options=ANYWHERE)) as following:
            following.until_status("degraded", "swarm manager", "docker swarm init")
            assert following.seen == []
        with Following(ContainerProvider(node.url, options=ANYWHERE)) as containers:
            containers.until_status("ok")
    finally:
        node.close()


def test_containers_come_and_go(lab: Lab) -> None:
    lab.network_create("front", driver="bridge")
    with Following(ContainerProvider(lab.url, options=ANYWHERE)) as following:
        following.until(lambda routes: routes == {}, "no containers")
        (label,) = (f"{key}={value}" for key, value in _label().items())
        container = lab.container_run("--name", "demo", "--network", "front", "--label", label)
        address = lab.docker(
            "inspect", "-f", "{{.NetworkSettings.Networks.front.IPAddress}}", container
        )
        following.until(
            lambda routes: routes == {_HOST: [f"{address}:8080"]}, "the container's address"
        )
        lab.docker("stop", container)
        following.until(lambda routes: routes == {_HOST: []}, "the container has stopped")
