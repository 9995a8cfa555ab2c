"""Docker's embedded DNS as look-ups in a snapshot: "shop", "tasks.shop", aliases, containers'
names, each in its network.

Docker answers a container by the networks that the container is on. Nobody here is on any network,
so whoever asks says the network, or the name is in one only. Nothing is asked of any DNS server.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshlib.errors import ConfigurationError
from meshlib.labels.findings import show
from meshlib.model import Snapshot
from meshlib.name_records import NameKind

__all__ = ["NameIndex", "resolve"]

_TASKS = "tasks."
# No DNS query can ask for a longer name (RFC 1035 2.3.4), so nobody has one.
_MAX_NAME = 253


class NameIndex:
    """The names of one snapshot. Building is one walk over its records, a look-up a few reads of a
    dictionary.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        # name -> network -> addresses; a dictionary is a set in order of insertion.
        names: dict[str, dict[str, dict[str, None]]] = {}
        for contribution in snapshot.contributions:
            for record in contribution.names:
                name = f"{_TASKS}{record.name}" if record.kind is NameKind.TASKS else record.name
                addresses = names.setdefault(name, {}).setdefault(record.network, {})
                addresses.update(dict.fromkeys(record.addresses))
        self._names = {
            name: {network: tuple(found) for network, found in by.items()}
            for name, by in names.items()
        }

    def resolve(self, name: str, network: str | None = None) -> tuple[str, ...]:
        """The addresses behind `name`, without repetition and in a stable order; () when nobody has
        it.

        `name`: a service, an alias or a container, "tasks.NAME" for the tasks of a service one by
        one; case and a dot at the end do not matter. With `network` only that network's names are
        answered. Without, "NAME.NETWORK" names the network too, where no whole name is like it.
        `ConfigurationError` when the name is in several networks with different answers.
        """
        asked = name.lower().removesuffix(".")
        if len(asked) > _MAX_NAME:
            return ()
        if network is not None:
            found = self._names.get(asked, {}).get(network)
            return (
                found
                if found is not None
                else self._names.get(asked.removesuffix(f".{network.lower()}"), {}).get(network, ())
            )
        by_network = self._names.get(asked)
        if by_network is None:
            by_network = self._in_named_network(asked)
        answers = set(by_network.values())
        if len(answers) > 1:
            raise ConfigurationError(
                f"{show(name)} is in several networks, with another answer in each: {', '.join(sorted(by_network))}",
                hint=f"say which, as in network={min(by_network)!r}",
            )
        return answers.pop() if answers else ()

    def _in_named_network(self, asked: str) -> dict[str, tuple[str, ...]]:
        # Both halves may have dots ("api.v1" in "net.prod"), so each of them is tried.
        return {
            network: found
            for rest, suffix in _splits(asked)
            for network, found in self._names.get(rest, {}).items()
            if network.lower() == suffix
        }


def resolve(snapshot: Snapshot, name: str, network: str | None = None) -> tuple[str, ...]:
    """`NameIndex(snapshot).resolve(name, network)`, for who asks once."""
    return NameIndex(snapshot).resolve(name, network)


def _splits(asked: str) -> Iterator[tuple[str, str]]:
    at = asked.find(".")
    while at >= 0:
        yield asked[:at], asked[at + 1 :]
        at = asked.find(".", at + 1)
