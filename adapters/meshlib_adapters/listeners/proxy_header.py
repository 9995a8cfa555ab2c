"""PROXY protocol headers on connections that are relayed: those that endpoints get, and
those of proxies in front.

Who may speak for others is decided by the address of the connection, before a byte is read:
everybody else's PROXY header is no TLS.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import replace

from meshlib.client_claims import is_trusted
from meshlib.errors import ProxyProtocolError
from meshlib.need_data import NEED_DATA
from meshlib.proxy_protocol import (
    MAX_V2,
    ProxyAddress,
    ProxyHeader,
    ProxyProtocolReader,
    build_v1,
    build_v2,
)
from meshlib_adapters.config.transport import ProxyHeaderPolicy

__all__ = ["ProxyHeaderReader", "proxy_header_for", "speaks_for_others"]


def speaks_for_others(rule: ProxyHeaderPolicy | None, address: str) -> bool:
    """Whether a connection from `address` may be that of a proxy in front, with clients of its
    own.
    """
    return rule is not None and rule.mode != "off" and is_trusted(address, rule.sources)


class ProxyHeaderReader:
    """The PROXY header that the connection of one client begins with, or may begin with.

    `receive_data` takes what was read and returns what is not the PROXY header's, None while more
    is needed; then `claimed` is what the proxy says of its client, if anything. `begun`: some of it
    is there. `max_size`: bytes behind the fixed 16 of version 2. Raises
    `ProxyProtocolError`; then the connection is to be closed.
    """

    __slots__ = ("_reader", "_required", "begun", "claimed")

    def __init__(self, *, required: bool, max_size: int = MAX_V2) -> None:
        self._required = required
        self._reader = ProxyProtocolReader(max_size)
        self.begun = False
        self.claimed: ProxyHeader | None = None

    @staticmethod
    def of(
        rule: ProxyHeaderPolicy | None, address: str, *, always: bool = False
    ) -> ProxyHeaderReader | None:
        """Reader of the header to expect from a connection of `address`; None for no PROXY header.
        Raises `ProxyProtocolError` if it is not served.

        `always`: `sources` never come without one. So it is where servers may be the first to
        speak: nobody can tell a client that waits from a PROXY protocol header that is on its way.
        """
        if rule is None or rule.mode == "off":
            return None
        if is_trusted(address, rule.sources):
            required = always or rule.mode == "require"
            return ProxyHeaderReader(required=required, max_size=rule.max_size)
        if rule.mode == "require":
            raise ProxyProtocolError(
                "only the proxies in front are served here", reason="proxy_untrusted"
            )
        return None

    def receive_data(self, data: bytes) -> bytes | None:
        """Take what was read; return what is not the PROXY header's, None while more is needed."""
        self.begun = True
        result = self._reader.receive_data(data)
        if result is NEED_DATA:
            return None
        if isinstance(result, ProxyHeader):
            if result.transport == "datagram":
                raise ProxyProtocolError("a datagram on a connection", reason="proxy_family")
            if result.source is not None and result.destination is not None and not result.unix:
                self.claimed = replace(
                    result,
                    source=_unmapped(result.source),
                    destination=_unmapped(result.destination),
                )
        elif self._required:
            raise ProxyProtocolError(
                "no PROXY header where there must be one", reason="proxy_missing"
            )
        return self._reader.rest


def proxy_header_for(
    sock: socket.socket, version: str, claimed: ProxyHeader | None = None
) -> bytes:
    """The PROXY header ("v1" or "v2") for the client at the other end of `sock`, or for the one
    that `claimed` names.
    """
    source: ProxyAddress | None
    destination: ProxyAddress | None
    if claimed is not None:
        source, destination = claimed.source, claimed.destination
    else:
        try:
            source, destination = _unmapped(sock.getpeername()), _unmapped(sock.getsockname())
        except OSError:  # the client is gone again, and with it its address; the relay will notice
            source = destination = None
    return build_v1(source, destination) if version == "v1" else build_v2(source, destination)


def _unmapped(name: tuple[str, int]) -> ProxyAddress:
    # Sockets for both families have IPv4 clients as IPv6, here and at the proxy; an endpoint in an
    # IPv4 network would not know them.
    address = ipaddress.ip_address(name[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return ProxyAddress(str(mapped or address), name[1])
