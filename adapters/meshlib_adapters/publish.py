"""The one mutable cell: what is known now. Providers publish into it, data paths read it once per request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from meshlib.discovery.limits import DiscoveryLimits, within_limits
from meshlib.model import Contribution, Route, Snapshot, Tenure, Upstream
from meshlib.ownership import Ledger, OwnershipRules
from meshlib.table import RoutingTable

__all__ = ["CurrentSnapshot"]

_logger = logging.getLogger(__name__)


class CurrentSnapshot:
    """Holds `snapshot` (of all providers), the `table` compiled from it, and `version`, which grows with each change.

    To be used from the event loop's thread alone: a provider that works in another thread hands its snapshot over first. Who
    took `table` before a change keeps a consistent one; nothing under way is touched.

    Upstreams of different providers are different things, even when both call theirs "shop:8080". Of those the provider whose name sorts
    first keeps the name; the others' become "shop:8080@PROVIDER", their endpoints likewise. So `snapshot` and `table` have each
    name once, and are the same in whatever order the providers came. The numbers are those of `RoutingTable.build`.

    What goes beyond `limits` on routes and diagnostics is left out, and told so (`meshlib.discovery.limits`).

    Whose the names are is settled with each change (`meshlib.ownership`, by `rules`) and travels in `snapshot.tenures`; a snapshot
    that has tenures already, as that of a worker's supervisor, is taken as it is. While each provider has published once at
    most, age decides, as if all had come together; from then on, or from `confirm`, what is recorded does. `clock` is `time.time`.
    """

    def __init__(
        self,
        snapshot: Snapshot | None = None,
        *,
        unmatched_status: int = 404,
        retry_after: int = 1,
        https_port: int = 443,
        limits: DiscoveryLimits | None = None,
        rules: OwnershipRules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits or DiscoveryLimits()
        self.version = 0
        self._unmatched_status = unmatched_status
        self._retry_after = retry_after
        self._https_port = https_port
        self._clock = clock
        self._restored = self._ledger = Ledger(rules)
        self._gathering = True
        self._held = False
        self._parts: dict[str, Snapshot] = {"": snapshot} if snapshot else {}
        self._names: dict[str, tuple[Snapshot, frozenset[str]]] = {}  # of upstreams, by provider
        self._subscribers: dict[object, Callable[[CurrentSnapshot], None]] = {}
        self.snapshot = self._settled(within_limits(snapshot or Snapshot(), self._limits))
        self.table = self._build(self.snapshot, None)

    def __repr__(self) -> str:
        return f"<CurrentSnapshot version {self.version} of {', '.join(filter(None, self._parts)) or 'nobody'}: {self.table!r}>"

    def publish(self, provider_name: str, snapshot: Snapshot) -> bool:
        """Replace what one provider knows. False when the whole is equal to before, and then nothing happens.

        Only what changed is compiled anew. Raises ValueError when two providers use the same contribution key; then everything
        stays as it was.
        """
        before = self._parts.get(provider_name)
        if before == snapshot and before.tenures == snapshot.tenures:
            return False
        parts = {**self._parts, provider_name: snapshot}
        merged = within_limits(snapshot if len(parts) == 1 else Snapshot.merge(self._distinct(parts)), self._limits)
        if before is not None and not self._held:
            self._gathering = False
        return self._take(merged, parts)

    def restore(self, tenures: Iterable[Tenure]) -> None:
        """Begin with the names that were recorded earlier; to be called before anything is published.

        From here on `confirm` alone ends the time in which age decides about names that are not recorded.
        """
        self._restored = self._ledger = Ledger(self._ledger.rules, tenures)
        self._gathering = self._held = True

    def confirm(self) -> None:
        """What has been published is what there is: whoever comes later finds its names taken."""
        self._gathering = self._held = False

    def settle(self) -> bool:
        """Free the names that have been kept long enough. False when nothing changed."""
        return self._take(self.snapshot, self._parts)

    def release(self, names: Iterable[str]) -> bool:
        """Take names from their owners, as `Ledger.released`. False when nothing changed."""
        self.confirm()
        self._ledger = self._ledger.released(names, int(self._clock()))
        return self._take(self.snapshot, self._parts)

    def _take(self, merged: Snapshot, parts: dict[str, Snapshot]) -> bool:
        settled = self._settled(replace(merged, tenures=None) if merged is self.snapshot else merged)
        if settled == self.snapshot and settled.tenures == self.snapshot.tenures:
            self._parts = parts
            return False
        table = self._build(settled, self.table)
        self._parts = parts
        self.snapshot, self.table = settled, table
        self.version += 1
        for callback in list(self._subscribers.values()):
            try:
                callback(self)
            except Exception:  # the change has happened: all others must hear of it
                _logger.exception("a subscriber failed on version %d", self.version)
        return True

    def _settled(self, snapshot: Snapshot) -> Snapshot:
        if snapshot.tenures is not None:
            return snapshot
        before = self._restored if self._gathering else self._ledger
        self._ledger = before.updated(snapshot.contributions, int(self._clock()))
        return replace(snapshot, tenures=self._ledger.tenures)

    def subscribe(self, callback: Callable[[CurrentSnapshot], None]) -> Callable[[], None]:
        """Have `callback` called after each change, in the order of subscription; returns what ends that (any number of times).

        What it raises is logged and keeps no other from being called. It must not publish.
        """
        key = object()
        self._subscribers[key] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def _distinct(self, parts: Mapping[str, Snapshot]) -> Iterator[Snapshot]:
        taken: set[str] = set()
        for provider in sorted(parts):
            snapshot = parts[provider]
            known = self._names.get(provider)
            if known is None or known[0] is not snapshot:
                routes = (route for contribution in snapshot.contributions for route in contribution.routes)
                names = frozenset(route.upstream.name for route in routes if route.upstream is not None)
                self._names[provider] = known = (snapshot, names)
            names = known[1]
            clashing = taken & names
            taken |= names
            yield _renamed(snapshot, clashing, provider) if clashing else snapshot

    def _build(self, snapshot: Snapshot, previous: RoutingTable | None) -> RoutingTable:
        return RoutingTable.build(
            snapshot,
            previous,
            unmatched_status=self._unmatched_status,
            retry_after=self._retry_after,
            https_port=self._https_port,
            rules=self._ledger.rules,
        )


def _renamed(snapshot: Snapshot, names: set[str], provider: str) -> Snapshot:
    # Contributions without one of these names stay the same objects: that is what makes the next table cheap.
    made: dict[Upstream, Upstream] = {}

    def upstream(old: Upstream) -> Upstream:
        new = made.get(old)
        if new is None:
            # Sessions stick to an endpoint's id, and a merged route may have endpoints of both providers.
            endpoints = sorted((replace(e, id=f"{e.id}@{provider}") for e in old.endpoints), key=lambda e: (e.id, e.host, e.port))
            made[old] = new = replace(old, name=f"{old.name}@{provider}", endpoints=tuple(endpoints))
        return new

    def route(old: Route) -> Route:
        return replace(old, upstream=upstream(old.upstream)) if old.upstream is not None and old.upstream.name in names else old

    def contribution(old: Contribution) -> Contribution:
        if any(r.upstream is not None and r.upstream.name in names for r in old.routes):
            return replace(old, routes=tuple(map(route, old.routes)))
        return old

    return Snapshot(tuple(map(contribution, snapshot.contributions)))
