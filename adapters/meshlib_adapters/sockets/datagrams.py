"""Datagram sockets: one for the port, which knows at which of our addresses a datagram arrived, and
one for each endpoint.

A client takes a reply only from the address that it sent to. A socket bound to every address has to
be told which one that was (IP_PKTINFO); a socket bound to a single address has no choice.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "MAX_DATAGRAM",
    "Ancillary",
    "Origin",
    "bind_datagrams",
    "connected_datagrams",
    "reply_from",
]

# The largest UDP payload is a little smaller than this, so nothing is ever cut off.
MAX_DATAGRAM: Final = 1 << 16

# Not in Python's `socket` for IPv4 before 3.14 (ip(7)); elsewhere than on Linux it is another
# number.
_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)
_PKTINFO: Final = struct.Struct("=I4s4s")
_PKTINFO6: Final = struct.Struct("=16sI")

Ancillary: TypeAlias = list[tuple[int, int, bytes]]


class Origin(NamedTuple):
    """The sender of a datagram: its address as `recvfrom` gives it, and what a reply has to say of
    ours (see `reply_from`).
    """

    client: tuple[str, int] | tuple[str, int, int, int]
    reply: tuple[int, int, bytes] | None


def bind_datagrams(host: str, port: int, *, reuse_port: bool = False) -> tuple[socket.socket, bool]:
    """A bound socket that does not block, and whether it reports which of our addresses a datagram
    came to (it listens on all of them). `host` is an IP address or "".

    Raises OSError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        every = not host or ipaddress.ip_address(host).is_unspecified
        reports = every and sys.platform == "linux"
        if reports and family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        elif reports:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock, reports


def reply_from(ancillary: Ancillary) -> tuple[int, int, bytes] | None:
    """Ancillary data to send along with a reply so that it comes from the address the client sent
    to.
    """
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= _PKTINFO.size:
            _, local, _ = _PKTINFO.unpack_from(data)
            return level, kind, _PKTINFO.pack(0, local, bytes(4))
        if (
            level == socket.IPPROTO_IPV6
            and kind == socket.IPV6_PKTINFO
            and len(data) >= _PKTINFO6.size
        ):
            address, interface = _PKTINFO6.unpack_from(data)
            # A link-local address has a meaning on its link only; for others the kernel knows the
            # way better.
            link_local = ipaddress.IPv6Address(address).is_link_local
            return level, kind, _PKTINFO6.pack(address, interface if link_local else 0)
    return None


def connected_datagrams(address: str, port: int) -> socket.socket:
    """A socket that does not block and receives from this address alone, its ICMP errors included.
    Raises OSError.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect((address, port))
    except OSError:
        sock.close()
        raise
    return sock
