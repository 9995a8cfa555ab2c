"""Options of a route: what it asks for besides its match and its action.

Each is a row of `meshlib.labels.options`, a field here, and one place in
`meshlib_adapters.proxy.exchange` or `meshlib.forwarding`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

__all__ = ["NO_OPTIONS", "RouteOptions"]


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """Options of one route.

    `sticky_cookie` names the application's cookie that pins a session to an endpoint.
    `forwarded_for` asks for X-Forwarded-For, as HRM's include_forwarded_for did. `https_only`
    redirects requests that did not come over TLS to https (HTTP routes with one host only). `hsts`
    is the value of Strict-Transport-Security for responses over TLS that do not have one ("":
    none). `share_with` names those whom the owner of the host lets ask for it too, as
    `meshlib.ownership.admits` reads them.

    `response_head`, `between_bytes` and `tunnel_idle` are time-outs in whole seconds that take the
    place of the settings `timeouts.*` of these names for this route (0: the settings hold).

    `hooks` are the names of the hooks that its requests meet, in their order (`meshlib.hooks`). A
    route that names one that the gateway does not have is not served.

    Two services with the same route must agree on every field whose metadata has `shared`, the name
    of the field in diagnostics.
    """

    sticky_cookie: str | None = field(default=None, metadata={"shared": "sticky cookie"})
    forwarded_for: bool = field(default=False, metadata={"shared": "forwarded-for"})
    https_only: bool = field(default=False, metadata={"shared": "https"})
    hsts: str = field(default="", metadata={"shared": "hsts"})
    share_with: tuple[str, ...] = ()
    response_head: int = field(default=0, metadata={"shared": "response_head"})
    between_bytes: int = field(default=0, metadata={"shared": "between_bytes"})
    tunnel_idle: int = field(default=0, metadata={"shared": "tunnel_idle"})
    hooks: tuple[str, ...] = field(default=(), metadata={"shared": "hooks"})

    @property
    def shortest_time_out(self) -> int:
        """The shortest time-out of the route's own; 0: it has none."""
        own = [one for one in (self.response_head, self.between_bytes, self.tunnel_idle) if one]
        return min(own, default=0)

    def shared(self) -> dict[str, object]:
        """The values that two services with the same route must agree on, by name."""
        return {name: getattr(self, attribute) for name, attribute in _SHARED.items()}


_SHARED: Final = {
    one.metadata["shared"]: one.name for one in fields(RouteOptions) if "shared" in one.metadata
}
NO_OPTIONS: Final = RouteOptions()
