"""Services that meet on one host: they share a route, have paths beside each other's, or one has a
wildcard above the other's host.

Nothing is wrong with any of it; it is reported so that nobody is surprised. One diagnostic for each
service and host.

    TBL101  warning  the name is not recorded: there are too many
    TBL201  info     two services share a route
    TBL202  info     two services have routes of one host
    TBL203  info     hosts below a wildcard belong to others
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from meshlib.decision import TableDecision, TLSDecision
from meshlib.model import Diagnostic, Severity, Tenure
from meshlib.ownership import Right, covering, owner_text
from meshlib.table.compile import Claim, Slot

__all__ = ["find_meetings", "find_overlap", "overlap_diagnostics"]


def find_meetings(
    host: str, slots: Sequence[Slot[TableDecision] | Slot[TLSDecision]], right: Right
) -> tuple[Diagnostic, ...]:
    """Diagnostics for the services of one host about each other. `slots` are those of all its
    sites, at least one.
    """
    lost = {item.claim.contribution for slot in slots for item in slot.lost}
    first: dict[str, Claim] = {}
    partner: dict[str, Claim] = {}  # who has the route that it shares
    for slot in slots:
        winner = slot.claims[0]
        for claim in slot.claims:
            known = first.get(claim.contribution)
            if known is None or _order(claim) < _order(known):
                first[claim.contribution] = claim
            alike = (claim.route.redirect is None) == (winner.route.redirect is None)
            if claim.contribution != winner.contribution and alike:
                partner.setdefault(claim.contribution, winner)
    ordered = sorted(first.values(), key=_order)
    leader = ordered[0]
    found = [_unrecorded(host, leader)] if right.tenure is None and right.grants is None else []
    for claim in ordered[1:]:
        other = partner.get(claim.contribution)
        # While a container is replaced it is there twice; those are not two services. A service
        # that lost has a diagnostic that says more.
        if claim.contribution in lost or (claim.service, claim.owner) == (
            (other or leader).service,
            (other or leader).owner,
        ):
            continue
        found.append(_shared(claim, other) if other is not None else _beside(host, claim, leader))
    return tuple(found)


def _order(claim: Claim) -> tuple[int, tuple[bool, int, str, str, int]]:
    return claim.place, claim.rank


def _of(claim: Claim, other: Claim) -> str:
    return f" of {owner_text(other.owner)}" if other.owner != claim.owner else ""


def _shared(claim: Claim, other: Claim) -> Diagnostic:
    message = (
        f"this service and {other.service!r}{_of(claim, other)} share "
        f"{other.route.name}: requests go to both"
    )
    hint = "if that is not intended, choose another host or path"
    return Diagnostic("TBL201", Severity.INFO, claim.service, claim.route.label, message, hint)


def _beside(host: str, claim: Claim, leader: Claim) -> Diagnostic:
    message = (
        f"this service has {claim.route.name} beside {leader.route.name} of "
        f"{leader.service!r}{_of(claim, leader)}"
    )
    return Diagnostic("TBL202", Severity.INFO, claim.service, claim.route.label, message)


def _unrecorded(host: str, leader: Claim) -> Diagnostic:
    message = (
        f"the owner of {host or 'any host'} cannot be recorded: there are too many names, "
        f"or too many of {owner_text(leader.owner)}"
    )
    hint = "raise limits.owned_names or limits.owned_names_per_owner, or use a wildcard host"
    return Diagnostic("TBL101", Severity.WARNING, leader.service, leader.route.label, message, hint)


def find_overlap(host: str, tenures: Mapping[str, Tenure]) -> str:
    """The nearest wildcard of another owner above `host`, which has an owner of its own; "" for
    none.
    """
    own = tenures.get(host)
    if own is not None:
        for name in covering(host):
            above = tenures.get(name) if name.startswith("*") else None
            if above is not None and above.owner != own.owner:
                return name
    return ""


def overlap_diagnostics(
    overlaps: Mapping[str, str], leaders: Mapping[str, Claim], tenures: Mapping[str, Tenure]
) -> Iterable[Diagnostic]:
    """Diagnostics for those who have a wildcard: `overlaps` maps hosts to wildcards, `leaders` has
    the first claim on each wildcard.
    """
    below: dict[str, list[str]] = {}
    for host, wildcard in overlaps.items():
        below.setdefault(wildcard, []).append(host)
    for wildcard in sorted(below):
        claim, hosts = leaders.get(wildcard), below[wildcard]
        if claim is not None:
            host = min(hosts)
            more = f", and {len(hosts) - 1} more hosts of others" if len(hosts) > 1 else ""
            message = (
                f"{wildcard} leaves out {host}, which belongs to "
                f"{owner_text(tenures[host].owner)}{more}"
            )
            yield Diagnostic("TBL203", Severity.INFO, claim.service, claim.route.label, message)
