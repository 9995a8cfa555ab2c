"""Why a request goes where it goes: every route that came into question, and what made it win or lose.

Asks the same entries in the same order as `RoutingTable.route`, so it cannot tell another story.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from meshlib.decision import Forward, Passthrough, Redirect, Reject, Respond
from meshlib.errors import AuthorityError
from meshlib.messages import ClientHello, RequestHead
from meshlib.model import Endpoint, Route, Scheme
from meshlib.redirects import location
from meshlib.table.entry import AnyDecision, HostEntry
from meshlib.table.paths import careless_path, equivalent_path, is_plain, path_of
from meshlib.table.routing import RoutingTable

__all__ = ["Explanation", "Reason", "explain"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One route that came into question. `won` is true for at most one."""

    route: Route
    won: bool
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`kind` is "forward", "redirect", "respond", "passthrough" or "reject"; `status` and `location` are set where there are some.

    `notes` say what was read from the request; `reasons` name the candidates, the most specific first.
    """

    decision: AnyDecision
    kind: str
    route: Route | None
    status: int | None
    location: str | None
    endpoints: tuple[Endpoint, ...]
    notes: tuple[str, ...]
    reasons: tuple[Reason, ...]


def explain(table: RoutingTable, asked: RequestHead | ClientHello) -> Explanation:
    """Explain `table.route(asked)` or `table.route_tls(asked)`; `decision` is what those return."""
    if isinstance(asked, ClientHello):
        decision: AnyDecision = table.route_tls(asked)
        name = asked.server_name
        notes = ["no server name was sent: only a catch-all (sni://) can match"] if name is None else [f"server name {name!r}"]
        if isinstance(decision, Reject) and decision.reason == "bad_server_name":
            return _explanation(decision, [*notes, "that is no host name (RFC 6066 3)"], [], b"/")
        chain = table.chain(Scheme.SNI, (name or "").lower().rstrip("."))
        return _explanation(decision, notes, _reasons(chain, b"/", decision), b"/")
    decision = table.route(asked)
    try:
        chain = table.chain_of(asked.authority)
    except AuthorityError as error:
        return _explanation(decision, [f"the host {asked.authority!r} cannot be used: {error}"], [], asked.target)
    path = path_of(asked.target)
    notes = [f"host {asked.authority.decode('latin-1')!r}, path {path.decode('latin-1')!r}"]
    if not is_plain(path):
        notes.append(f"servers may read the path as {careless_path(path).decode('latin-1')!r}")
    if isinstance(decision, Respond) and decision.reason == "ambiguous_path":
        notes.append("the two readings belong to different routes, so the request is refused")
    return _explanation(decision, notes, _reasons(chain, equivalent_path(path), decision), asked.target)


def _reasons(chain: tuple[HostEntry, ...], path: bytes, decision: AnyDecision) -> list[Reason]:
    reasons: list[Reason] = []
    winner: Route | None = None
    for entry in chain:
        found = entry.find(path)
        for route in sorted(entry.routes, key=lambda r: (-r.path.count("/") if r.path != "/" else 1, r.path)):
            won = found is not None and winner is None and found[0] == route.path.encode() and found[1] is decision
            reasons.append(Reason(route, won, _why(route, path, found[0] if found else None, winner, won)))
            if won:
                winner = route
        reasons += [
            Reason(lost.route, False, f"lost {lost.route.name} to the older service {lost.owner.service!r}") for lost in entry.lost
        ]
    return reasons


def _why(route: Route, path: bytes, matched: bytes | None, winner: Route | None, won: bool) -> str:
    host = f"host {route.host}" if route.host else "the catch-all"
    if won:
        text = f"{host} and path {route.path} are the most specific that match"
        return text if _has_ready(route) else f"{text}, but {_not_ready(route)}"
    if matched is not None and matched == route.path.encode() and winner is not None:
        return f"{host} is less specific than {winner.host or 'the catch-all'}"
    shown = path.decode("latin-1")
    prefix = route.path.encode()
    if route.path == "/" or path == prefix or path.startswith(prefix + b"/"):
        return f"path {route.path} matches, but a longer prefix does too" if winner is None or winner.host == route.host else (
            f"{host} is less specific than {winner.host}"
        )
    if path.startswith(prefix):
        return f"path {route.path} does not contain {shown}: a prefix ends at a segment"
    return f"path {route.path} does not contain {shown}"


def _has_ready(route: Route) -> bool:
    return route.redirect is not None or (route.upstream is not None and bool(route.upstream.ready))


def _not_ready(route: Route) -> str:
    endpoints = route.upstream.endpoints if route.upstream else ()
    states = Counter(endpoint.state.value for endpoint in endpoints)
    return "no endpoint is ready: " + (", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "there are none")


def _explanation(decision: AnyDecision, notes: list[str], reasons: list[Reason], target: bytes) -> Explanation:
    route = decision.route
    status: int | None = None
    where: str | None = None
    if isinstance(decision, Redirect):
        kind, status, where = "redirect", decision.rule.status, location(decision.rule, target).decode("ascii")
    elif isinstance(decision, Respond):
        kind, status = "respond", decision.status
        notes = [*notes, f"answer {decision.status}: {decision.reason}"]
    elif isinstance(decision, Forward):
        kind = "forward"
    elif isinstance(decision, Passthrough):
        kind = "passthrough"
    else:
        kind = "reject"
        notes = [*notes, f"TLS alert {decision.alert}: {decision.reason}"]
    endpoints = route.upstream.endpoints if route is not None and route.upstream is not None else ()
    return Explanation(decision, kind, route, status, where, endpoints, tuple(notes), tuple(reasons))
