"""`Redirects`: redirects in front of an application, by host and path."""

from __future__ import annotations

from collections.abc import Mapping

from meshlib.decision import Redirect
from meshlib.mesh import Mesh
from meshlib.model import RedirectRule
from meshlib.redirects import location
from meshlib.routes import redirect
from meshlib.table.settled import settled
from meshlib_adapters.asgi.scope import routing_head_of
from meshlib_adapters.asgi.types import ASGIApplication, Receive, Scope, Send

__all__ = ["Redirects"]


class Redirects:
    """Redirects requests for the hosts and paths in `redirects`; everything else reaches `app` as
    it came, and so do WebSockets.

        app = Redirects(app, {
            "old.example.com": "https://shop.example.com",
            "shop.example.com/news": meshlib.redirect("https://news.example.com", 308),
        })

    Keys are those of a `Mesh`: "HOST[/PATH]", "*.example.com", "*". A URL alone redirects with 301,
    path and query kept unless it has a path of its own. A request that is already where its
    redirect leads is not redirected. Raises `ConfigurationError` for a wrong key or target.
    """

    def __init__(self, app: ASGIApplication, redirects: Mapping[str, str | RedirectRule]) -> None:
        self.app = app
        self._mesh = Mesh(
            {
                key: target if isinstance(target, RedirectRule) else redirect(target)
                for key, target in redirects.items()
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entrance."""
        head = routing_head_of(scope) if scope["type"] == "http" else None
        if head is not None:
            table, secure = self._mesh.table, scope.get("scheme") == "https"
            found = settled(table, head, table.route(head), secure=secure)
            if isinstance(found, Redirect):
                headers = [(b"location", location(found.rule, head.target))]
                headers.append((b"content-length", b"0"))
                status = found.rule.status
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
        await self.app(scope, receive, send)
