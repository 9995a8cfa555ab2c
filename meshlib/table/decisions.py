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

__all__ = ["decide_http", "decide_tls"]


def decide_http(
    route: Route, upstream: Upstream | None, retry_after: int, https_port: int = 443
) -> TableDecision:
    """The decision for every request that this route wins. `https_port` is the port of https as
    clients see it.
    """
    if isinstance(route.action, RedirectRule):
        return Redirect(route, route.action)
    ready = upstream is not None and upstream.ready
    decision = (
        Forward(route, upstream)
        if upstream is not None and ready
        else Respond(503, "no_endpoint", retry_after, route)
    )
    if not route.options.https_only:
        return decision
    # 308 keeps the method. Whether there is an endpoint does not matter yet.
    host = f"[{route.host}]" if ":" in route.host else route.host
    port = "" if https_port == 443 else f":{https_port}"
    return RedirectToTLS(
        route, Redirect(route, RedirectRule(f"https://{host}{port}", 308)), decision
    )


def decide_tls(route: Route, upstream: Upstream | None) -> TLSDecision:
    """The decision for every hello that this route wins. 80 is internal_error, the alert for "not
    now".
    """
    if upstream is not None and upstream.ready:
        return Passthrough(route, upstream)
    return Reject(80, "no_endpoint", route)
