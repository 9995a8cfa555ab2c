"""Decisions about requests without TLS to a gateway whose clients must show certificates.

Routes know nothing of certificates: a host whose clients must show one over TLS would serve anybody
who leaves TLS out. So no request without TLS is forwarded; the client is sent to https if it can
show its certificate there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from meshlib.authority import host_of, is_ip_address
from meshlib.decision import Redirect, RedirectToTLS, Respond, TableDecision, Terminate
from meshlib.messages import ClientHello, RequestHead
from meshlib.model import RedirectRule, Route
from meshlib.table.routing import RoutingTable
from meshlib.table.settled import settled

__all__ = ["REASON", "decide_uncertified"]

REASON: Final = "client_certificate_required"


def decide_uncertified(
    table: RoutingTable,
    head: RequestHead,
    decision: TableDecision,
    *,
    secure: bool,
    terminates: Callable[[str], bool],
) -> Redirect | Respond:
    """The decision in place of `decision`, which `table` made for a request without TLS.

    Redirects stand, and so do responses to requests that no route matches or that are malformed:
    these reach no service. Everything else is redirected (308) to https at the same host and path,
    at the table's `https_port`, if TLS for that host is terminated with a certificate
    (`terminates`, as in `RoutingTable.route_tls`); or it is refused with 403 and `REASON`.
    `secure`: a trusted proxy in front says that its client used https already, which a redirect
    would send round in a circle.
    """
    if isinstance(decision, Redirect):
        found = settled(table, head, decision, secure=secure)
        if isinstance(found, Redirect):
            return found
    route = decision.route
    if route is None:
        assert isinstance(decision, Respond)
        return decision
    if isinstance(decision, RedirectToTLS) and not secure:
        return decision.plain
    host = "" if secure or not head.target.startswith(b"/") else host_of(head.authority)
    if not host or not _is_terminated(table, host, terminates):
        return Respond(403, REASON, route=route)
    return _redirect(route, host, table.https_port)


def _is_terminated(table: RoutingTable, host: str, terminates: Callable[[str], bool]) -> bool:
    # Clients send no address as a server name; a certificate may hold one all the same.
    if is_ip_address(host):
        return terminates(host)
    return isinstance(table.route_tls(ClientHello(host), terminates), Terminate)


def _redirect(route: Route, host: str, https_port: int) -> Redirect:
    name = f"[{host}]" if ":" in host else host
    port = "" if https_port == 443 else f":{https_port}"
    return Redirect(route, RedirectRule(f"https://{name}{port}", 308))
