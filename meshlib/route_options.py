"""What a route asks for besides what to match and where to forward to.

An option of a label is a row of `meshlib.labels.options`, a field here, and what is done about
it in `meshlib_adapters.proxy` or `meshlib.forwarding`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

__all__ = ["NO_OPTIONS", "RouteOptions"]


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """What a route asks for besides, as labels say it.

    `sticky_cookie` names the application's cookie that pins a session to an endpoint.
    `forwarded_for` is the label's own wish for X-Forwarded-For (HRM's include_forwarded_for).
    `https_only`: requests that did not come over TLS are sent there instead (exact hosts of HTTP
    routes only). `hsts`: the value of Strict-Transport-Security for responses over TLS that do not
    have one ("": none). `share_with`: whom the owner of the host lets ask for it, too, as
    `meshlib.ownership.admits` reads it.

    The metadata `shared` says of a field what it is called where two services that ask for one
    route have to agree on it; without it they need not.
    """

    sticky_cookie: str | None = field(default=None, metadata={"shared": "sticky cookie"})
    forwarded_for: bool = field(default=False, metadata={"shared": "forwarded-for"})
    https_only: bool = field(default=False, metadata={"shared": "https"})
    hsts: str = field(default="", metadata={"shared": "hsts"})
    share_with: tuple[str, ...] = ()

    def shared(self) -> dict[str, object]:
        """What two services that ask for one route have to agree on, by name."""
        return {name: getattr(self, attribute) for name, attribute in _SHARED.items()}


_SHARED: Final = {
    one.metadata["shared"]: one.name for one in fields(RouteOptions) if "shared" in one.metadata
}
NO_OPTIONS: Final = RouteOptions()
