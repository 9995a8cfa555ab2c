"""Docker's embedded DNS as look-ups in the names of a snapshot: "shop", "tasks.shop", aliases and
the names of containers, each in its network.

Docker resolves a name by the networks of the container that looks it up. Callers here are on no
network, so they name one, unless the name exists in a single network. No DNS server is queried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.model import Endpoint, Snapshot
from meshlib.name_records import NameKind, NameRecord

__all__ = ["NameIndex", "service_endpoints"]

_TASKS = "tasks."
# No DNS query can ask for a longer name (RFC 1035 2.3.4), so nobody has one.
_MAX_NAME = 253


class NameIndex:
    """Index of the names of a snapshot (`Snapshot.names`). Building it is one pass over the
    records, a look-up a few reads of dictionaries.
    """

    def __init__(self, records: Sequence[NameRecord]) -> None:
        self.records = records
        # name -> network -> addresses; a dictionary is a set in order of insertion.
        names: dict[str, dict[str, dict[str, None]]] = {}
        for record in records:
            name = f"{_TASKS}{record.name}" if record.kind is NameKind.TASKS else record.name
            addresses = names.setdefault(name, {}).setdefault(record.network, {})
            addresses.update(dict.fromkeys(record.addresses))
        self._names = {
            name: {network: tuple(found) for network, found in by.items()}
            for name, by in names.items()
        }

    def resolve(self, name: str, network: str | None = None) -> tuple[str, ...]:
        """The addresses of `name`, each once and in a stable order; () for an unknown name.

        `name` is a service, an alias or a container, or "tasks.NAME" for the tasks of a service one
        by one; case and a dot at the end do not matter. With `network`, only names of that network
        count. Without it, "NAME.NETWORK" is also understood, unless a name is spelled so.
        `ConfigurationError` when the name has different addresses in several networks.
        """
        wanted = name.lower().removesuffix(".")
        if len(wanted) > _MAX_NAME:
            return ()
        if network is not None:
            found = self._names.get(wanted, {}).get(network)
            return (
                found
                if found is not None
                else self._names.get(wanted.removesuffix(f".{network.lower()}"), {}).get(
                    network, ()
                )
            )
        by_network = self._names.get(wanted)
        if by_network is None:
            by_network = self._in_named_network(wanted)
        different = set(by_network.values())
        if len(different) > 1:
            raise ConfigurationError(
                (
                    f"{show(name)} has different addresses in several networks: "
                    f"{', '.join(sorted(by_network))}"
                ),
                hint=f"name one, as in network={min(by_network)!r}",
            )
        return different.pop() if different else ()

    def _in_named_network(self, wanted: str) -> dict[str, tuple[str, ...]]:
        # Both halves may have dots ("api.v1" in "net.prod"), so each of them is tried.
        return {
            network: found
            for rest, suffix in _splits(wanted)
            for network, found in self._names.get(rest, {}).items()
            if network.lower() == suffix
        }


def _splits(wanted: str) -> Iterator[tuple[str, str]]:
    at = wanted.find(".")
    while at >= 0:
        yield wanted[:at], wanted[at + 1 :]
        at = wanted.find(".", at + 1)


def service_endpoints(snapshot: Snapshot, service: str, *, ready: bool) -> tuple[Endpoint, ...]:
    """The endpoints of a service of the snapshot, at each of its routed ports; those that are
    `ready`, or all.
    """
    upstreams = dict.fromkeys(
        route.upstream
        for contribution in snapshot.contributions
        if contribution.service == service
        for route in contribution.routes
        if route.upstream is not None
    )
    found = dict.fromkeys(
        one for upstream in upstreams for one in (upstream.ready if ready else upstream.endpoints)
    )
    return tuple(found)
