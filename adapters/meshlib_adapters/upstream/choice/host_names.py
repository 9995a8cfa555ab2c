"""Addresses of endpoints that are known by a host name: each address is an endpoint of its own,
with connections, health and sessions of its own, so they are balanced, and tried one after another.

The system's resolver says no word about how long its responses may be kept. So names in use are
looked up anew every few seconds, beside the requests, which go on with what is known. Where nothing
is known the name itself stands for its endpoint, and whoever connects to it looks it up.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from meshlib.authority import is_ip_address
from meshlib.model import Endpoint

__all__ = ["IDLE_REFRESH", "REFRESH", "HostNames", "host_names"]

_log = logging.getLogger("meshlib.names")

# Envoy looks every 5 s, too; a task that is replaced has another address within such a time.
REFRESH: Final = 5.0
IDLE_REFRESH: Final = 30.0  # of names whose endpoints have no connections
# What nobody has looked up for so long is not used any more: the address may be another service's.
# Docker's own resolver says 600 s.
_STALE: Final = 600.0
# Addresses of one name, in order. A name with more is a mistake, or somebody's attack.
_MAX_ADDRESSES: Final = 64
# Names whose addresses are remembered, those that were used last.
_MAX_NAMES: Final = 10_000
# Look-ups at a time: each has a thread, of which the loop has few, and a resolver that is away
# holds it for many seconds.
_MAX_LOOK_UPS: Final = 4
# The name does not exist, or has no address: that is certain, all other trouble is not.
_NO_ADDRESS: Final = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
)


def host_names(endpoints: Iterable[Endpoint]) -> frozenset[str]:
    """The hosts of these endpoints that are names."""
    return frozenset(one.host for one in endpoints if not is_ip_address(one.host))


class _Name:
    # What is known of a name; `looked_up` is when the last look-up ended, -inf for never.

    __slots__ = ("addresses", "looked_up")

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self.looked_up = float("-inf")


class HostNames:
    """Addresses of host names, looked up in `loop`. `version` changes with every change of any;
    `on_change` is called then.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._loop = loop
        self._on_change = on_change
        self._names: dict[str, _Name] = {}
        self._look_ups: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, None] = {}
        self.version = 0

    def __repr__(self) -> str:
        return f"<HostNames {len(self._names)} known, {len(self._look_ups)} being looked up>"

    def refresh(self, host: str, seconds: float = REFRESH) -> None:
        """Look a name up, beside all else, unless that was done less than so many seconds ago."""
        now = self._loop.time()
        name = self._names.get(host)
        if name is not None:
            if now - name.looked_up < seconds:
                return
            if name.addresses and now - name.looked_up >= _STALE:
                name.addresses = ()
                self._change()
        if host in self._look_ups or host in self._waiting:
            return
        if len(self._look_ups) < _MAX_LOOK_UPS:
            self._look_up(host)
        elif len(self._waiting) < _MAX_NAMES:
            self._waiting[host] = None

    def expand(self, endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """These endpoints, with one for each known address of a name in its stead."""
        found: list[Endpoint] = []
        for endpoint in endpoints:
            name = None if is_ip_address(endpoint.host) else self._names.get(endpoint.host)
            if name is None or not name.addresses:
                found.append(endpoint)
            else:
                found += _at_addresses(endpoint, name.addresses)
        return tuple(found)

    def close(self) -> None:
        """Look nothing up any more."""
        self._waiting.clear()
        look_ups, self._look_ups = self._look_ups, {}
        for task in look_ups.values():
            task.cancel()

    def _look_up(self, host: str) -> None:
        self._look_ups[host] = self._loop.create_task(self._ask(host))

    async def _ask(self, host: str) -> None:
        found: tuple[str, ...] | None = ()
        try:
            infos = await self._loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = _addresses(str(info[4][0]) for info in infos)
        except socket.gaierror as error:
            if error.errno not in _NO_ADDRESS:
                found = None  # not known is not empty
        except OSError:
            found = None
        except ValueError:  # a name that cannot even be looked up
            pass
        self._look_ups.pop(host, None)
        self._learn(host, found)
        if self._waiting:
            following = next(iter(self._waiting))
            del self._waiting[following]
            self._look_up(following)

    def _learn(self, host: str, addresses: tuple[str, ...] | None) -> None:
        name = self._names.pop(host, None) or _Name()
        self._names[host] = name
        if len(self._names) > _MAX_NAMES:
            del self._names[next(iter(self._names))]
        name.looked_up = self._loop.time()
        if addresses is not None and addresses != name.addresses:
            _log.info("%s has the addresses %s", host, ", ".join(addresses) or "of nobody")
            name.addresses = addresses
            self._change()

    def _change(self) -> None:
        self.version += 1
        self._on_change()


def _addresses(found: Iterable[str]) -> tuple[str, ...]:
    # Those of the family that the system prefers first, each family in order, so that it does not
    # matter in which order a resolver has them this time. A zone is of no use to anybody else.
    usable = [address for address in dict.fromkeys(found) if "%" not in address]
    if not usable:
        return ()
    preferred = ":" in usable[0]
    usable.sort(key=lambda address: ((":" in address) is not preferred, address))
    return tuple(usable[:_MAX_ADDRESSES])


def _at_addresses(endpoint: Endpoint, addresses: tuple[str, ...]) -> list[Endpoint]:
    # The other family mostly leads to the same servers: it stands by.
    preferred = ":" in addresses[0]
    several = sum((":" in address) is preferred for address in addresses) > 1
    return [
        replace(
            endpoint,
            id=f"{endpoint.id}/{address}" if several else endpoint.id,
            host=address,
            weight=endpoint.weight if (":" in address) is preferred else 0,
        )
        for address in addresses
    ]
