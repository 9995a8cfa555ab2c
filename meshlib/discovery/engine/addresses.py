"""Addresses that a gateway connects to because an engine says so, and those that it must not: its
own, its host's, its cloud's, or nobody's (SSRF).

An engine says where containers and tasks are, and whoever can write to it can make it say anything.
So an address has to be one that a container can have: not of a special purpose, not one that hides
another address, and inside the subnets of its network.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from meshlib.discovery.engine.records import IPNetwork, NetworkRecord

__all__ = ["is_refused", "refusal", "refusal_in"]

_LOOPBACK: Final = "a loopback address"

# The registries of special-purpose addresses (RFC 6890 and IANA), as far as no container can have
# them, and the addresses at which clouds tell machines their secrets. The first that holds an
# address gives the reason.
_REFUSED: Final = (
    ("0.0.0.0/8", "an address of this host (RFC 1122)"),
    ("127.0.0.0/8", _LOOPBACK),
    ("169.254.0.0/16", "a link-local address, where clouds have their metadata services"),
    ("100.100.100.200/32", "the metadata service of a cloud"),
    ("168.63.129.16/32", "the metadata service of a cloud"),
    ("192.0.0.0/24", "an address for protocols (RFC 6890), where a cloud has its metadata service"),
    ("192.88.99.0/24", "an address of 6to4 relays (RFC 7526)"),
    ("224.0.0.0/4", "a multicast address"),
    ("255.255.255.255/32", "the broadcast address"),
    ("240.0.0.0/4", "a reserved address (RFC 1112)"),
    ("::/128", "the unspecified address"),
    ("::1/128", _LOOPBACK),
    ("::ffff:0:0/96", "an IPv4 address in another form (IPv4-mapped)"),
    ("::ffff:0:0:0/96", "an IPv4 address in another form (IPv4-translated)"),
    ("64:ff9b::/96", "an IPv4 address in another form (NAT64, RFC 6052)"),
    ("64:ff9b:1::/48", "an IPv4 address in another form (NAT64, RFC 8215)"),
    ("::/96", "an IPv4 address in another form (IPv4-compatible)"),
    ("100::/64", "an address for what is thrown away (RFC 6666)"),
    ("2001::/32", "an IPv4 address in another form (Teredo)"),
    ("2002::/16", "an IPv4 address in another form (6to4)"),
    ("fd00:ec2::/32", "the metadata service of a cloud"),
    ("fd20:ce::254/128", "the metadata service of a cloud"),
    ("fd00:42::42/128", "the metadata service of a cloud"),
    ("fe80::/10", "a link-local address"),
    ("fec0::/10", "a site-local address (RFC 3879)"),
    ("ff00::/8", "a multicast address"),
    # What is left of IPv6 without global unicast (2000::/3) and unique local addresses (fc00::/7)
    # is for nobody yet (RFC 4291 2.4).
    ("::/3", "a reserved address (RFC 4291)"),
    ("4000::/2", "a reserved address (RFC 4291)"),
    ("8000::/2", "a reserved address (RFC 4291)"),
    ("c000::/3", "a reserved address (RFC 4291)"),
    ("e000::/4", "a reserved address (RFC 4291)"),
    ("f000::/5", "a reserved address (RFC 4291)"),
    ("f800::/6", "a reserved address (RFC 4291)"),
    ("fe00::/9", "a reserved address (RFC 4291)"),
)


def _masks(version: int) -> tuple[tuple[int, int, str], ...]:
    networks = [(ipaddress.ip_network(text), why) for text, why in _REFUSED]
    return tuple(
        (int(n.netmask), int(n.network_address), why) for n, why in networks if n.version == version
    )


# As numbers: an engine may have fifty thousand addresses.
_MASKS: Final = {4: _masks(4), 6: _masks(6)}


def refusal(address: str) -> str:
    """The reason why the gateway must not connect to `address` because somebody says so; "" when it
    may. Never raises.
    """
    try:
        if "%" in address:
            return "an address with a zone: an interface of one machine"
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "not an IP address"
    number = int(parsed)
    return next((why for mask, value, why in _MASKS[parsed.version] if number & mask == value), "")


def refusal_in(network: NetworkRecord | None, address: str) -> str:
    """The same for an address in `network` (None: `refusal` alone): it has to be inside the
    subnets, where those are known, and must be neither the network's own address nor one that the
    gateway or its host has there. Where a test permits loopback addresses (`network.loopback`), one
    of those has nothing against it.
    """
    why = refusal(address)
    if why or network is None:
        return "" if why == _LOOPBACK and network is not None and network.loopback else why
    if address in network.gateways:
        return f"the address of the host, or of a router, in the network {network.name}"
    if address in network.taken:
        return "an address of the gateway itself, or of its host"
    if not network.subnets:
        return ""
    parsed = ipaddress.ip_address(address)
    subnet = next((subnet for subnet in network.subnets if parsed in subnet), None)
    if subnet is None:
        return f"outside the network {network.name} ({', '.join(map(str, network.subnets))})"
    return (
        f"no address of a machine in the network {network.name}"
        if _is_of_nobody(parsed, subnet)
        else ""
    )


def is_refused(address: str, network: NetworkRecord | None = None) -> bool:
    """Whether `refusal_in` has a reason."""
    return bool(refusal_in(network, address))


def _is_of_nobody(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, subnet: IPNetwork
) -> bool:
    # The first and the last address of an IPv4 subnet are its own; one of 31 or 32 bits has neither
    # (RFC 3021).
    return (
        subnet.version == 4
        and subnet.prefixlen < 31
        and address in (subnet.network_address, subnet.broadcast_address)
    )
