"""Surroundings of this process: the container it may be in, and the addresses of its network
interfaces.

The engine is not asked. A container's id appears in the mounts that every engine makes for it
(Docker, Podman), in the names of control groups, and in its host name; addresses come from the
kernel, through its routing socket. Facts that cannot be read stay unknown.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from meshlib.discovery.engine.own_networks import Surroundings
from meshlib_adapters.providers.docker.address import EngineAddress

__all__ = ["find_containers", "find_interfaces", "find_surroundings", "is_local"]

# Fields of /proc/self/mountinfo (proc(5)): ids, device, root of the mount in its file system, mount
# point, ... "/var/lib/docker/containers/ID/hostname /etc/hostname", Podman:
# ".../overlay-containers/ID/userdata/hostname /etc/hostname".
_MOUNT: Final = re.compile(
    r"^\S+ \S+ \S+ \S*/([0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) ", re.MULTILINE
)
# "0::/docker/ID", "0::/system.slice/docker-ID.scope",
# "0::/machine.slice/libpod-ID.scope/container"; only where not hidden.
_GROUP: Final = re.compile(r"[/-]([0-9a-f]{64})(?=[./]|$)", re.MULTILINE)
_SHORT: Final = re.compile(r"[0-9a-f]{12}")

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


def find_surroundings(address: EngineAddress) -> Surroundings:
    """Find the surroundings of this process now, for an engine at `address`. Blocks for some
    microseconds, never raises.
    """
    interfaces = find_interfaces()
    return Surroundings(find_containers(), interfaces, is_local(address, interfaces or frozenset()))


def find_containers(proc: Path = Path("/proc"), hostname: str | None = None) -> frozenset[str]:
    """Ids of containers, or their first 12 digits; one may be that of the container that this
    process is in.
    """
    found = set(_MOUNT.findall(_read(proc / "self/mountinfo")))
    found.update(_GROUP.findall(_read(proc / "self/cgroup")))
    name = socket.gethostname() if hostname is None else hostname
    if _SHORT.fullmatch(name):
        found.add(name)
    return frozenset(found)


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


def is_local(address: EngineAddress, interfaces: frozenset[str]) -> bool:
    """Return whether the engine is on this machine, judged by its address."""
    url = address.base_url
    if url is None:
        return True
    parts = urlsplit(url)
    if parts.scheme in ("unix", "http+unix", "npipe"):
        return True
    if parts.scheme == "ssh":
        return False
    host = parts.hostname or ""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        given = ipaddress.ip_address(host)
        return given.is_loopback or any(
            given == ipaddress.ip_interface(own).ip for own in interfaces
        )
    return False


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not Linux, or not permitted: then nothing is known
        return ""


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
