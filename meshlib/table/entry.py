"""The routes of one host, compiled: who owns which path, what was merged, who lost, and the decisions ready to be returned.

A host's entry depends on the claims for that host alone, which is what lets the table recompile one host when one service changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from meshlib.decision import Forward, Passthrough, Redirect, Reject, Respond
from meshlib.model import Contribution, Diagnostic, Endpoint, Route, Scheme, Severity, Upstream

__all__ = ["CONFLICT", "Claim", "Claims", "HostEntry", "Lost", "compile_host", "options_of"]

CONFLICT = "TBL001"

# RFC 8446 6.2
INTERNAL_ERROR = 80

AnyDecision: TypeAlias = Forward | Redirect | Respond | Passthrough | Reject


@dataclass(frozen=True, slots=True)
class Claim:
    """One route that a contribution asks for."""

    contribution: Contribution
    route: Route

    @property
    def age(self) -> tuple[int, int, str, str]:
        """Sorts the older first; an unknown age is the youngest, and ties go by key and label."""
        created = self.contribution.created_at
        return (0 if created else 1, created, self.contribution.key, self.route.label)


Claims: TypeAlias = tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """A route that serves nothing because an older service has its place."""

    route: Route
    owner: Route


class HostEntry:
    """What is known of one host of one scheme; not changed after `compile_host`.

    `only` is the decision of the single route "/", or None where the path has to be looked at; `paths` maps each prefix to its
    decision, `depth` is the largest number of segments in one.
    """

    __slots__ = ("claims", "depth", "diagnostics", "lost", "only", "paths", "routes")

    def __init__(
        self,
        claims: Claims,
        paths: dict[bytes, AnyDecision],
        routes: tuple[Route, ...],
        lost: tuple[Lost, ...],
        diagnostics: tuple[Diagnostic, ...],
    ) -> None:
        self.claims = claims
        self.paths = paths
        self.routes = routes
        self.lost = lost
        self.diagnostics = diagnostics
        self.only = paths.get(b"/") if len(paths) == 1 else None
        self.depth = max((path.count(b"/") for path in paths if path != b"/"), default=0)

    def find(self, path: bytes) -> tuple[bytes, AnyDecision] | None:
        """The longest prefix that contains `path`, and its decision. The cost depends on `depth`, not on the number of routes."""
        paths = self.paths
        if self.depth:
            segments = path.split(b"/", self.depth + 1)[: self.depth + 1]
            while len(segments) > 1:
                prefix = b"/".join(segments)
                decision = paths.get(prefix)
                if decision is not None:
                    return prefix, decision
                segments.pop()
        decision = paths.get(b"/")
        return None if decision is None else (b"/", decision)


def options_of(route: Route) -> tuple[object, ...]:
    """What must be equal for two services to share a host: the schema and all it can say, but not the port."""
    return (route.schema, route.redirect, route.sticky_cookie, route.forwarded_for)


def compile_host(claims: Sequence[Claim], *, retry_after: int) -> HostEntry:
    """Settle who has which path. The result does not depend on the order of the claims."""
    ordered = tuple(sorted(claims, key=lambda claim: claim.age))
    by_path: dict[str, list[Claim]] = {}
    for claim in ordered:
        by_path.setdefault(claim.route.path, []).append(claim)
    paths: dict[bytes, AnyDecision] = {}
    routes: list[Route] = []
    lost: list[Lost] = []
    diagnostics: list[Diagnostic] = []
    for path in sorted(by_path):
        owner, *others = (claim.route for claim in by_path[path])
        partners = [owner]
        for other in others:
            if options_of(other) == options_of(owner) and owner.redirect is None:
                partners.append(other)
            elif other != owner:
                lost.append(Lost(other, owner))
                diagnostics.append(_conflict(other, owner))
        route = owner if len(partners) == 1 else _merged(partners)
        routes.append(route)
        paths[path.encode("ascii", "ignore")] = _decide(route, retry_after)
    return HostEntry(ordered, paths, tuple(routes), tuple(lost), tuple(diagnostics))


def _merged(partners: list[Route]) -> Route:
    endpoints: dict[tuple[str, str, int], Endpoint] = {}
    names: list[str] = []
    for route in partners:
        if route.upstream is not None:
            if route.upstream.name not in names:
                names.append(route.upstream.name)
            for endpoint in route.upstream.endpoints:
                endpoints.setdefault((endpoint.id, endpoint.host, endpoint.port), endpoint)
    owner = partners[0]
    first = owner.upstream
    upstream = Upstream("+".join(names), tuple(endpoints[key] for key in sorted(endpoints)), first.strategy if first else "round_robin")
    return replace(owner, upstream=upstream, degraded=any(route.degraded for route in partners))


def _decide(route: Route, retry_after: int) -> AnyDecision:
    if route.redirect is not None:
        return Redirect(route, route.redirect)
    upstream = route.upstream
    usable = upstream is not None and bool(upstream.ready)
    if route.scheme is Scheme.SNI:
        return Passthrough(route, upstream) if upstream is not None and usable else Reject(INTERNAL_ERROR, "no_endpoint", route)
    return Forward(route, upstream) if upstream is not None and usable else Respond(503, "no_endpoint", retry_after, route)


def _conflict(loser: Route, owner: Route) -> Diagnostic:
    same = loser.service == owner.service
    who = "another label of this service" if same else f"the older service {owner.service!r}"
    differing = "" if loser.schema != owner.schema else _difference(loser, owner)
    return Diagnostic(
        code=CONFLICT,
        severity=Severity.ERROR,
        service=loser.service,
        label=loser.label,
        message=f"{loser.name} is already served by {who} (label {owner.label})",
        hint=f"use another host or path{differing}",
    )


def _difference(loser: Route, owner: Route) -> str:
    names = ("redirect", "sticky_cookie", "forwarded_for")
    differing = [name for name in names if getattr(loser, name) != getattr(owner, name)]
    return f", or give both services the same options ({', '.join(differing)} differ) to share it" if differing else ""
