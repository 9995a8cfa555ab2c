"""Explanations of a decision: every route that came into question, and what made it win or lose.

The decision is the table's own, and the routes are those of the sites that the table looks at, in
its order; this module only finds words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from meshlib.authority import host_of, normalize_host
from meshlib.bounds import bounded_name
from meshlib.decision import (
    Carry,
    Decision,
    Forward,
    Passthrough,
    PortDecision,
    Redirect,
    RedirectToTLS,
    Refuse,
    Reject,
    Respond,
    TableDecision,
    Terminate,
    TLSDecision,
)
from meshlib.errors import AuthorityError
from meshlib.messages import ClientHello, RequestHead
from meshlib.model import Endpoint, ListeningPort, Route, Scheme
from meshlib.patterns import path_matches
from meshlib.redirects import location
from meshlib.table.compile import Site, Slot
from meshlib.table.explain_failed import failed_notes
from meshlib.table.explain_owners import Reason, barred_reasons, owner_notes, owner_of
from meshlib.table.paths import equivalent_path, has_other_readings, most_readings, readings
from meshlib.table.routing import RoutingTable
from meshlib.table.settled import settled

__all__ = ["Explanation", "Reason", "explain"]

_Sites: TypeAlias = Sequence[Site[TableDecision]] | Sequence[Site[TLSDecision]]
# Candidates that are shown of one host, and characters of a path in a reason: both are
# chosen by services.
_SHOWN_REASONS = 500
_SHOWN_PATH = 200
# Readings of an odd path that are worth a line; more of them say nothing new.
_SHOWN_READINGS = 4


@dataclass(frozen=True, slots=True)
class Explanation:
    """`decision` is the table's, `kind` its name: "forward", "redirect", "respond", "passthrough",
    "terminate", "reject", "carry", "refuse".

    `route` is the one that matched, `endpoints` all those of its upstream, ready or not. `status`
    is set for responses of our own, `location` for redirects. `owner` is that of the route
    (`Contribution.owner`; None without a route). `notes` say what was read from the request, and
    what became of it where no route can tell; `reasons` name the candidates of the host, 500 at
    most: exact, wildcard, catch-all; within each the longest path first.
    """

    decision: Decision | TLSDecision | PortDecision
    kind: str
    route: Route | None
    status: int | None
    location: str | None
    endpoints: tuple[Endpoint, ...]
    notes: tuple[str, ...]
    reasons: tuple[Reason, ...]
    owner: str | None = None


def explain(
    table: RoutingTable,
    asked: RequestHead | ClientHello | ListeningPort,
    terminates: Callable[[str], bool] | None = None,
    *,
    secure: bool = False,
) -> Explanation:
    """Explain `table.route(asked)`, `table.route_tls(asked, terminates)` or
    `table.route_port(asked)`; never raises.

    `secure`: the request came over TLS.
    """
    if isinstance(asked, ClientHello):
        return _explain_hello(table, asked, terminates)
    if isinstance(asked, ListeningPort):
        return _explain_port(table, asked)
    found = table.route(asked)
    decision = settled(table, asked, found, secure=secure)
    try:
        host = host_of(asked.authority)
    except AuthorityError as error:
        return _explanation(
            decision, [f"the host {_text(asked.authority)} cannot be used: {error}"], ()
        )
    path = asked.target.partition(b"?")[0]
    notes = [
        f"host {host}, path {_text(path)}"
        if host
        else f"no host (only a catch-all can match), path {_text(path)}"
    ]
    others = readings(path)[1:] if has_other_readings(path) else []
    if others:
        shown = ", ".join(map(_text, others[:_SHOWN_READINGS]))
        more = (
            f" and in {len(others) - _SHOWN_READINGS} more ways"
            if len(others) > _SHOWN_READINGS
            else ""
        )
        notes.append(f"servers may also read the path as {shown}{more}")
    if decision == Respond(400, "ambiguous_path"):
        if len(others) >= most_readings(path):
            notes.append(
                "servers read such a path differently, "
                "and this host has routes by path, so the request is refused"
            )
        else:
            notes.append("these readings belong to different routes, so the request is refused")
    sites = table.matching(Scheme.HTTP, host)
    notes += owner_notes(table, host) + failed_notes(table.snapshot.diagnostics, host)
    if not sites:
        notes.append("no route names this host or a wildcard above it, and there is no catch-all")
    if isinstance(found, RedirectToTLS) and not secure:
        over_tls = settled(table, asked, found, secure=True)
        notes.append(f"over TLS {_over_tls(over_tls)}")
        if decision is not found.plain:
            notes.append("it asks for the response to an ACME challenge, which no redirect gets")
    elif decision.route is not found.route or _is_circle(decision):
        notes.append("a redirect that leads to where the request is already is left out")
    reasons = _reasons(sites, equivalent_path(path), decision) + barred_reasons(
        table, Scheme.HTTP, host
    )
    return _explanation(decision, notes, reasons, asked.target, owner_of(sites, decision))


def _over_tls(decision: Decision) -> str:
    if _is_circle(decision):
        return "nothing serves the request, and the redirect would lead to itself"
    return "the request is served"


def _is_circle(decision: Decision) -> bool:
    return isinstance(decision, Respond) and decision.reason == "redirect_loop"


def _explain_hello(
    table: RoutingTable, hello: ClientHello, terminates: Callable[[str], bool] | None
) -> Explanation:
    decision = table.route_tls(hello, terminates)
    name = hello.server_name
    if decision == Reject(112, "bad_server_name"):
        return _explanation(
            decision, [f"server name {name}: this is not a host name (RFC 6066 3)"], ()
        )
    host = normalize_host(name) if name is not None else ""
    notes = [
        f"server name {host}"
        if host
        else "no server name was sent (only a catch-all, sni://*, can match)"
    ]
    sites = table.matching(Scheme.SNI, host)
    notes += owner_notes(table, host) + failed_notes(table.snapshot.diagnostics, host)
    barred = barred_reasons(table, Scheme.SNI, host)
    if isinstance(decision, Terminate):
        notes.append("TLS is terminated; each request is then routed by its own host, as http://")
    elif decision.route is not None and decision.route.scheme is Scheme.HTTP:
        notes.append(
            f"{decision.route.name} matches this host, "
            "but there is no certificate to terminate TLS with"
        )
    elif not sites:
        notes.append(
            "no route names this server name or a wildcard above it, and there is no catch-all"
        )
    winner = decision.route
    if winner is None or winner.scheme is Scheme.SNI:
        reasons_ = _reasons(sites, b"/", decision) + barred
        return _explanation(decision, notes, reasons_, owner=owner_of(sites, decision))
    reasons = [Reason(winner, True, f"{_host(winner)} is the most specific that matches")]
    reasons += [
        Reason(s.route, False, f"{_host(s.route)} is less specific than {_host(winner)}")
        for site in sites
        for s in site.slots
    ]
    own = owner_of(table.matching(Scheme.HTTP, host), decision)
    return _explanation(decision, notes, (*reasons, *barred), owner=own)


def _explain_port(table: RoutingTable, port: ListeningPort) -> Explanation:
    decision = table.route_port(port)
    slot = table.ports.get(port)
    barred = barred_reasons(table, port.scheme, str(port.port))
    notes = owner_notes(table, str(port)) + failed_notes(table.snapshot.diagnostics, str(port))
    if slot is None:
        return _explanation(
            decision, [*notes, f"no route {'may have' if barred else 'asks for'} {port}"], barred
        )
    text = f"{port} belongs to it alone{_unready(slot)}"
    reasons = [Reason(slot.route, True, text)]
    reasons += [
        Reason(lost.claim.route, False, f"lost: {lost.diagnostic.message}") for lost in slot.lost
    ]
    return _explanation(decision, notes, (*reasons, *barred), owner=slot.claims[0].owner)


def _explanation(
    decision: Decision | TLSDecision | PortDecision,
    notes: list[str],
    reasons: tuple[Reason, ...],
    target: bytes = b"/",
    owner: str | None = None,
) -> Explanation:
    route, status, where = decision.route, None, None
    if isinstance(decision, Redirect):
        status, where = decision.rule.status, location(decision.rule, target).decode("ascii")
    elif isinstance(decision, Respond):
        status = decision.status
        notes = [*notes, f"response {status} ({decision.reason})"]
    elif isinstance(decision, Reject):
        notes = [*notes, f"refused with TLS alert {decision.alert} ({decision.reason})"]
    elif isinstance(decision, Refuse):
        notes = [*notes, f"nothing is accepted on the port ({decision.reason})"]
    if route is not None and route.degraded:
        notes = [
            *notes,
            f"{route.name} is kept as a label had it that is wrong now "
            "(meshlib routes has the diagnostic)",
        ]
    upstream = (
        decision.upstream
        if isinstance(decision, Forward | Passthrough | Carry)
        else route.upstream
        if route
        else None
    )
    endpoints = upstream.endpoints if upstream is not None else ()
    if len(reasons) > _SHOWN_REASONS:
        notes = [
            *notes,
            f"{len(reasons) - _SHOWN_REASONS} more routes came into question; they are not shown",
        ]
        shown = reasons[:_SHOWN_REASONS]
        reasons = (
            shown
            if any(reason.won for reason in shown)
            else (*(r for r in reasons if r.won), *shown[:-1])
        )
    kind = "redirect" if isinstance(decision, Redirect) else type(decision).__name__.lower()
    return Explanation(
        decision, kind, route, status, where, endpoints, tuple(notes), reasons, owner
    )


def _reasons(sites: _Sites, path: bytes, decision: Decision | TLSDecision) -> tuple[Reason, ...]:
    text = path.decode("latin-1")
    reasons: list[Reason] = []
    winner: Route | None = None
    for site in sites:
        for slot in site.slots:
            for route in slot.routes:
                won = route is decision.route
                reasons.append(
                    Reason(
                        route,
                        won,
                        _won(slot, route) if won else _why_not(slot, route, text, winner),
                    )
                )
                if won:
                    winner = route
            reasons += [
                Reason(lost.claim.route, False, f"lost: {lost.diagnostic.message}")
                for lost in slot.lost
            ]
    return tuple(reasons)


def _won(slot: Slot[TableDecision] | Slot[TLSDecision], route: Route) -> str:
    text = f"{_host(route)} and path {_path(route)} are the most specific that match"
    lost = {one.claim for one in slot.lost}
    shared = sum(
        claim not in lost and (claim.route.redirect is None) == (route.redirect is None)
        for claim in slot.claims
    )
    if shared > 1:
        text += f"; {shared} services share it"
    return text if route.redirect is not None else text + _unready(slot)


def _unready(slot: Slot[TableDecision] | Slot[TLSDecision] | Slot[PortDecision]) -> str:
    if slot.upstream is not None and slot.upstream.ready:
        return ""
    states = (
        Counter(str(endpoint.state) for endpoint in slot.upstream.endpoints)
        if slot.upstream is not None
        else Counter[str]()
    )
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"; no endpoint is ready: {counts or 'there is none'}"


def _why_not(
    slot: Slot[TableDecision] | Slot[TLSDecision], route: Route, path: str, winner: Route | None
) -> str:
    if winner is not None and winner.host != route.host:
        return f"{_host(route)} is less specific than {_host(winner)}"
    if path_matches(route.path, path):
        if slot.to_tls is not None and (winner is None or winner is slot.to_tls):
            return f"it is for requests {'without' if route is slot.to_tls else 'over'} TLS"
        if winner is None and route.redirect is not None:
            return "it leads to where the request is already"
        if winner is None:
            return (
                f"path {_path(route)} contains {_text(path.encode('latin-1'))}, "
                "but not as every server reads it"
            )
        return f"path {_path(route)} is shorter than {_path(winner)}"
    text = f"path {_path(route)} does not contain {_text(path.encode('latin-1'))}"
    return f"{text}: prefixes end at a segment" if path.startswith(route.path) else text


def _path(route: Route) -> str:
    return bounded_name(route.path, _SHOWN_PATH)


def _host(route: Route) -> str:
    return f"host {route.host}" if route.host else "the catch-all"


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").encode("unicode_escape").decode("ascii")
