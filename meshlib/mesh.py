"""`Mesh`: what is known now, merged from all who publish, and the table compiled from it.

It opens nothing and has no clock: providers hand their snapshots over, data paths read `table` once per request, and
whoever knows the time says it. Upstreams of different publishers are different things, even when both call theirs
"shop:8080".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from meshlib.discovery.limits import DiscoveryLimits, within_limits
from meshlib.errors import ConfigurationError
from meshlib.model import Contribution, Route, Snapshot, Tenure, Upstream
from meshlib.ownership import Ledger, OwnershipRules
from meshlib.table import RoutingTable

__all__ = ["Draft", "Mesh"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Draft:
    """A publication that has been computed and has not taken effect; made by `Mesh.draft` for `Mesh.commit`."""

    parts: Mapping[str, Snapshot]
    gathering: bool
    ledger: Ledger
    now: float | None
    table: RoutingTable | None
    basis: tuple[object, ...]

    @property
    def changes_something(self) -> bool:
        """Whether the snapshot would be another one."""
        return self.table is not None


class Mesh:
    """Routes from code and from publishers as one `snapshot`, the `table` compiled from it, and `version`, which grows
    with each change.

    To be used from one thread: a provider that works in another one hands its snapshot over first. Whoever took `table`
    before a change keeps a consistent one; nothing under way is touched. `unmatched_status`, `retry_after` and
    `https_port` are those of `RoutingTable.build`. Routes and diagnostics beyond `limits` are left out, and a diagnostic
    says so (`meshlib.discovery.limits`).

    Of two publishers with an upstream of one name, the one whose name sorts first keeps it; the other's becomes
    "NAME@PUBLISHER", its endpoints likewise. So the result is the same in whatever order they published.

    Whose the names are is settled with each change by `rules` (`meshlib.ownership`) and travels in `snapshot.tenures`.
    While each publisher has published once at most, age decides, as if all had come together; from then on, or from
    `confirm`, a name stays with who had it first. `now`, in seconds since the epoch, is the time that was told last where
    it is left out; a mesh that is never told the time keeps the names of owners that have gone until they are
    withdrawn or released. A snapshot that has tenures already, as that of a worker's supervisor, is taken as it is.

    `on_error` is called with what a subscriber raises. Without it, all subscribers are called first, and then an
    `ExceptionGroup` of what they raised leaves the method that changed something; the change stands.
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
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self.version = 0
        self.on_error = on_error
        self._limits = limits or DiscoveryLimits()
        self._unmatched_status = unmatched_status
        self._retry_after = retry_after
        self._https_port = https_port
        self._restored = self._ledger = Ledger(rules)
        self._now: float | None = None
        self._gathering = True
        self._held = False
        self._parts: Mapping[str, Snapshot] = {"": snapshot} if snapshot else {}
        self._names: dict[str, tuple[Snapshot, frozenset[str]]] = {}  # of upstreams, by publisher
        self._subscribers: dict[object, Callable[[Mesh], None]] = {}
        first = within_limits(snapshot or Snapshot(), self._limits)
        if first.tenures is None:
            self._ledger = self._restored.updated(first.contributions, _seconds(None))
            first = replace(first, tenures=self._ledger.tenures)
        self.snapshot = first
        self.table = self._build(first, None)

    def __repr__(self) -> str:
        return f"<Mesh version {self.version} of {', '.join(filter(None, self._parts)) or 'nobody'}: {self.table!r}>"

    def publish(self, name: str, snapshot: Snapshot, *, now: float | None = None) -> bool:
        """Replace what the publisher `name` knows. False when the whole is equal to before; then nobody is told.

        Only what changed is compiled anew. `ConfigurationError` when two publishers use one contribution key; then
        everything stays as it was.
        """
        return self.commit(self.draft(name, snapshot, now=now))

    def withdraw(self, name: str = "", *, now: float | None = None) -> bool:
        """Forget the publisher `name` ("": what the constructor was given), what it published and the names that were its
        services'. False when nothing changed."""
        gone = self._parts.get(name)
        if gone is None:
            return False
        parts = {other: snapshot for other, snapshot in self._parts.items() if other != name}
        freed = {route.claimed_name for route in gone.routes}
        merged = self._merged(parts)
        return self.commit(self._drafted(merged, parts, self._gathering, self._ledger, now, self._basis, freed))

    def draft(self, name: str, snapshot: Snapshot, *, now: float | None = None) -> Draft:
        """What `publish` would do, computed and not done. Changes nothing, so that another thread may do it."""
        basis = self._basis  # first of all: what takes effect from here on makes the draft a stale one
        before = self._parts.get(name)
        if before == snapshot and before.tenures == snapshot.tenures:
            return Draft(self._parts, self._gathering, self._ledger, self._now, None, basis)
        # What is given in code is no deployment that came too early.
        gathering = self._gathering and (before is None or self._held or not name)
        parts = {**self._parts, name: snapshot}
        return self._drafted(self._merged(parts), parts, gathering, self._ledger, now, basis)

    def is_fresh(self, draft: Draft) -> bool:
        """Whether nothing has taken effect since the draft was begun, so that `commit` would accept it."""
        return all(map(operator.is_, draft.basis, self._basis))

    def commit(self, draft: Draft) -> bool:
        """Let a draft take effect. False when it changes nothing; ValueError when it is not fresh any more."""
        if not self.is_fresh(draft):
            raise ValueError("something else was published since this draft was begun; make another one")
        self._parts, self._gathering, self._ledger, self._now = draft.parts, draft.gathering, draft.ledger, draft.now
        if draft.table is None:
            return False
        self.snapshot, self.table = draft.table.snapshot, draft.table
        self.version += 1
        failures: list[Exception] = []
        report = self.on_error or failures.append
        for callback in list(self._subscribers.values()):
            try:
                callback(self)
            except Exception as error:  # noqa: BLE001 - the change has happened: all others must hear of it
                report(error)
        if failures:
            raise ExceptionGroup(f"subscribers failed on version {self.version} of the mesh", failures)
        return True

    def restore(self, tenures: Iterable[Tenure]) -> None:
        """Begin with the names that were recorded earlier; to be called before anything is published.

        From here on `confirm` alone ends the time in which age decides about names that are not recorded.
        """
        self._restored = self._ledger = Ledger(self._ledger.rules, tenures)
        self._gathering = self._held = True

    @property
    def tenures(self) -> tuple[Tenure, ...]:
        """Whose the names are, in the order in which they were recorded; those of `restore` before the first publication, too."""
        return tuple((self.snapshot.tenures or self._ledger.tenures).values())

    @property
    def parts(self) -> Mapping[str, Snapshot]:
        """What each publisher published last."""
        return dict(self._parts)

    def confirm(self) -> None:
        """Take what has been published for what there is: whoever comes later finds its names taken."""
        self._gathering = self._held = False

    def settle(self, *, now: float) -> bool:
        """Free the names that have been kept long enough by `now`. False when nothing changed."""
        return self.commit(self._drafted(self.snapshot, self._parts, self._gathering, self._ledger, now, self._basis))

    def release(self, names: Iterable[str], *, now: float | None = None) -> bool:
        """Take names from their owners, as `Ledger.released`. False when nothing changed."""
        self.confirm()
        ledger = self._ledger.released(names, _seconds(self._now if now is None else now))
        return self.commit(self._drafted(self.snapshot, self._parts, False, ledger, now, self._basis))

    def subscribe(self, callback: Callable[[Mesh], None]) -> Callable[[], None]:
        """Have `callback` called after each change, in the order of subscription; returns what ends that (any number of times).

        What it raises keeps no other from being called (`on_error`). It must not publish.
        """
        key = object()
        self._subscribers[key] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    @property
    def _basis(self) -> tuple[object, ...]:
        # What a draft is made from; each of them is replaced, never changed.
        return self._parts, self._ledger, self._gathering, self._held, self.table

    def _drafted(
        self,
        merged: Snapshot,
        parts: Mapping[str, Snapshot],
        gathering: bool,
        ledger: Ledger,
        now: float | None,
        basis: tuple[object, ...],
        freed: Iterable[str] = (),
    ) -> Draft:
        now = self._now if now is None else now
        settled = merged
        if merged is self.snapshot or merged.tenures is None:
            ledger = (self._restored if gathering else ledger).updated(merged.contributions, _seconds(now))
            unused = [name for name in freed if name in ledger.tenures and ledger.tenures[name].left]
            if unused:
                ledger = ledger.released(unused, _seconds(now))
            settled = replace(merged, tenures=ledger.tenures)
        if settled == self.snapshot and settled.tenures == self.snapshot.tenures:
            return Draft(parts, gathering, ledger, now, None, basis)
        return Draft(parts, gathering, ledger, now, self._build(settled, self.table), basis)

    def _merged(self, parts: Mapping[str, Snapshot]) -> Snapshot:
        if len(parts) == 1:
            (whole,) = parts.values()
        else:
            try:
                whole = Snapshot.merge(self._distinct(parts))
            except ValueError as error:
                hint = "begin the keys of each publisher's contributions with its name"
                raise ConfigurationError(f"{error}, of different publishers", hint=hint) from None
        return within_limits(whole, self._limits)

    def _distinct(self, parts: Mapping[str, Snapshot]) -> Iterator[Snapshot]:
        taken: set[str] = set()
        for publisher in sorted(parts):
            snapshot = parts[publisher]
            known = self._names.get(publisher)
            if known is None or known[0] is not snapshot:
                routes = (route for contribution in snapshot.contributions for route in contribution.routes)
                names = frozenset(route.upstream.name for route in routes if route.upstream is not None)
                self._names[publisher] = known = (snapshot, names)
            names = known[1]
            clashing = taken & names
            taken |= names
            yield _renamed(snapshot, clashing, publisher) if clashing else snapshot

    def _build(self, snapshot: Snapshot, previous: RoutingTable | None) -> RoutingTable:
        return RoutingTable.build(
            snapshot,
            previous,
            unmatched_status=self._unmatched_status,
            retry_after=self._retry_after,
            https_port=self._https_port,
            rules=self._ledger.rules,
        )


def _seconds(now: float | None) -> int:
    # A tenure that ended at 0 would be one that has not ended.
    return max(int(now), 1) if now is not None else 1


def _renamed(snapshot: Snapshot, names: set[str], publisher: str) -> Snapshot:
    # Contributions without one of these names stay the same objects: that is what makes the next table cheap.
    made: dict[Upstream, Upstream] = {}

    def upstream(old: Upstream) -> Upstream:
        new = made.get(old)
        if new is None:
            # Sessions stick to an endpoint's id, and a merged route may have endpoints of both publishers.
            endpoints = sorted((replace(e, id=f"{e.id}@{publisher}") for e in old.endpoints), key=lambda e: (e.id, e.host, e.port))
            made[old] = new = replace(old, name=f"{old.name}@{publisher}", endpoints=tuple(endpoints))
        return new

    def route(old: Route) -> Route:
        return replace(old, upstream=upstream(old.upstream)) if old.upstream is not None and old.upstream.name in names else old

    def contribution(old: Contribution) -> Contribution:
        if any(r.upstream is not None and r.upstream.name in names for r in old.routes):
            return replace(old, routes=tuple(map(route, old.routes)))
        return old

    return Snapshot(tuple(map(contribution, snapshot.contributions)))
