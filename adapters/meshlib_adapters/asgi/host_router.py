"""`HostRouter`: several applications in one process, each for its hosts and paths."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from typing import Final
from urllib.parse import unquote

from meshlib.decision import Respond
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import HostPath
from meshlib_adapters.asgi.lifespans import Lifespans
from meshlib_adapters.asgi.responses import send_local
from meshlib_adapters.asgi.scope import routing_head_of
from meshlib_adapters.asgi.types import ASGIApplication, Receive, Scope, Send
from meshlib_adapters.proxy.local_responses import local_error

__all__ = ["HostRouter"]

_UNREADABLE: Final = Respond(400, "bad_request")


class HostRouter:
    """Gives each request and WebSocket to the application of its host and path; 404 for all others.

        app = HostRouter({"shop.example.com": shop, "*.example.com/api": api, "*": rest})

    Keys are those of a `Mesh`, and the most specific one wins. An application sees its requests as
    they came; with `strip_prefix` the path of its key is its `root_path`, as if it were mounted
    there. Each application gets a lifespan, started in their order and ended in the reverse one,
    and its own state; where one fails to start, so does the server. Raises `ConfigurationError`.
    """

    def __init__(self, apps: Mapping[str, ASGIApplication], *, strip_prefix: bool = False) -> None:
        self._mesh = Mesh({key: [] for key in apps})  # nothing here needs an address
        for route in self._mesh.routes:
            if not isinstance(route.match, HostPath) or not callable(apps[route.label]):
                hint = 'write {"shop.example.com": app}'
                where = f"HostRouter[{route.label!r}]"
                raise ConfigurationError("no application for requests", where=where, hint=hint)
        self._apps = dict(apps)
        self._strip_prefix = strip_prefix
        self._lifespans = Lifespans(self._apps.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entrance."""
        if scope["type"] == "lifespan":
            await self._lifespans.serve(scope, receive, send)
            return
        head = routing_head_of(scope)
        found = self._mesh.table.route(head) if head is not None else _UNREADABLE
        if found.route is None:
            status = found.status if isinstance(found, Respond) else 404
            if scope["type"] == "websocket":
                await receive()  # websocket.connect
            date = formatdate(usegmt=True)
            await send_local(scope, receive, send, local_error(status, "", date=date))
            return
        app = self._apps[found.route.label]
        changes: Scope = {"state": self._lifespans.state_of(app, scope)}
        if self._strip_prefix and found.route.path != "/":
            changes["root_path"] = scope.get("root_path", "") + unquote(found.route.path)
        await app({**scope, **changes}, receive, send)
