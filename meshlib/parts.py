"""Merging of what several publishers know into one snapshot.

Upstreams of different publishers are distinct, even when both have one of the key "shop:8080": the
publisher whose name sorts first keeps it, and the key of the other's gets its publisher as
`provider` ("shop:8080@PUBLISHER"), its endpoints' ids likewise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from meshlib.errors import ConfigurationError
from meshlib.model import Contribution, ForwardTo, Route, Snapshot, Upstream
from meshlib.upstream_key import UpstreamKey

__all__ = ["PartMerger"]


class PartMerger:
    """Merger of snapshots by publisher; remembers the upstreams that each names, as long as its
    snapshot is the same one.
    """

    def __init__(self) -> None:
        self._names: dict[str, tuple[Snapshot, frozenset[str]]] = {}

    def merge(self, parts: Mapping[str, Snapshot]) -> Snapshot:
        """One snapshot of all; that of a single publisher is returned as it is.

        `ConfigurationError` when two publishers use one contribution key. The result does not
        depend on the order of `parts`, and what does not give way is the very same object as
        before.
        """
        if len(parts) == 1:
            (whole,) = parts.values()
            return whole
        try:
            return Snapshot.merge(self._distinct(parts))
        except ValueError as error:
            hint = "begin the keys of each publisher's contributions with its name"
            raise ConfigurationError(f"{error}, of different publishers", hint=hint) from None

    def _distinct(self, parts: Mapping[str, Snapshot]) -> Iterator[Snapshot]:
        # By name: it is a key's alone, costs less to compare, and is what people read.
        taken: set[str] = set()
        for publisher in sorted(parts):
            snapshot = parts[publisher]
            known = self._names.get(publisher)
            if known is None or known[0] is not snapshot:
                routes = (r for contribution in snapshot.contributions for r in contribution.routes)
                names = frozenset(r.upstream.name for r in routes if r.upstream is not None)
                self._names[publisher] = known = (snapshot, names)
            names = known[1]
            clashing = taken & names
            taken |= names
            yield _renamed(snapshot, clashing, publisher, taken) if clashing else snapshot


def _renamed(snapshot: Snapshot, names: set[str], publisher: str, taken: set[str]) -> Snapshot:
    # Adds the new names to those that are `taken`. Contributions without one of these names stay
    # the same objects: that is what makes the next table cheap.
    made: dict[Upstream, Upstream] = {}
    keys: dict[UpstreamKey, UpstreamKey] = {}

    def free(old: UpstreamKey) -> UpstreamKey:
        # The publisher may itself know an upstream by the name that this one gets.
        key = old
        while key.name in taken:
            provider = f"{key.provider}@{publisher}" if key.provider else publisher
            key = replace(key, provider=provider)
        taken.add(key.name)
        return key

    def upstream(old: Upstream) -> Upstream:
        new = made.get(old)
        if new is None:
            # Sessions stick to an endpoint's id, and a merged route may have endpoints of both
            # publishers.
            endpoints = sorted(
                (replace(e, id=f"{e.id}@{publisher}") for e in old.endpoints),
                key=lambda e: (e.id, e.host, e.port),
            )
            key = keys.get(old.key)
            if key is None:
                keys[old.key] = key = free(old.key)
            made[old] = new = replace(old, key=key, endpoints=tuple(endpoints))
        return new

    def route(old: Route) -> Route:
        return (
            replace(old, action=ForwardTo(upstream(old.upstream)))
            if old.upstream is not None and old.upstream.name in names
            else old
        )

    def contribution(old: Contribution) -> Contribution:
        if any(r.upstream is not None and r.upstream.name in names for r in old.routes):
            return replace(old, routes=tuple(map(route, old.routes)))
        return old

    return Snapshot(tuple(map(contribution, snapshot.contributions)), names=snapshot.names)
