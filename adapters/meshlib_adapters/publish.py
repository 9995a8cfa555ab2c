"""The one mutable cell: what is known now. Providers publish into it, data paths read it once per request."""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from meshlib.discovery.limits import DiscoveryLimits, within_limits
from meshlib.model import Contribution, Route, Snapshot, Tenure, Upstream
from meshlib.ownership import Ledger, OwnershipRules
from meshlib.table import RoutingTable

__all__ = ["CurrentSnapshot"]

_logger = logging.getLogger(__name__)


# Routes that are compiled at once, in some milliseconds; more are compiled while requests go on. Contributions that are known cost
# little, but are looked at.
_AT_ONCE: Final = 300
_KNOWN_FOR_A_NEW: Final = 20
_TRIES: Final = 3


class _Draft(NamedTuple):
    """What a publication makes. `table` None: nothing has changed for anybody."""

    parts: dict[str, Snapshot]
    gathering: bool
    ledger: Ledger
    table: RoutingTable | None


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
        first = within_limits(snapshot or Snapshot(), self._limits)
        if first.tenures is None:
            self._ledger = self._restored.updated(first.contributions, int(clock()))
            first = replace(first, tenures=self._ledger.tenures)
        self.snapshot = first
        self.table = self._build(first, None)

    def __repr__(self) -> str:
        return f"<CurrentSnapshot version {self.version} of {', '.join(filter(None, self._parts)) or 'nobody'}: {self.table!r}>"

    def publish(self, provider_name: str, snapshot: Snapshot) -> bool:
        """Replace what one provider knows. False when the whole is equal to before, and then nothing happens.

        Only what changed is compiled anew. Raises ValueError when two providers use the same contribution key; then everything
        stays as it was.
        """
        return self._commit(self._draft(provider_name, snapshot))

    async def publish_apart(self, provider_name: str, snapshot: Snapshot) -> bool:
        """As `publish`, for the event loop's thread, which goes on meanwhile: what takes long is computed in another one.

        What else is published meanwhile is not lost: then it is computed once more, at last here.
        """
        import anyio.to_thread  # only who has an event loop of their own to keep free needs it

        for _ in range(_TRIES if self._takes_long(provider_name, snapshot) else 0):
            basis = self._basis
            draft = await anyio.to_thread.run_sync(self._draft, provider_name, snapshot)
            if all(map(operator.is_, basis, self._basis)):
                return self._commit(draft)
        return self.publish(provider_name, snapshot)

    def restore(self, tenures: Iterable[Tenure]) -> None:
        """Begin with the names that were recorded earlier; to be called before anything is published.

        From here on `confirm` alone ends the time in which age decides about names that are not recorded.
        """
        self._restored = self._ledger = Ledger(self._ledger.rules, tenures)
        self._gathering = self._held = True

    @property
    def tenures(self) -> tuple[Tenure, ...]:
        """Whose the names are, in the order in which they were recorded."""
        return tuple((self.snapshot.tenures or {}).values())

    @property
    def parts(self) -> Mapping[str, Snapshot]:
        """What each provider published last."""
        return dict(self._parts)

    def confirm(self) -> None:
        """What has been published is what there is: whoever comes later finds its names taken."""
        self._gathering = self._held = False

    def settle(self) -> bool:
        """Free the names that have been kept long enough. False when nothing changed."""
        return self._commit(self._compiled(self.snapshot, self._parts, self._gathering, self._ledger))

    def release(self, names: Iterable[str]) -> bool:
        """Take names from their owners, as `Ledger.released`. False when nothing changed."""
        self.confirm()
        ledger = self._ledger.released(names, int(self._clock()))
        return self._commit(self._compiled(self.snapshot, self._parts, False, ledger))

    @property
    def _basis(self) -> tuple[object, ...]:
        # What a draft is made from; each of them is replaced, never changed.
        return self._parts, self._ledger, self._gathering, self._held, self.table

    def _takes_long(self, provider_name: str, snapshot: Snapshot) -> bool:
        before = self._parts.get(provider_name)
        known = set(map(id, before.contributions)) if before is not None else set()
        new = sum(1 + len(item.routes) for item in snapshot.contributions if id(item) not in known)
        return new + len(snapshot.contributions) // _KNOWN_FOR_A_NEW > _AT_ONCE

    def _draft(self, provider_name: str, snapshot: Snapshot) -> _Draft | None:
        """What publishing this would make (None: nothing new). Changes nothing, so that another thread may do it."""
        before = self._parts.get(provider_name)
        if before == snapshot and before.tenures == snapshot.tenures:
            return None
        parts = {**self._parts, provider_name: snapshot}
        merged = within_limits(snapshot if len(parts) == 1 else Snapshot.merge(self._distinct(parts)), self._limits)
        return self._compiled(merged, parts, self._gathering and (before is None or self._held), self._ledger)

    def _compiled(self, merged: Snapshot, parts: dict[str, Snapshot], gathering: bool, ledger: Ledger) -> _Draft:
        settled = merged
        if merged is self.snapshot or merged.tenures is None:
            ledger = (self._restored if gathering else ledger).updated(merged.contributions, int(self._clock()))
            settled = replace(merged, tenures=ledger.tenures)
        if settled == self.snapshot and settled.tenures == self.snapshot.tenures:
            return _Draft(parts, gathering, ledger, None)
        return _Draft(parts, gathering, ledger, self._build(settled, self.table))

    def _commit(self, draft: _Draft | None) -> bool:
        if draft is None:
            return False
        self._parts, self._gathering, self._ledger = draft.parts, draft.gathering, draft.ledger
        if draft.table is None:
            return False
        self.snapshot, self.table = draft.table.snapshot, draft.table
        self.version += 1
        for callback in list(self._subscribers.values()):
            try:
                callback(self)
            except Exception:  # the change has happened: all others must hear of it
                _logger.exception("a subscriber failed on version %d", self.version)
        return True

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
