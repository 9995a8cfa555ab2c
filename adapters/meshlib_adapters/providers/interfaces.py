"""Addresses of this machine's or container's network interfaces, from the kernel, through its
routing socket.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["find_interfaces"]

# rtnetlink(7)
_REQUEST_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_DONE, _ERROR, _NEW_ADDRESS, _GET_ADDRESS = 3, 2, 20, 22
_ADDRESS, _LOCAL = 1, 2
_HEADER: Final = struct.Struct("=IHHII")
_INTERFACE: Final = struct.Struct("=BBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_LONGEST_READ: Final = 1 << 20
_MOST_READS: Final = 1000
_SECONDS: Final = 1.0


def find_interfaces() -> frozenset[str] | None:
    """ "ADDRESS/PREFIX" of each network interface; None when the kernel does not tell."""
    if not hasattr(socket, "AF_NETLINK"):
        return None
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.settimeout(_SECONDS)
            body = _INTERFACE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            sock.send(
                _HEADER.pack(_HEADER.size + len(body), _GET_ADDRESS, _REQUEST_DUMP, 1, 0) + body
            )
            return frozenset(_addresses(sock))
    except OSError:
        return None


def _addresses(sock: socket.socket) -> Iterator[str]:
    for _ in range(_MOST_READS):
        data = sock.recv(_LONGEST_READ)
        at = 0
        while at + _HEADER.size <= len(data):
            size, kind, _flags, _number, _port = _HEADER.unpack_from(data, at)
            if kind == _DONE or size < _HEADER.size:
                return
            if kind == _ERROR:
                raise OSError("the kernel does not tell its addresses")
            if kind == _NEW_ADDRESS:
                yield from _address(data[at + _HEADER.size : at + size])
            at += -(-size // 4) * 4
    raise OSError("the kernel tells addresses without end")


def _address(message: bytes) -> Iterator[str]:
    family, prefix, *_ = _INTERFACE.unpack_from(message)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    found: dict[int, bytes] = {}
    at = _INTERFACE.size
    while at + _ATTRIBUTE.size <= len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, at)
        if size < _ATTRIBUTE.size:
            break
        found[kind] = message[at + _ATTRIBUTE.size : at + size]
        at += -(-size // 4) * 4
    # On a link between two machines the first address is the peer's.
    raw = found.get(_LOCAL) or found.get(_ADDRESS)
    if raw is not None:
        yield f"{ipaddress.ip_address(raw)}/{prefix}"
