"""Ledger of names: the recorded owner of each, and its successor when the claims change.

The rules are those of `meshlib.ownership`. The cost is linear in the number of changes, and in that
of the names that somebody claims without getting them, which are checked each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress, count
from operator import is_not
from typing import Final, NamedTuple

from meshlib.model import Contribution, Tenure
from meshlib.ownership import OwnershipRules, admits, right_of

__all__ = ["Ledger", "changes"]

Age = tuple[bool, int, str]


class _Asker(NamedTuple):
    age: Age
    owner: str
    networks: tuple[str, ...]
    guests: tuple[str, ...]


def _guests(askers: Iterable[_Asker]) -> tuple[str, ...]:
    return tuple(sorted({guest for asker in askers for guest in asker.guests}))


def _nobody(owner: str) -> _Asker:
    return _Asker((True, 0, ""), owner, (), ())


def changes(
    old: tuple[Contribution, ...], new: tuple[Contribution, ...]
) -> tuple[list[Contribution], list[Contribution]]:
    """The contributions of `old` whose claims are gone or changed, and the new or changed ones of
    `new`.
    """
    # By identity first: providers reuse unchanged objects, and then ten thousand comparisons cost
    # less than a millisecond.
    left, right = _unlike(old, new)
    left_ids, right_ids = set(map(id, left)), set(map(id, right))
    gone = {c.key: c for c in left if id(c) not in right_ids}
    come = {c.key: c for c in right if id(c) not in left_ids}
    for key in [
        key
        for key, contribution in come.items()
        if key in gone and _claims_alike(contribution, gone[key])
    ]:
        del gone[key], come[key]
    return list(gone.values()), list(come.values())


def _unlike(
    old: tuple[Contribution, ...], new: tuple[Contribution, ...]
) -> tuple[Sequence[Contribution], Sequence[Contribution]]:
    # Both are in order of their keys, so nearly all are at the same index, counted from the
    # beginning or from the end.
    if old is new:
        return (), ()
    most = min(len(old), len(new))
    first = next(compress(count(), map(is_not, old, new)), most)
    last = next(compress(count(), map(is_not, reversed(old), reversed(new))), most)
    last = min(last, most - first)
    left, right = old[first : len(old) - last], new[first : len(new) - last]
    if len(left) != len(right):
        return left, right
    differing = list(map(is_not, left, right))
    return list(compress(left, differing)), list(compress(right, differing))


def _claims_alike(left: Contribution, right: Contribution) -> bool:
    return _claims(left) == _claims(right)


def _claims(one: Contribution) -> tuple[object, ...]:
    return one.created_at, one.service, one.owner, one.networks, one.routes


class Ledger:
    """Record of every name with an owner, and of the claims to it. Immutable: `updated` and
    `released` return the next one.

    `tenures` are those that an earlier ledger ended with: an owner that still claimed a name then
    (`left` 0) is assumed to have claimed it until the first `updated`.
    """

    __slots__ = (
        "_claims",
        "_contributions",
        "_counts",
        "_pending",
        "_unclaimed",
        "_unverified",
        "rules",
        "tenures",
    )

    def __init__(self, rules: OwnershipRules | None = None, tenures: Iterable[Tenure] = ()) -> None:
        self.rules: Final = rules or OwnershipRules()
        self.tenures: dict[str, Tenure] = {tenure.name: tenure for tenure in tenures}
        self._contributions: tuple[Contribution, ...] = ()
        self._claims: dict[str, dict[str, _Asker]] = {}
        self._pending: set[str] = set()
        self._unverified = frozenset(self.tenures)
        # In the order of `left`, so that the first to be dropped comes first.
        unclaimed = sorted(
            (tenure.left, tenure.name) for tenure in self.tenures.values() if tenure.left
        )
        self._unclaimed: dict[str, None] = {name: None for _, name in unclaimed}
        self._counts = Counter(tenure.owner for tenure in self.tenures.values())

    def __repr__(self) -> str:
        return f"<Ledger of {len(self.tenures)} names, {len(self._unclaimed)} unused>"

    def updated(self, contributions: tuple[Contribution, ...], now: int) -> Ledger:
        """The ledger after a change of claims, `now` in seconds since the epoch; this one where
        nothing changed.
        """
        gone, come = changes(self._contributions, contributions)
        oldest = next(iter(self._unclaimed), None)
        due = oldest is not None and self.tenures[oldest].left + self.rules.keep <= now
        if not (gone or come or due or self._unverified):
            return self
        step = _Step(self, now)
        step.replace_claims(gone, come)
        step.settle()
        return step.ledger(contributions)

    def released(self, names: Iterable[str], now: int) -> Ledger:
        """The ledger after `names` were taken from their owners, each with the wildcard below it:
        another claimant has it now; without one, whoever claims it first.
        """
        step = _Step(self, now)
        for name in names:
            step.release(name)
        step.settle()
        return step.ledger(self._contributions)


class _Step:
    """Change of one ledger into the next."""

    def __init__(self, before: Ledger, now: int) -> None:
        self._before = before
        self._rules = before.rules
        self._now = now
        self._is_changed = False
        self._claims = dict(before._claims)
        self._tenures = dict(before.tenures)
        self._pending = set(before._pending)
        self._unclaimed = dict(before._unclaimed)
        self._counts = Counter(before._counts)
        self._touched = set(before._unverified)
        # the owner with the most names, once known
        self._hoarder: str | None = None
        self._spare: dict[str, list[str]] | None = (
            None  # unused names by owner, the oldest last; made when there is no room
        )

    def ledger(self, contributions: tuple[Contribution, ...]) -> Ledger:
        made = Ledger(self._rules)
        # Where it is equal, it is the same object: then nobody has to look for changes in it.
        made.tenures = self._tenures if self._is_changed else self._before.tenures
        made._contributions, made._claims = contributions, self._claims
        made._pending, made._unclaimed, made._counts = self._pending, self._unclaimed, self._counts
        return made

    def replace_claims(self, gone: Iterable[Contribution], come: Iterable[Contribution]) -> None:
        fresh: set[str] = set()  # names whose claims are a copy already

        def askers(name: str) -> dict[str, _Asker]:
            if name not in fresh:
                fresh.add(name)
                self._claims[name] = dict(self._claims.get(name, ()))
            return self._claims[name]

        for contribution in gone:
            for route in contribution.routes:
                askers(route.claimed_name).pop(contribution.key, None)
        for contribution in come:
            age = (contribution.created_at == 0, contribution.created_at, contribution.key)
            guests: dict[str, list[str]] = {}
            for route in contribution.routes:
                guests.setdefault(route.claimed_name, []).extend(route.options.share_with)
            for name, wanted in guests.items():
                asker = _Asker(
                    age, contribution.owner, contribution.networks, tuple(sorted(set(wanted)))
                )
                askers(name)[contribution.key] = asker
        for name in fresh:
            if not self._claims[name]:
                del self._claims[name]
        self._touched |= fresh

    def release(self, name: str) -> None:
        tenure = self._tenures.get(name)
        if tenure is None:
            return
        for released in (name, f"*.{name}"):
            held = self._tenures.get(released)
            if held is None or held.owner != tenure.owner:
                continue
            self._drop(released)
            others = [
                (a.age, a.owner)
                for a in self._claims.get(released, {}).values()
                if a.owner != held.owner
            ]
            for _, owner in sorted(others):
                if self._may_have(released, owner):
                    self._grant(released, owner)
                    break
            self._touched.add(released)

    def settle(self) -> None:
        for name in sorted(self._touched):
            self._look(name)
        deadline = self._now - self._rules.keep
        for name in list(self._unclaimed):
            if self._tenures[name].left > deadline:
                break
            self._drop(name)
        self._spare = None
        wanted: list[tuple[Age, str, str]] = []
        for name in self._pending:
            first: dict[str, Age] = {}
            for asker in self._claims[name].values():
                if self._is_granted(name, asker.owner, asker.networks):
                    first[asker.owner] = min(first.get(asker.owner, asker.age), asker.age)
            wanted += [(age, name, owner) for owner, age in first.items()]
        for _, name, owner in sorted(wanted):
            if name not in self._tenures and self._may_have(name, owner):
                self._grant(name, owner)

    def _look(self, name: str) -> None:
        """Check whether the owner of `name` still claims it."""
        askers = self._claims.get(name, {})
        tenure = self._tenures.get(name)
        if tenure is None:
            (self._pending.add if askers else self._pending.discard)(name)
            return
        own = [asker for asker in askers.values() if asker.owner == tenure.owner]
        # Without a present claim of the owner, only its name can be compared with the operator's
        # rule.
        if not any(
            self._is_granted(name, asker.owner, asker.networks)
            for asker in own or [_nobody(tenure.owner)]
        ):
            self._drop(name)
        elif own:
            guests = _guests(own)
            if tenure.left or guests != tenure.guests:
                self._record(tenure._replace(left=0, guests=guests))
            self._unclaimed.pop(name, None)
        elif not tenure.left:
            self._record(tenure._replace(left=self._now))
            self._unclaimed[name] = None

    def _is_granted(self, name: str, owner: str, networks: tuple[str, ...]) -> bool:
        if not self._rules.owners:
            return True
        grants = right_of(name, {}, self._rules).grants
        return grants is None or admits(grants, owner, networks)

    def _may_have(self, name: str, owner: str) -> bool:
        right = right_of(name, self._tenures, self._rules)
        return right.grants is not None or right.tenure is None or right.tenure.owner == owner

    def _grant(self, name: str, owner: str) -> None:
        if not self._has_room(owner):
            return
        own = [asker for asker in self._claims[name].values() if asker.owner == owner]
        self._record(Tenure(name, owner, self._now, 0, _guests(own)))
        self._counts[owner] += 1
        self._hoarder = None
        self._pending.discard(name)

    def _record(self, tenure: Tenure) -> None:
        self._is_changed = True
        self._tenures[tenure.name] = tenure

    def _drop(self, name: str) -> None:
        self._is_changed = True
        owner = self._tenures.pop(name).owner
        self._counts[owner] -= 1
        self._hoarder = None
        if not self._counts[owner]:
            del self._counts[owner]
        self._unclaimed.pop(name, None)
        if name in self._claims:
            self._pending.add(name)

    def _has_room(self, owner: str) -> bool:
        if self._counts[owner] >= self._rules.max_names_per_owner:
            return self._evict(owner)
        if len(self._tenures) < self._rules.max_names:
            return True
        if self._evict(owner):
            return True
        # The owner with the most names makes room, and only for one with fewer, so that a flood of
        # names evicts nobody else's.
        if self._hoarder is None:
            self._hoarder = max(self._counts, key=lambda one: (self._counts[one], one))
        hoarder = self._hoarder
        return self._counts[hoarder] > self._counts[owner] + 1 and self._evict(hoarder)

    def _evict(self, owner: str) -> bool:
        if self._spare is None:
            self._spare = {}
            for name in reversed(self._unclaimed):
                self._spare.setdefault(self._tenures[name].owner, []).append(name)
        spare = self._spare.get(owner)
        if not spare:
            return False
        self._drop(spare.pop())
        return True
