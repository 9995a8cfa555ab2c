"""Diagnostics for services that the gateway has no way to, or that are the gateway itself: where
they are, where the gateway is, and the command or the lines that bring them together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from meshlib.discovery.engine.networks import (
    GATEWAY_ITSELF,
    NO_ADDRESS,
    OFF_GATEWAY,
    OFF_NETWORK,
    is_routed,
)
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.records import NetworkRecord
from meshlib.model import Diagnostic

__all__ = ["MAX_SHOWN", "host_address", "no_address", "off_network", "the_gateway_itself"]

# Networks of the gateway that a message names.
MAX_SHOWN: Final = 5
_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


def off_network(
    service: str,
    label: str,
    attached: Iterable[NetworkRecord],
    options: ResolveOptions,
    *,
    overlay: bool = False,
    part: str = "",
) -> Diagnostic:
    """The diagnostic for a labelled service that is on no network it may be routed by. `overlay`:
    it needs a network of a Swarm. `part`: a container of the service, when others can be reached.
    """
    not_routed = f"{part} gets no requests" if part else "not routed"
    attached = list(attached)
    apart = [
        network
        for network in attached
        if network.reachable is False and is_routed(network, options)
    ]
    if apart:
        return _off_gateway(service, label, apart, not_routed)
    names = sorted(network.name for network in attached if not network.ingress)
    where = f"it is on {', '.join(names)}" if names else "it is on no network of its own"
    if options.network_label:
        message = f"{not_routed}: on no network with the label {options.network_label} ({where})"
        driver = "-d overlay " if overlay else ""
        hint = (
            f"attach it to such a network: docker network create {driver}--label "
            f"{options.network_label}=true NAME"
        )
    else:
        message = f"{not_routed}: {where}"
        hint = "attach it to a network that the gateway is on, too"
    return Diagnostic(OFF_NETWORK.code, OFF_NETWORK.severity, service, label, message, hint)


def no_address(service: str, label: str, mode: str, host: str = "") -> Diagnostic:
    """The diagnostic for a labelled service without an address of its own. `mode` is as in
    `ContainerRecord.network_mode`, `host` an address at which the gateway reaches its host, if that
    is known.
    """
    kind, _, other = mode.partition(":")
    if kind == "host":
        message = "it uses the network of its host (network_mode: host, --network host)"
        hint = (
            "put it on a network of the gateway instead, or write its routes into a file of "
            f'services with the address of its host: endpoints: ["{host or "HOST"}:PORT"]'
        )
    elif kind == "container":
        message = f"it uses the network of another container ({other[:12]})"
        hint = "write the label on that container: the address is its own"
    else:
        message = "it has no network (network_mode: none)"
        hint = "put it on a network of the gateway"
    return Diagnostic(
        NO_ADDRESS.code,
        NO_ADDRESS.severity,
        service,
        label,
        f"not routed: {message}, so it has no address of its own",
        hint,
    )


def host_address(networks: Iterable[NetworkRecord]) -> str:
    """An address at which the gateway reaches the host of an engine, in a network of that host that
    it is on; "" when none is known.
    """
    found = [
        (":" in address, address)
        for network in networks
        if network.reachable and network.driver == "bridge"
        for address in network.gateways
    ]
    return min(found)[1] if found else ""


def the_gateway_itself(service: str, label: str) -> Diagnostic:
    """The diagnostic for a label that would send the gateway's requests to the gateway."""
    return Diagnostic(
        GATEWAY_ITSELF.code,
        GATEWAY_ITSELF.severity,
        service,
        label,
        "not routed: this service is the gateway itself, and its requests would go in a circle",
        "write the label on the service that is meant",
    )


def _off_gateway(
    service: str, label: str, apart: Sequence[NetworkRecord], not_routed: str
) -> Diagnostic:
    names = sorted(network.name for network in apart)
    on = apart[0].gateway_on
    shown = [*on[:MAX_SHOWN], f"{len(on) - MAX_SHOWN} more"] if len(on) > MAX_SHOWN else on
    where = ", ".join(shown) or "no network of this engine"
    message = f"{not_routed}: it is on {', '.join(names)}, and the gateway is on {where}"
    first = min(apart, key=lambda network: (network.name, network.id))
    hint = (
        f"{_attachment(first)}; if it reaches that network otherwise, "
        "say so in discovery.gateway_networks"
    )
    return Diagnostic(OFF_GATEWAY.code, OFF_GATEWAY.severity, service, label, message, hint)


def _attachment(network: NetworkRecord) -> str:
    """The way to attach the gateway to `network`."""
    name = _word(network.name)
    kind, _, gateway = next(iter(network.gateway), "").partition(" ")
    if kind == "service":
        command = f"docker service update --network-add {name} {_word(gateway)}"
        return f"attach the gateway ({command}; for good: under networks: in its stack file)"
    if kind == "container":
        command = f"docker network connect {name} {_word(gateway)}"
        return f"attach the gateway ({command}; for good: under networks: in its Compose file)"
    if network.driver == "overlay":
        return (
            f"run the gateway in a container or service on {network.name}: "
            "an overlay network cannot be reached from elsewhere"
        )
    return f"attach the gateway to {network.name}"


def _word(name: str) -> str:
    # As one word of a shell, since the command is there to be copied.
    return name if _PLAIN_WORD.fullmatch(name) else "'" + name.replace("'", "'\"'\"'") + "'"
