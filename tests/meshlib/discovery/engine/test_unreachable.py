"""What is said of services that the gateway has no way to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshlib.discovery.engine.networks import GATEWAY_ITSELF, NO_ADDRESS, OFF_GATEWAY, OFF_NETWORK
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.records import NetworkRecord
from meshlib.discovery.engine.unreachable import (
    host_address,
    no_address,
    off_network,
    the_gateway_itself,
)
from meshlib.labels.hrm import LABEL
from meshlib.model import Severity


def network(name: str, label: bool = True, *, ingress: bool = False) -> NetworkRecord:
    return NetworkRecord(f"id-{name}", name, {LABEL: ""} if label else {}, ingress)


def test_off_network_names_where_it_is_and_the_cure() -> None:
    said = off_network(
        "shop",
        LABEL,
        [network("b", False), network("a", False), network("i", ingress=True)],
        ResolveOptions(),
    )
    assert (said.code, said.severity, said.service, said.label) == (
        OFF_NETWORK.code,
        Severity.ERROR,
        "shop",
        LABEL,
    )
    assert said.message == f"not routed: on no network with the label {LABEL} (it is on a, b)"
    assert (
        said.hint == f"attach it to such a network: docker network create --label {LABEL}=true NAME"
    )
    swarm = off_network("shop", LABEL, [], ResolveOptions(), overlay=True)
    assert "docker network create -d overlay --label" in swarm.hint
    said = off_network("shop", LABEL, [], ResolveOptions(network_label=""))
    assert said.message == "not routed: it is on no network of its own"
    assert "docker network create" not in said.hint


def test_off_the_gateways_networks_it_names_both_and_the_cure() -> None:
    apart = [
        replace(network(name), reachable=False, gateway_on=("own", "two"), driver="bridge")
        for name in "ba"
    ]
    others = [
        network("c", False),
        replace(network("i", ingress=True), reachable=False),
        replace(network("d", False), reachable=False),
    ]
    said = off_network("shop", LABEL, [*apart, *others], ResolveOptions())
    assert (said.code, said.severity, said.service, said.label) == (
        OFF_GATEWAY.code,
        Severity.ERROR,
        "shop",
        LABEL,
    )
    assert said.message == "not routed: it is on a, b, and the gateway is on own, two"
    assert said.hint == (
        "attach the gateway to a; if it reaches that network otherwise, "
        "say so in discovery.gateway_networks"
    )
    nowhere = off_network("shop", LABEL, [replace(network("a"), reachable=False)], ResolveOptions())
    assert nowhere.message.endswith("the gateway is on no network of this engine")
    many = off_network(
        "shop", LABEL, [replace(apart[0], gateway_on=tuple("abcdefgh"))], ResolveOptions()
    )
    assert many.message.endswith("the gateway is on a, b, c, d, e, 3 more")


_APART = replace(network("front"), reachable=False, gateway_on=("own",))


@pytest.mark.parametrize(
    ("gateway", "driver", "hint"),
    [
        (
            ("service gw_gateway",),
            "overlay",
            "attach the gateway (docker service update --network-add front gw_gateway; "
            "for good: under networks: in its stack file)",
        ),
        (
            ("container gw",),
            "bridge",
            "attach the gateway (docker network connect front gw; "
            "for good: under networks: in its Compose file)",
        ),
        (
            (),
            "overlay",
            "run the gateway in a container or service on front: "
            "an overlay network cannot be reached from elsewhere",
        ),
        ((), "bridge", "attach the gateway to front"),
    ],
)
def test_the_cure_is_a_command_where_the_gateway_is_known(
    gateway: tuple[str, ...], driver: str, hint: str
) -> None:
    apart = replace(_APART, gateway=gateway, driver=driver)
    said = off_network("shop", LABEL, [apart], ResolveOptions())
    assert said.hint == (
        f"{hint}; if it reaches that network otherwise, say so in discovery.gateway_networks"
    )


def test_a_name_cannot_put_a_command_of_its_own_into_the_cure() -> None:
    apart = replace(_APART, name="a; rm -rf /", gateway=("container $(reboot)",))
    hint = off_network("shop", LABEL, [apart], ResolveOptions()).hint
    assert "docker network connect 'a; rm -rf /' '$(reboot)'" in hint
    quoted = off_network("shop", LABEL, [replace(apart, name="a'b")], ResolveOptions()).hint
    assert """docker network connect 'a'"'"'b' """ in quoted


def test_one_container_of_several_is_named() -> None:
    part = "container c2"
    for options, attached in (
        (ResolveOptions(), [_APART]),
        (ResolveOptions(), [network("a", False)]),
        (ResolveOptions(network_label=""), []),
    ):
        said = off_network("shop", LABEL, attached, options, part=part)
        assert said.message.startswith("container c2 gets no requests: ")


@pytest.mark.parametrize(
    ("mode", "host", "message", "hint"),
    [
        ("host", "172.18.0.1", "network_mode: host", 'endpoints: ["172.18.0.1:PORT"]'),
        ("host", "", "network_mode: host", 'endpoints: ["HOST:PORT"]'),
        ("none", "", "network_mode: none", "put it on a network"),
        (f"container:{'a' * 64}", "", "(aaaaaaaaaaaa)", "write the label on that container"),
    ],
)
def test_without_an_address_of_its_own_it_is_told_what_to_write(
    mode: str, host: str, message: str, hint: str
) -> None:
    said = no_address("shop", LABEL, mode, host)
    assert (said.code, said.severity, said.service, said.label) == (
        NO_ADDRESS.code,
        Severity.ERROR,
        "shop",
        LABEL,
    )
    assert message in said.message
    assert said.message.endswith("so it has no address of its own")
    assert hint in said.hint
    assert "docker network create" not in said.hint


def test_the_host_is_reached_where_the_gateway_shares_a_bridge_with_it() -> None:
    bridge = NetworkRecord(
        "1", "a", driver="bridge", reachable=True, gateways=frozenset({"fd00::1", "172.18.0.1"})
    )
    assert host_address([bridge]) == "172.18.0.1"
    assert host_address([replace(bridge, gateways=frozenset({"fd00::1"}))]) == "fd00::1"
    assert host_address([replace(bridge, reachable=None), replace(bridge, driver="overlay")]) == ""


def test_the_gateway_itself_is_told_that_it_is() -> None:
    said = the_gateway_itself("gw", LABEL)
    assert (said.code, said.severity, said.service) == (
        GATEWAY_ITSELF.code,
        Severity.WARNING,
        "gw",
    )
