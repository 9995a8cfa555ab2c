"""Owners in an explanation: whose a name is and why, and who asked for it in vain."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from meshlib.decision import Decision, TableDecision, TLSDecision
from meshlib.model import Route, Scheme
from meshlib.ownership import Right, covering, owner_text
from meshlib.table.compile import Site
from meshlib.table.routing import RoutingTable

__all__ = ["Reason", "barred_reasons", "owner_notes", "owner_of"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One route that came into question. `won` is true for the decision's route alone."""

    route: Route
    won: bool
    text: str


def owner_of(
    sites: Sequence[Site[TableDecision]] | Sequence[Site[TLSDecision]],
    decision: Decision | TLSDecision,
) -> str | None:
    """Owner of the route of `decision`; None when it has no route."""
    for site in sites:
        for slot in site.slots:
            if slot.route is decision.route:
                return slot.claims[0].owner
    return None


def owner_notes(table: RoutingTable, name: str) -> list[str]:
    """Notes on the owner of `name` (a host in normal form, or a port): who it is, since when and by
    which rule.

    None when the name has no owner, or belongs to routes given in code: these have no other to be
    told apart from.
    """
    for candidate in dict.fromkeys((*covering(name), *(() if "://" in name else ("",)))):
        right = table.right(candidate)
        if right.grants is not None or right.tenure is not None:
            if right.grants is None and right.tenure is not None and not right.tenure.owner:
                return []
            shown = candidate or "any host"
            return [f"{shown} {_whose(right, candidate, table)}"]
    return []


def _whose(right: Right, name: str, table: RoutingTable) -> str:
    tenure = right.tenure
    if right.grants is not None:
        first = f"; {owner_text(tenure.owner)} had it first" if tenure is not None else ""
        return f"is reserved for {', '.join(right.grants) or 'nobody'} (routing.owners){first}"
    assert tenure is not None
    if table.rules.sharing == "merge":
        first = f"{owner_text(tenure.owner)} had it first"
        return f"is open to everybody (routing.sharing is merge); {first}"
    since = f" since {_day(tenure.since)}" if tenure.since else ""
    rule = "the first to ask for it" if tenure.name == name else f"whose {tenure.name} covers it"
    guests = f"; shared with {', '.join(tenure.guests)} (share_with)" if tenure.guests else ""
    left = f"; unused since {_day(tenure.left)}" if tenure.left else ""
    return f"belongs to {owner_text(tenure.owner)}{since}, {rule}{guests}{left}"


def _day(seconds: int) -> str:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)  # noqa: DTZ001
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def barred_reasons(table: RoutingTable, scheme: Scheme, name: str) -> tuple[Reason, ...]:
    """Reasons for those who asked for `name` (a host, or the number of a port), or for a pattern
    that matches it, and were not admitted.
    """
    ports = scheme in (Scheme.TCP, Scheme.UDP)
    patterns = (
        (name,)
        if ports
        else tuple(dict.fromkeys((*(p for p in covering(name) if p == name or p[:1] == "*"), "")))
    )
    reasons = []
    for pattern in patterns:
        barred = table.barred(scheme, pattern)
        if barred is not None:
            reported = {(item.service, item.label): item for item in barred.diagnostics}
            for claim in barred.claims:
                item = reported.get((claim.service, claim.route.label))
                if item is not None:
                    hint = f" ({item.hint})"
                    reasons.append(Reason(claim.route, False, f"refused: {item.message}{hint}"))
    return tuple(reasons)
