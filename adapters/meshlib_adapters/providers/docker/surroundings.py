"""Surroundings of this process: the container it may be in, and the addresses of its network
interfaces.

The engine is not asked. A container's id appears in the mounts that every engine makes for it
(Docker, Podman), in the names of control groups, and in its host name. Facts that cannot be read
stay unknown.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from meshlib.discovery.engine.own_networks import Surroundings
from meshlib_adapters.providers.docker.address import EngineAddress
from meshlib_adapters.providers.interfaces import find_interfaces

__all__ = ["find_containers", "find_surroundings", "is_local"]

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
