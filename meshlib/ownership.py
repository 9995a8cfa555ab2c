"""Who may ask for a name: it belongs to the owner who had it first, whatever comes and goes after
that.

A *name* is what routes ask for: a host, a wildcard, any host (""), or a port of the gateway
("tcp://:5432"). An *owner* is one hand that deploys: a stack, a Compose project, a file, else a
Swarm service or a container (`Contribution.owner`). A host belongs to its owner with all paths,
redirects and `sni://`, and so does the wildcard below it: "shop.example.com" covers
"*.shop.example.com". A wildcard covers the hosts below it that nobody had before. "" covers nothing
else.

When nothing is recorded, the oldest contribution has a name first; from then on the record
(`Tenure`) decides, and age does not. A name whose owner has not asked for it for
`OwnershipRules.keep` seconds is free. `Ledger` keeps the record; what the table makes of it is
`meshlib.table.access`.

Linear in what changed; names that are asked for in vain are looked at each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from operator import is_not
from typing import Final, Literal, NamedTuple

from meshlib.model import Contribution, Tenure

__all__ = [
    "KINDS",
    "Ledger",
    "OwnershipRules",
    "Right",
    "admits",
    "changes",
    "covering",
    "owner_text",
    "right_of",
]

# What may stand before the colon of a grant. All but the last are the first word of an owner.
KINDS: Final = ("stack", "project", "service", "container", "file", "network")

Age = tuple[bool, int, str]


@dataclass(frozen=True, slots=True)
class OwnershipRules:
    """What the operator decides.

    `sharing`: what others may have of a host: nothing ("owner"), paths that its owner does not ask
    for ("paths"), or all that HRM gave them ("merge"). `owners` says by name who alone may have it
    ("*": every other host), as `admits` reads it. `keep`: seconds that an unused name is kept for
    its owner. At most `max_names` are recorded, `max_names_per_owner` of them for one owner: an
    owner over its share loses its own unused ones first, and never costs another anything.
    """

    sharing: Literal["owner", "paths", "merge"] = "owner"
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keep: int = 7 * 86400
    max_names: int = 100_000
    max_names_per_owner: int = 20_000


class Right(NamedTuple):
    """Whose a name is: the `tenure` that covers it (None: nobody's), or who may have it by the
    operator's word.

    `grants` is None without such a word, else `pattern` is the key of `OwnershipRules.owners` that
    has it.
    """

    tenure: Tenure | None
    grants: tuple[str, ...] | None = None
    pattern: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What a table depends on: not when the owner came or left."""
        tenure = self.tenure
        return (
            (self.grants, tenure.owner, tenure.guests, tenure.name)
            if tenure is not None
            else (self.grants,)
        )


class _Asker(NamedTuple):
    age: Age
    owner: str
    networks: tuple[str, ...]
    guests: tuple[str, ...]


def _guests(askers: Iterable[_Asker]) -> tuple[str, ...]:
    return tuple(sorted({guest for asker in askers for guest in asker.guests}))


def _nobody(owner: str) -> _Asker:
    return _Asker((True, 0, ""), owner, (), ())


def owner_text(owner: str) -> str:
    """An owner for people."""
    return owner or "routes given in code"


def admits(grants: Iterable[str], owner: str, networks: Iterable[str] = ()) -> bool:
    """Whether one of `grants` means `owner`, or one of its networks.

    A grant is "KIND:NAME" with one of `KINDS`; a NAME alone means the stack or the Compose project
    of that name.
    """
    for grant in grants:
        kind, colon, name = grant.partition(":")
        if not colon:
            if owner in (f"stack {grant}", f"project {grant}"):
                return True
        elif name in networks if kind == "network" else owner == f"{kind} {name}":
            return True
    return False


def covering(name: str) -> Iterator[str]:
    """The names that `name` is a part of, nearest first: itself, the host that a wildcard is below
    of, the wildcards above.
    """
    yield name
    if ":" in name:
        return
    if name.startswith("*."):
        yield name[2:]
    dot = name.find(".", 2 if name.startswith("*.") else 0)
    while dot > 0:
        yield f"*{name[dot:]}"
        dot = name.find(".", dot + 1)


def right_of(name: str, tenures: Mapping[str, Tenure], rules: OwnershipRules) -> Right:
    """Whose `name` is."""
    if rules.owners:
        for pattern in (*covering(name), *(() if "://" in name else ("*",))):
            grants = rules.owners.get(pattern)
            if grants is not None:
                return Right(tenures.get(name), grants, pattern)
    tenure = tenures.get(name)
    if tenure is None:
        tenure = next(filter(None, map(tenures.get, covering(name))), None)
    return Right(tenure)


def changes(
    old: tuple[Contribution, ...], new: tuple[Contribution, ...]
) -> tuple[list[Contribution], list[Contribution]]:
    """The contributions of `old` whose claims are gone or others now, and those of `new` that are
    new or other ones.
    """
    # By identity first: providers reuse what did not change, and then ten thousand comparisons cost
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
    # Both are in order of their keys, so nearly all stand at the same place, seen from the
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
    """Every name that somebody has, and who asks for which. Never changed; `updated` and `released`
    make the next one.

    `tenures` are those of an earlier ledger, as they were kept: who asked for its name then (`left`
    0) is taken to have done so until the first `updated`.
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
        # In the order of `left`, so that what has to go stands first.
        unclaimed = sorted(
            (tenure.left, tenure.name) for tenure in self.tenures.values() if tenure.left
        )
        self._unclaimed: dict[str, None] = {name: None for _, name in unclaimed}
        self._counts = Counter(tenure.owner for tenure in self.tenures.values())

    def __repr__(self) -> str:
        return f"<Ledger of {len(self.tenures)} names, {len(self._unclaimed)} unused>"

    def updated(self, contributions: tuple[Contribution, ...], now: int) -> Ledger:
        """The ledger after a change of what is asked for, `now` in seconds since the epoch; this
        one where nothing changed.
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
        who else asks for it has it now; where nobody else does, whoever asks first."""
        step = _Step(self, now)
        for name in names:
            step.release(name)
        step.settle()
        return step.ledger(self._contributions)


class _Step:
    """The making of one ledger out of another."""

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
        self._hoarder: str | None = None  # who has the most names; found when there is no room
        self._spare: dict[str, list[str]] | None = (
            None  # unused names by owner, the oldest last; made when there is no room
        )

    def ledger(self, contributions: tuple[Contribution, ...]) -> Ledger:
        made = Ledger(self._rules)
        # The same record where it says the same: then nobody has to look for what became of the
        # names.
        made.tenures = self._tenures if self._is_changed else self._before.tenures
        made._contributions, made._claims = contributions, self._claims
        made._pending, made._unclaimed, made._counts = self._pending, self._unclaimed, self._counts
        return made

    def replace_claims(self, gone: Iterable[Contribution], come: Iterable[Contribution]) -> None:
        fresh: set[str] = set()  # whose askers are a copy already

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
                guests.setdefault(route.claimed_name, []).extend(route.share_with)
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
        """See whether the owner of `name` asks for it still."""
        askers = self._claims.get(name, {})
        tenure = self._tenures.get(name)
        if tenure is None:
            (self._pending.add if askers else self._pending.discard)(name)
            return
        own = [asker for asker in askers.values() if asker.owner == tenure.owner]
        # Of an owner that does not ask now only its name can be compared with what the operator
        # says.
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
        # Whoever has the most makes room, and only for somebody with less: a flood of names evicts
        # itself.
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
