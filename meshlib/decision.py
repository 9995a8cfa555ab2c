"""Decisions of routing, as values; adapters carry them out.

Decisions are made when the table is compiled, so a look-up returns an existing object. A `match`
over one of the unions ends in `assert_never`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from meshlib.model import RedirectRule, Route, Upstream

__all__ = [
    "Carry",
    "Decision",
    "Forward",
    "Passthrough",
    "PortDecision",
    "Redirect",
    "RedirectToTLS",
    "Refuse",
    "Reject",
    "Respond",
    "TLSDecision",
    "TableDecision",
    "Terminate",
]


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request on to an endpoint of `upstream` (which has at least one that is ready)."""

    route: Route
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Redirect:
    """Respond with `rule.status` and a Location made by `meshlib.redirects.location`.

    `may_return`: for some requests that is where they came to. A table returns it to callers that
    settle this (`meshlib.table.settled`); from `Mesh.route` it is a redirect, and nothing else.
    """

    route: Route
    rule: RedirectRule
    may_return: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Respond:
    """Respond with an error of our own.

    `reason` is a stable token: "no_route", "no_endpoint", "bad_authority", "ambiguous_path",
    "redirect_loop" (508).
    `retry_after` is in seconds (None: no such field). `route` is the matching route, if any.
    """

    status: int
    reason: str
    retry_after: int | None = None
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class RedirectToTLS:
    """Two decisions of a route that requires TLS: `secured` for a request that came over TLS,
    `plain`, which leads to the same host and path over https, for any other.

    `secured` None: the route does nothing but redirect, and what the table has besides decides. A
    table returns this to callers that find out themselves how a request came
    (`meshlib.table.settled`); `Mesh.route` never does.
    """

    route: Route
    plain: Redirect
    secured: Forward | Respond | None = None


@dataclass(frozen=True, slots=True)
class Passthrough:
    """Relay the TLS connection, undecrypted, to an endpoint of `upstream`."""

    route: Route
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse the TLS connection with the alert `alert` (RFC 8446 6.2: 112 is unrecognized_name, 80
    internal_error). `reason` is "no_route", "no_endpoint", "bad_server_name" or "no_certificate".
    """

    alert: int
    reason: str
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Carry:
    """Relay traffic of the port, unread, to an endpoint of `upstream` (which has at least one that
    is ready).
    """

    route: Route
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse everything on the port. `reason` is "no_route" or "no_endpoint"."""

    reason: str
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Terminate:
    """Terminate the TLS connection here, with the certificate for `server_name` ("": the client
    named none); each request in it is then routed by its own host. `route` is one of those for
    which the name was chosen.
    """

    server_name: str
    route: Route | None = None


Decision: TypeAlias = Forward | Redirect | Respond
TableDecision: TypeAlias = Forward | Redirect | RedirectToTLS | Respond
TLSDecision: TypeAlias = Passthrough | Reject | Terminate
PortDecision: TypeAlias = Carry | Refuse
