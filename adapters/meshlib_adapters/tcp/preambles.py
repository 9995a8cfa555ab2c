"""The preamble of the PROXY protocol that an endpoint gets, from the sockets' addresses or from what a proxy in front has said."""

from __future__ import annotations

import ipaddress
import socket

from meshlib.proxy_protocol import ProxyAddress, ProxyPreamble, build_v1, build_v2

__all__ = ["preamble_for"]


def preamble_for(sock: socket.socket, version: str, claimed: ProxyPreamble | None = None) -> bytes:
    """The preamble ("v1" or "v2") for the client at the other end of `sock`, or for the one that `claimed` names."""
    source: ProxyAddress | None
    destination: ProxyAddress | None
    if claimed is not None:
        source, destination = claimed.source, claimed.destination
    else:
        try:
            source, destination = _address(sock.getpeername()), _address(sock.getsockname())
        except OSError:  # the client is gone again, and with it its address; the relay will notice
            source = destination = None
    return build_v1(source, destination) if version == "v1" else build_v2(source, destination)


def _address(name: tuple[str, int]) -> ProxyAddress:
    # A socket for both families has IPv4 clients as IPv6; an endpoint in an IPv4 network would not know them.
    address = ipaddress.ip_address(name[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return ProxyAddress(str(mapped or address), name[1])
