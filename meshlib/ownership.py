"""Ownership of names: a name belongs to the owner who had it first, whatever comes and goes after
that.

A *name* is the object of routes: a host, a wildcard, any host (""), or a port of the gateway
("tcp://:5432"). An *owner* is one hand that deploys: a stack, a Compose project, a file, else a
Swarm service or a container (`Contribution.owner`). A host belongs to its owner with all paths,
redirects and `sni://`, and so does the wildcard below it: "shop.example.com" covers
"*.shop.example.com". A wildcard covers the hosts below it that nobody had before. "" covers nothing
else.

When nothing is recorded, the oldest contribution has a name first; from then on the record
(`Tenure`) decides, and age does not. A name that its owner has not claimed for
`OwnershipRules.keep` seconds is free. `meshlib.ledger` keeps the record; `meshlib.table.access`
applies it to the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from meshlib.model import Tenure

__all__ = [
    "KINDS",
    "OwnershipRules",
    "Right",
    "admits",
    "changed_tenures",
    "covering",
    "owner_text",
    "right_of",
]

# Words that may precede the colon of a grant. All but the last are the first word of an owner.
KINDS: Final = ("stack", "project", "service", "container", "file", "network")


@dataclass(frozen=True, slots=True)
class OwnershipRules:
    """Rules set by the operator.

    `sharing`: the part of a host that others may have: nothing ("owner"), paths that its owner does
    not claim ("paths"), or all that HRM gave them ("merge"). `owners` lists who alone may have a
    name ("*": every other host), in the form that `admits` reads. `keep`: seconds that an unused
    name is kept. At most `max_names` are recorded, `max_names_per_owner` of them for one owner: an
    owner over its share loses its own unused ones first, and never costs another anything.
    """

    sharing: Literal["owner", "paths", "merge"] = "owner"
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keep: int = 7 * 86400
    max_names: int = 100_000
    max_names_per_owner: int = 20_000


class Right(NamedTuple):
    """Right to a name: the `tenure` that covers it (None: nobody's), or the owners admitted by the
    operator.

    `grants` is None without the operator's rule, else `pattern` is the key of
    `OwnershipRules.owners` that has it.
    """

    tenure: Tenure | None
    grants: tuple[str, ...] | None = None
    pattern: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """The part that a table depends on, without the times at which the owner came or left."""
        tenure = self.tenure
        return (
            (self.grants, tenure.owner, tenure.guests, tenure.name)
            if tenure is not None
            else (self.grants,)
        )


def owner_text(owner: str) -> str:
    """An owner in text for people."""
    return owner or "routes given in code"


def admits(grants: Iterable[str], owner: str, networks: Iterable[str] = ()) -> bool:
    """Return whether one of `grants` means `owner`, or one of its networks.

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
    """The names that cover `name`, nearest first: itself, the host above a wildcard, the wildcards
    above.
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


def changed_tenures(old: Mapping[str, Tenure], new: Mapping[str, Tenure]) -> set[str]:
    """Names whose owner, or whose guests, differ between two records of tenures."""
    if old is new:
        return set()
    found = {name for name in old if name not in new}
    for name, tenure in new.items():
        before = old.get(name)
        if before is not tenure and (
            before is None or before.owner != tenure.owner or before.guests != tenure.guests
        ):
            found.add(name)
    return found


def right_of(name: str, tenures: Mapping[str, Tenure], rules: OwnershipRules) -> Right:
    """The right to `name`."""
    if rules.owners:
        for pattern in (*covering(name), *(() if "://" in name else ("*",))):
            grants = rules.owners.get(pattern)
            if grants is not None:
                return Right(tenures.get(name), grants, pattern)
    tenure = tenures.get(name)
    if tenure is None:
        tenure = next(filter(None, map(tenures.get, covering(name))), None)
    return Right(tenure)
