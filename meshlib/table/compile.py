"""Claims on a host become slots with a decision: who wins, who is merged, who loses and is told so.

A *claim* is one route of one contribution; a *slot* is one (scheme, host, path), for which one
decision is prebuilt; a *site* is all slots of one host. This module compiles one site at a time and
knows no other, which is what makes a change of one service cheap. It does not look up anything.

Who may have a slot at all is settled before (`meshlib.table.access`). Who wins one that several
claim: the host's owner before those that it lets in, then the oldest contribution (`created_at`, 0
counting as youngest, then `key`). A claim of the same schema with the same options is merged into
it: one upstream with the endpoints of all. Every other claim loses, whatever it agrees with: never
two owners, never a result that depends on the order of discovery.

A redirect of a host to itself over https is for what comes without TLS; so it shares a slot with
another route of the same owner, which serves what comes over TLS.

    TBL001  error  the slot belongs to another service, which is older or the host's owner, with
                   another schema or other options
    TBL002  error  the same service claims the slot twice
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    ForwardTo,
    RedirectRule,
    Route,
    Severity,
    Upstream,
)
from meshlib.ownership import owner_text
from meshlib.patterns import path_specificity
from meshlib.redirects import is_for_plain
from meshlib.upstream_key import UpstreamKey

__all__ = ["Claim", "Decide", "Lost", "Site", "Slot", "claims_of", "compile_site"]


D = TypeVar("D")
# The decision for a route, its upstream, and the route that redirects in its place without TLS.
Decide: TypeAlias = Callable[[Route, Upstream | None, Route | None], D]


class Claim(NamedTuple):
    """One route of one contribution. `rank` orders claims, oldest first: unknown age, age,
    contribution, label, position.

    `owner` and `networks` are the contribution's. `place` is 0 for the host's owner, 1 for whom it
    lets in, 2 for others.
    """

    rank: tuple[bool, int, str, str, int]
    service: str
    route: Route
    owner: str = ""
    networks: tuple[str, ...] = ()
    place: int = 0

    @property
    def contribution(self) -> str:
        """The key of the contribution."""
        return self.rank[2]


class Lost(NamedTuple):
    """A claim that did not get its slot, and the diagnostic for its service."""

    claim: Claim
    diagnostic: Diagnostic


@dataclass(frozen=True, slots=True)
class Slot(Generic[D]):
    """One (scheme, host, path): every claim on it (oldest first), the winning route, and the
    decision.

    `upstream` is that of the route, with the endpoints of all merged claims; equal upstreams of one
    table are one object. `to_tls` is the route that redirects what comes without TLS, beside
    `route`.
    """

    path: str
    claims: tuple[Claim, ...]
    route: Route
    upstream: Upstream | None
    decision: D
    lost: tuple[Lost, ...] = ()
    to_tls: Route | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes that decide."""
        return (self.route,) if self.to_tls is None else (self.to_tls, self.route)


