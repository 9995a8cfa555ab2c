"""Decisions that look-ups return, built once from routes and upstreams."""

from __future__ import annotations

from meshlib.decision import (
    Forward,
    Passthrough,
    Redirect,
    RedirectToTLS,
    Reject,
    Respond,
    TableDecision,
    TLSDecision,
)
from meshlib.model import RedirectRule, Route, Upstream
from meshlib.redirects import leads_to_tls, may_return

__all__ = ["decide_http", "decide_tls"]


def decide_http(
    route: Route,
    upstream: Upstream | None,
    to_tls: Route | None = None,
    *,
    retry_after: int,
    https_port: int = 443,
    hooks: frozenset[str] = frozenset(),
) -> TableDecision:
    """The decision for every request that this route wins. `to_tls` is the route of the same match
    that redirects what came without TLS (None: there is none); `https_port` is the port of https as
    clients see it. `hooks` are those that routes may name: what names another one is not served,
    because the other one may be what protects it.
    """
    if isinstance(route.action, RedirectRule):
        return _decide_redirect(route, route.action)
    ready = upstream is not None and upstream.ready
    decision = (
        Forward(route, upstream)
        if upstream is not None and ready
        else Respond(503, "no_endpoint", retry_after, route)
    )
    if not hooks.issuperset(route.options.hooks):
        decision = Respond(503, "unknown_hook", route=route)
    if to_tls is not None and isinstance(to_tls.action, RedirectRule):
        return RedirectToTLS(to_tls, Redirect(to_tls, to_tls.action), decision)
    if not route.options.https_only:
        return decision
    # 308 keeps the method. Whether there is an endpoint does not matter yet.
    host = f"[{route.host}]" if ":" in route.host else route.host
    port = "" if https_port == 443 else f":{https_port}"
    return RedirectToTLS(
        route, Redirect(route, RedirectRule(f"https://{host}{port}", 308)), decision
    )


def _decide_redirect(route: Route, rule: RedirectRule) -> TableDecision:
    if leads_to_tls(route.host, rule):
        return RedirectToTLS(route, Redirect(route, rule))
    return Redirect(route, rule, may_return(route.host, rule))


def decide_tls(route: Route, upstream: Upstream | None, to_tls: Route | None = None) -> TLSDecision:
    """The decision for every hello that this route wins. 80 is internal_error, the alert for "not
    now". Nothing redirects TLS that is passed through, so `to_tls` is always None.
    """
    if upstream is not None and upstream.ready:
        return Passthrough(route, upstream)
    return Reject(80, "no_endpoint", route)
