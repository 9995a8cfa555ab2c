"""`settled`: the decision for one request, where it depends on how the request came.

A redirect never leads to where the request is already. One that would is not for this request: one
of a host to itself over https is for requests without TLS alone. What serves the others is what the
table has besides: the route that shares its slot, else the next less specific one that takes the
path. Where there is none the decision is 508, "redirect_loop".

A challenge by which a certificate is issued (ACME's HTTP-01, RFC 8555 8.3) comes without TLS, since
there is no certificate yet; so what serves the host over TLS gets it, and no redirect does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, cast

from meshlib.authority import host_of
from meshlib.decision import Decision, Forward, Redirect, RedirectToTLS, Respond, TableDecision
from meshlib.messages import RequestHead
from meshlib.model import Route, Scheme
from meshlib.redirects import leads_to_request
from meshlib.table.access import gets_the_rest
from meshlib.table.compile import Site
from meshlib.table.paths import most_readings, readings
from meshlib.table.routing import RoutingTable

__all__ = ["is_challenge", "settled"]

# A token has the characters of base64url alone, so nothing in it can be read in another way:
# whatever is escaped, or climbs out of the directory, is no challenge.
_CHALLENGE: Final = re.compile(rb"/\.well-known/acme-challenge/[A-Za-z0-9_-]+")


def is_challenge(head: RequestHead) -> bool:
    """Whether it asks for the response to a challenge, by a method that changes nothing."""
    return head.method in (b"GET", b"HEAD") and _CHALLENGE.fullmatch(head.target) is not None


def settled(
    table: RoutingTable, head: RequestHead, found: TableDecision, *, secure: bool
) -> Decision:
    """The decision for a request that came over TLS (`secure`), or did not, where `table` has
    `found` for it.
    """
    if isinstance(found, RedirectToTLS):
        if not secure and not is_challenge(head):
            return found.plain
        served = found.secured or _besides(table, head, found.route, secure=True)
        return served if secure or isinstance(served, Forward) else found.plain
    if isinstance(found, Redirect) and _leads_here(found, head, secure=secure):
        return _besides(table, head, found.route, secure=secure)
    return found


def _leads_here(decision: Redirect, head: RequestHead, *, secure: bool) -> bool:
    return decision.may_return and leads_to_request(
        decision.rule, head.authority, head.target, secure=secure
    )


def _besides(table: RoutingTable, head: RequestHead, route: Route, *, secure: bool) -> Decision:
    """The decision for a request that `route` would redirect to where it is."""
    path = head.target.partition(b"?")[0]
    ways = readings(path)
    if len(ways) > most_readings(path):
        return Respond(400, "ambiguous_path")
    sites = _sites(table, host_of(head.authority))
    found = [_next(sites, way, head, secure=secure) for way in ways]
    if any(other is not found[0] for other in found):
        return Respond(400, "ambiguous_path")
    return found[0] or Respond(508, "redirect_loop", route=route)


def _sites(table: RoutingTable, host: str) -> list[Site[TableDecision]]:
    """The sites that may serve `host`, at least one: the most specific, and those that its owner
    lets have what it leaves over.
    """
    first, *others = cast("Sequence[Site[TableDecision]]", table.matching(Scheme.HTTP, host))
    right, leader = table.right(first.host), first.leader
    rules = table.rules
    return [first, *(one for one in others if gets_the_rest(leader, right, one.leader, rules))]


def _next(
    sites: Sequence[Site[TableDecision]], path: bytes, head: RequestHead, *, secure: bool
) -> Decision | None:
    """The decision of the most specific route that does not lead here; None when there is none."""
    for site in sites:
        for decision in site.matches(path):
            if isinstance(decision, RedirectToTLS):
                if not secure:
                    return decision.plain
                if decision.secured is not None:
                    return decision.secured
            elif not (
                isinstance(decision, Redirect) and _leads_here(decision, head, secure=secure)
            ):
                return decision
    return None
