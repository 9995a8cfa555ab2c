"""Changes of a real Swarm while requests flow."""

from __future__ import annotations

import pytest

from tests.e2e.running import Gateway, Load
from tests.lab.lab import Lab
from tests.lab.node import wait_until

_LABEL = "com.docker.ucp.mesh.http.8080"


def label(host: str) -> dict[str, str]:
    return {_LABEL: f"external_route=http://{host},internal_port=8080"}


def test_scaling_relabelling_and_removal_touch_nobody_else(lab: Lab) -> None:
    lab.network_create("ucp-hrm")
    gateway = Gateway(lab, ["ucp-hrm"])
    lab.service_create(
        "stable", labels=label("stable.example.com"), networks=["ucp-hrm"], replicas=2
    )
    lab.service_create("shop", labels=label("shop.example.com"), networks=["ucp-hrm"])
    gateway.wait_for("stable.example.com", endpoints=2)
    gateway.wait_for("shop.example.com", endpoints=1)
    stable, shop = Load(gateway, "stable.example.com"), Load(gateway, "shop.example.com")
    lab.service_scale("shop", 4)
    gateway.wait_for("shop.example.com", endpoints=4)
    # A task that runs need not listen yet; one that has refused is left out for some seconds.
    wait_until(
        lambda: len(gateway.replicas("shop.example.com", 16)) == 4,
        timeout=30,
        what="all four replicas respond",
    )
    lab.service_scale("shop", 2)
    gateway.wait_for("shop.example.com", endpoints=2)
    scaled = shop.stop()
    assert scaled["failed"] == []
    assert len(scaled["seen"]) == 4
    lab.service_update(
        "shop", "--label-add", f"{_LABEL}=external_route=http://new.example.com,internal_port=8080"
    )
    gateway.wait_for("new.example.com", endpoints=2)
    assert gateway.get("new.example.com").endswith(" 8080\n")
    assert gateway.status("shop.example.com") == "404"
    lab.service_remove("shop")
    wait_until(
        lambda: gateway.status("new.example.com") == "404",
        timeout=10,
        what="the removed service is not routed",
    )
    untouched = stable.stop()
    assert untouched["failed"] == []
    assert untouched["ok"] > 200
    assert len(untouched["seen"]) == 2


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_rolling_update_fails_no_request(lab: Lab, order: str) -> None:
    lab.network_create("ucp-hrm")
    gateway = Gateway(lab, ["ucp-hrm"])
    options = [
        f"--update-order={order}",
        "--update-parallelism=1",
        "--update-delay=0s",
        "--update-monitor=1s",
        "--stop-grace-period=5s",
    ]
    lab.service_create(
        "shop", labels=label("shop.example.com"), networks=["ucp-hrm"], replicas=5, options=options
    )
    gateway.wait_for("shop.example.com", endpoints=5)
    before = gateway.replicas("shop.example.com", 15)
    load = Load(gateway, "shop.example.com")
    lab.service_update("shop", "--force")
    wait_until(
        lambda: lab.api.inspect_service("shop").get("UpdateStatus", {}).get("State") == "completed",
        timeout=60,
        what="the update is completed",
        every=0.2,
    )
    gateway.wait_for("shop.example.com", endpoints=5)
    result = load.stop()
    after = gateway.replicas("shop.example.com", 15)
    assert result["failed"] == []
    assert result["ok"] > 500
    assert not before & after
    assert len(after) == 5