@dataclass(frozen=True, slots=True)
class Site(Generic[D]):
    """One host pattern of one scheme. `slots` by path, most specific first.

    `only` is the decision when "/" is the one path; `root` that of "/", None without such a slot;
    `paths` those of the others by path, and `depth` the number of segments in the longest of these.
    """

    host: str
    slots: tuple[Slot[D], ...]
    only: D | None
    root: D | None
    paths: dict[bytes, D]
    depth: int

    def match(self, path: bytes) -> D | None:
        """The decision of the most specific slot whose path contains `path`; "/" also contains "*".
        None: no slot does.
        """
        paths = self.paths
        if paths:
            parts = path.split(b"/", self.depth + 1)
            for count in range(min(len(parts), self.depth + 1), 1, -1):
                decision = paths.get(b"/".join(parts[:count]))
                if decision is not None:
                    return decision
        return self.root

    def matches(self, path: bytes) -> list[D]:
        """The decisions of all slots whose path contains `path`, the most specific first."""
        parts = path.split(b"/", self.depth + 1)
        found = [
            self.paths.get(b"/".join(parts[:count]))
            for count in range(min(len(parts), self.depth + 1), 1, -1)
        ]
        return [decision for decision in (*found, self.root) if decision is not None]

    @property
    def leader(self) -> Claim:
        """The first claim of the host's owner, or else of those it lets in."""
        return min(
            (slot.claims[0] for slot in self.slots), key=lambda claim: (claim.place, claim.rank)
        )

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Diagnostics for the services that lost a slot."""
        return tuple(lost.diagnostic for slot in self.slots for lost in slot.lost)


def claims_of(contribution: Contribution) -> list[Claim]:
    """The claims of a contribution, in the order of its routes."""
    age, key, service = contribution.created_at, contribution.key, contribution.service
    owner, networks = contribution.owner, contribution.networks
    return [
        Claim((age == 0, age, key, r.label, i), service, r, owner, networks)
        for i, r in enumerate(contribution.routes)
    ]


def compile_site(
    host: str,
    claims: Sequence[Claim],
    decide: Decide[D],
    intern: Callable[[Upstream], Upstream],
    previous: Site[D] | None = None,
) -> Site[D]:
    """The site of at least one claim on `host`, in any order.

    `intern` returns the one object to use for an upstream of this value. Slots of `previous` with
    the same claims are reused, and `previous` itself when all are.
    """
    reusable = {slot.path: slot for slot in previous.slots} if previous else {}
    slots: list[Slot[D]] = []
    for path, group in groupby(sorted(claims, key=_slot_order), key=lambda claim: claim.route.path):
        members = tuple(group)
        slot = reusable.get(path)
        if slot is None or slot.claims != members:
            slot = _compile_slot(path, members, decide, intern)
        slots.append(slot)
    if (
        previous is not None
        and len(slots) == len(previous.slots)
        and all(map(_is, slots, previous.slots))
    ):
        return previous
    root = slots[-1].decision if slots[-1].path == "/" else None
    paths = {slot.path.encode(): slot.decision for slot in slots if slot.path != "/"}
    return Site(
        host, tuple(slots), None if paths else root, root, paths, path_specificity(slots[0].path)
    )


def _slot_order(claim: Claim) -> tuple[int, str, int, tuple[bool, int, str, str, int]]:
    return -path_specificity(claim.route.path), claim.route.path, claim.place, claim.rank


def _is(left: object, right: object) -> bool:
    return left is right


def _compile_slot(
    path: str,
    claims: tuple[Claim, ...],
    decide: Decide[D],
    intern: Callable[[Upstream], Upstream],
) -> Slot[D]:
    to_tls, members = _beside(claims)
    owner = members[0]
    route = owner.route
    lost: list[Lost] = []
    if len(members) > 1:
        merged = [owner]
        taken = {owner.contribution}
        for claim in members[1:]:
            if claim.contribution in taken:
                lost.append(Lost(claim, _claimed_twice(claim, owner)))
            elif _terms(claim.route) == _terms(route):
                merged.append(claim)
                taken.add(claim.contribution)
            else:
                lost.append(Lost(claim, _conflict(claim, owner)))
        if len(merged) > 1:
            route = _merge([claim.route for claim in merged])
    upstream = intern(route.upstream) if route.upstream is not None else None
    decision = decide(route, upstream, to_tls)
    return Slot(path, claims, route, upstream, decision, tuple(lost), to_tls)


def _beside(claims: tuple[Claim, ...]) -> tuple[Route | None, tuple[Claim, ...]]:
    """The route to https at its own host, if there is one and another of the same owner serves what
    comes there; and the claims that are left when it is taken out.
    """
    first = claims[0]
    for claim in claims if len(claims) > 1 else ():
        route = claim.route
        mine = claim.owner == first.owner and claim.place == first.place
        if mine and is_for_plain(route.match, route.action):
            terms = _terms(route)
            rest = tuple(
                one for one in claims if one.owner != claim.owner or _terms(one.route) != terms
            )
            serves = rest and (rest[0].owner, rest[0].place) == (claim.owner, claim.place)
            return (route, rest) if serves and rest[0].route.upstream else (None, claims)
    return None, claims


def _terms(route: Route) -> dict[str, object]:
    # What two services must agree on to share a slot; where the requests go is what they share.
    terms = {"schema": route.schema, "redirect": route.redirect, **route.options.shared()}
    if isinstance(route.action, RedirectRule):
        return terms
    upstream = route.action.upstream
    return {
        **terms,
        "strategy": upstream.strategy,
        "PROXY protocol": upstream.transport.proxy_protocol,
        "TLS to endpoints": upstream.transport.tls_name,
        "protocol": upstream.transport.protocol,
        "lenient": upstream.transport.lenient,
    }


def _merge(routes: Sequence[Route]) -> Route:
    owner = routes[0]
    degraded = any(route.degraded for route in routes)
    upstreams = sorted(
        (r.upstream for r in routes if r.upstream is not None),
        key=lambda u: (u.name, u.endpoints != (), repr(u)),
    )
    if not upstreams:
        return replace(owner, degraded=degraded)
    distinct = list(dict.fromkeys(upstreams))
    if len(distinct) == 1:
        return replace(owner, action=ForwardTo(distinct[0]), degraded=degraded)
    endpoints = dict.fromkeys(endpoint for upstream in distinct for endpoint in upstream.endpoints)
    upstream = Upstream(
        UpstreamKey.merged(upstream.key for upstream in distinct),
        tuple(sorted(endpoints, key=_endpoint_order)),
        distinct[0].strategy,
    )
    return replace(owner, action=ForwardTo(upstream), degraded=degraded)


def _endpoint_order(endpoint: Endpoint) -> tuple[str, str, int, int, str, str]:
    one = endpoint
    return one.id, one.host, one.port, one.weight, one.state, one.node


def _conflict(claim: Claim, owner: Claim) -> Diagnostic:
    route, other = claim.route, owner.route
    terms, others = _terms(route), _terms(other)
    differing = [name for name in {**terms, **others} if terms.get(name) != others.get(name)]
    whose = (
        "the older service"
        if claim.place == owner.place
        else f"{owner_text(owner.owner)}'s service"
    )
    return Diagnostic(
        "TBL001",
        Severity.ERROR,
        claim.service,
        route.label,
        (
            f"{route.name} belongs to {whose} {owner.service!r} (label {other.label}); "
            f"they differ in {', '.join(differing)}"
        ),
        "choose another host or path, or give both services the same options to share the traffic",
    )


def _claimed_twice(claim: Claim, owner: Claim) -> Diagnostic:
    return Diagnostic(
        "TBL002",
        Severity.ERROR,
        claim.service,
        claim.route.label,
        (
            f"this service asks for {claim.route.name} twice; {owner.service!r} already serves it "
            f"(label {owner.route.label})"
        ),
        "remove one of the two labels",
    )
