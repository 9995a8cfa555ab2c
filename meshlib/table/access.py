"""Admission of claims on a name: those of its owner, and of whom the owner or the operator lets in.
The services of the others have a diagnostic.

    TBL004  error  the name belongs to another owner
    TBL005  error  the operator's `routing.owners` reserves the name for others

A claim that is not admitted changes nothing for anybody: it is kept beside the site, to be looked
at again when the name's owner changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from meshlib.labels.values import OptionValueError, read_share_with
from meshlib.model import Diagnostic, Scheme, Severity
from meshlib.ownership import OwnershipRules, Right, admits, owner_text
from meshlib.table.compile import Claim

__all__ = ["Barred", "Divide", "divide", "gets_the_rest", "grant_for"]

# What a client trusts to speak for the whole host (RFC 8615): certificates are issued on the word
# of acme-challenge.
_WELL_KNOWN: Final = "/.well-known"
_SHOWN_NETWORKS: Final = 5


class Barred(NamedTuple):
    """Claims on one name that are not admitted, and the diagnostics of their services: one for
    each, however many routes it wants.
    """

    claims: tuple[Claim, ...]
    diagnostics: tuple[Diagnostic, ...]


# The admitted claims on a name, each with its place, and the others.
Divide = Callable[[str, Sequence[Claim]], tuple[list[Claim], Barred | None]]


def divide(
    name: str, claims: Sequence[Claim], right: Right, rules: OwnershipRules
) -> tuple[list[Claim], Barred | None]:
    """The admitted claims on `name`, in any order, each with its place; and those that are not
    admitted (None: all are).

    A name without a recorded owner belongs to the owner of the oldest claim.
    """
    if right.grants is None and rules.sharing == "merge":
        return [_placed(claim, 0) for claim in claims], None
    owner = right.tenure.owner if right.tenure is not None else ""
    if right.tenure is None and claims:
        entitled = [
            claim
            for claim in claims
            if right.grants is None or admits(right.grants, claim.owner, claim.networks)
        ]
        owner = min(entitled or claims, key=lambda claim: claim.rank).owner
    guests = (
        right.grants
        if right.grants is not None
        else right.tenure.guests
        if right.tenure is not None
        else ()
    )
    admitted: list[Claim] = []
    strangers: list[Claim] = []
    for claim in claims:
        if claim.owner == owner and (
            right.grants is None or admits(right.grants, claim.owner, claim.networks)
        ):
            admitted.append(_placed(claim, 0))
        elif guests and admits(guests, claim.owner, claim.networks):
            admitted.append(_placed(claim, 1))
        else:
            strangers.append(claim)
    if strangers and rules.sharing == "paths" and right.grants is None:
        strangers = _with_paths(admitted, strangers)
    if not strangers:
        return admitted, None
    strangers.sort(key=lambda claim: claim.rank)
    return admitted, Barred(tuple(strangers), _refusals(name, strangers, owner, right))


def gets_the_rest(host: Claim, right: Right, rest: Claim, rules: OwnershipRules) -> bool:
    """Whether a wildcard or the catch-all gets what the routes of a host below it leave over:
    paths, or another scheme.

    `host` and `rest` are the first claims of both; `right` is the right to the host. Between routes
    of one owner: yes. Another owner gets it only where it is let in to the host as well.
    """
    if right.grants is not None:
        return rest.owner == host.owner or admits(right.grants, rest.owner, rest.networks)
    if rules.sharing == "merge":
        return True
    owner = right.tenure.owner if right.tenure is not None else host.owner
    return rest.owner == owner or (
        right.tenure is not None and admits(right.tenure.guests, rest.owner, rest.networks)
    )


def _placed(claim: Claim, place: int) -> Claim:
    return claim if claim.place == place else claim._replace(place=place)


def _with_paths(admitted: list[Claim], strangers: list[Claim]) -> list[Claim]:
    """Add to `admitted` the paths that strangers may have; returns the others. A path belongs to
    one owner, that of the oldest claim.
    """
    taken: dict[str, str | None] = {claim.route.path: None for claim in admitted}
    left: list[Claim] = []
    for claim in sorted(strangers, key=lambda claim: claim.rank):
        path = claim.route.path
        open_to_all = (
            claim.route.scheme is Scheme.HTTP
            and path != "/"
            and f"{path}/".partition(f"{_WELL_KNOWN}/")[0] != ""
        )
        if open_to_all and taken.setdefault(path, claim.owner) == claim.owner:
            admitted.append(_placed(claim, 2))
        else:
            left.append(claim)
    return left


def grant_for(owner: str) -> str:
    """The grant that lets `owner` in."""
    return owner.replace(" ", ":", 1)


def _refusals(
    name: str, strangers: Sequence[Claim], owner: str, right: Right
) -> tuple[Diagnostic, ...]:
    first: dict[str, Claim] = {}
    count: dict[str, int] = {}
    for claim in strangers:
        first.setdefault(claim.contribution, claim)
        count[claim.contribution] = count.get(claim.contribution, 0) + 1
    make = _refused if right.grants is None else _not_granted
    return tuple(make(name, claim, count[key], owner, right) for key, claim in first.items())


def _refused(name: str, claim: Claim, count: int, owner: str, right: Right) -> Diagnostic:
    shown = name or "any host"
    has = right.tenure.name if right.tenure is not None else name
    why = "which had it first" if has == name else f"which has {has}"
    message = (
        f"{claim.route.name}{_more(count)} is not routed: "
        f"{shown} belongs to {owner_text(owner)}, {why};"
        f" this service belongs to {owner_text(claim.owner)}"
    )
    is_port = claim.route.listening_port is not None
    opt_in = ""
    if not is_port and _can_share_with(claim.owner):
        opt_in = f"have its owner add share_with={grant_for(claim.owner)} to its label, or "
    hint = (
        f"choose another {'port' if is_port else 'host'}, or {opt_in}"
        "ask the operator for it (routing.owners, routing.sharing)"
    )
    return Diagnostic("TBL004", Severity.ERROR, claim.service, claim.route.label, message, hint)


def _can_share_with(owner: str) -> bool:
    # A label cannot name the program, a file, or a project that is called like nothing in Docker.
    try:
        return read_share_with(grant_for(owner)) == (grant_for(owner),)
    except OptionValueError:
        return False


def _not_granted(name: str, claim: Claim, count: int, owner: str, right: Right) -> Diagnostic:
    networks = ", ".join(claim.networks[:_SHOWN_NETWORKS]) + (
        ", ..." if len(claim.networks) > _SHOWN_NETWORKS else ""
    )
    where = f" on {networks}" if networks else ""
    message = (
        f"{claim.route.name}{_more(count)} is not routed: routing.owners reserves "
        f"{right.pattern or name} for"
        f" {', '.join(right.grants or ()) or 'nobody'}; this service belongs to "
        f"{owner_text(claim.owner)}{where}"
    )
    hint = "choose another name"
    if claim.owner:
        hint += f", or ask the operator to add {grant_for(claim.owner)} there"
    return Diagnostic("TBL005", Severity.ERROR, claim.service, claim.route.label, message, hint)


def _more(count: int) -> str:
    return f" (and {count - 1} more routes of this service)" if count > 1 else ""
