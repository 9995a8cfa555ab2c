"""Lines of the level "debug": what was decided, for whom, and why.

They hold no secret: of a request its method, host and path, never its query, fields or body. A line
is made only where the level is wanted; the parts that every request passes look at that once, when
they are made (`wanted`).
"""

from __future__ import annotations

import logging
from typing import Final, assert_never

from meshlib.bounds import bounded_text
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
from meshlib.messages import RequestHead
from meshlib.model import Endpoint, Route, Upstream

__all__ = [
    "REQUESTS",
    "decision_text",
    "request_text",
    "tell_decision",
    "tell_endpoint",
    "tell_failure",
    "tell_health",
    "tell_hello",
    "tell_no_response",
    "wanted",
]

# Decisions on requests, and the endpoints that they go to.
REQUESTS: Final = logging.getLogger("meshlib.proxy")
_CONNECTIONS: Final = logging.getLogger("meshlib.tcp")
_HEALTH: Final = logging.getLogger("meshlib.http")

_LONGEST: Final = 200


def wanted(logger: logging.Logger = REQUESTS) -> bool:
    """Whether anything takes debug lines of this logger now."""
    return logger.isEnabledFor(logging.DEBUG)


def request_text(head: RequestHead) -> str:
    """A request in a few words: "GET shop.example.com/cart?...", its query left out."""
    path, query, _ = head.target.partition(b"?")
    text = b"%s %s%s%s" % (head.method, head.authority, path, b"?..." if query else b"")
    return bounded_text(text.decode("latin-1"), _LONGEST)


def decision_text(decision: Decision | TableDecision | TLSDecision | PortDecision) -> str:
    """A decision in a few words: what becomes of the traffic, and by which route."""
    match decision:
        case Forward() | Passthrough() | Carry():
            return f"to upstream {decision.upstream.name}{_by(decision.route)}"
        case Redirect():
            return f"redirect {decision.rule.status}{_by(decision.route)}"
        case RedirectToTLS():
            if decision.secured is None:
                return f"redirect to https, unless it came over TLS{_by(decision.route)}"
            return f"redirect to https, over TLS {decision_text(decision.secured)}"
        case Respond():
            return f"response {decision.status} ({decision.reason}){_by(decision.route)}"
        case Reject():
            return f"TLS alert {decision.alert} ({decision.reason}){_by(decision.route)}"
        case Refuse():
            return f"refused ({decision.reason}){_by(decision.route)}"
        case Terminate():
            return f"TLS is terminated here{_by(decision.route)}"
    assert_never(decision)


def tell_decision(client: str, head: RequestHead, decision: Decision | TableDecision) -> None:
    """Tell what was decided on a request of a client."""
    REQUESTS.debug("%s: %s: %s", client, request_text(head), decision_text(decision))


def tell_hello(client: str, server_name: str, decision: TLSDecision) -> None:
    """Tell what was decided on the hello of a client."""
    if wanted(_CONNECTIONS):
        text = decision_text(decision)
        _CONNECTIONS.debug("%s: hello for %s: %s", client, server_name or "-", text)


def tell_endpoint(
    upstream: Upstream, endpoint: Endpoint, tries: int, *, sticky: bool = False
) -> None:
    """Tell which endpoint is asked, and why that one."""
    if tries > 1:
        why = f"try {tries}"
    else:
        why = "its session is bound to it" if sticky else f"chosen by {upstream.strategy}"
    REQUESTS.debug("%s: to %s (%s): %s", upstream.name, endpoint.address, endpoint.id, why)


def tell_failure(endpoint: Endpoint, reason: str, message: str) -> None:
    """Tell that an endpoint has failed a request, before it is known whether another is asked."""
    REQUESTS.debug("%s: %s: %s", endpoint.address, reason, message)


def tell_no_response(client: str, status: int, reason: str, message: str) -> None:
    """Tell that a request gets no response of an endpoint, or only its beginning."""
    REQUESTS.debug("%s: no response: %d (%s): %s", client, status, reason, message)


def tell_health(endpoint: Endpoint, before: str, now: str, why: str) -> None:
    """Tell that what was observed has changed the health of an endpoint."""
    _HEALTH.debug("%s (%s): %s after %s, was %s", endpoint.address, endpoint.id, now, why, before)


def _by(route: Route | None) -> str:
    if route is None:
        return ""
    kept = ", kept as its label had it before" if route.degraded else ""
    return f" by {route.name} of {route.service}{kept}"
