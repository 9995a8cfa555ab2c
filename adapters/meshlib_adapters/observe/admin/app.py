"""Admin application: `/-/live`, `/-/ready`, `/-/routes`, `/-/status`, `/-/explain`, `/metrics`.

Read-only (GET and HEAD), served from memory, apart from the public listeners. Only requests whose
Host is an address, `localhost` or a name from the settings are accepted: a web page that points its
own name here (DNS rebinding) gets nothing.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import meshlib
from meshlib.authority import parse_authority
from meshlib.errors import AuthorityError, ConfigurationError
from meshlib_adapters.observe.admin.explanation import explanation_data, parse_question
from meshlib_adapters.observe.admin.listening import Listening
from meshlib_adapters.observe.admin.pages import stream_json, stream_routes, table_lists
from meshlib_adapters.observe.admin.view import GatewayView, provider_status
from meshlib_adapters.observe.build_info import COMPILED
from meshlib_adapters.observe.metrics.exposition import CONTENT_TYPE

__all__ = ["HEALTH", "create_admin", "status_data"]


# Served however many pages are being read, so that no orchestrator restarts a healthy gateway.
HEALTH = ("/-/live", "/-/ready")


def status_data(view: GatewayView, now: float) -> dict[str, Any]:
    """Providers with their state and age, and versions; `now` and ages are monotonic seconds."""
    return {
        "version": meshlib.__version__,
        "compiled": COMPILED,
        "uptime": round(now - view.started_at, 3),
        "ready": not view.not_ready,
        "reason": view.not_ready,
        "snapshot": {
            "version": view.mesh.version,
            "routes": len(view.mesh.table.routes),
            "degraded_routes": sum(route.degraded for route in view.mesh.table.routes),
            "diagnostics": len(view.mesh.table.diagnostics),
        },
        "providers": [
            {
                "name": provider.name,
                "state": status.state,
                "reason": status.reason,
                "from_disk": provider.name in view.from_disk,
                "age": None if status.last_success is None else round(now - status.last_success, 3),
            }
            for provider in view.providers
            for status in (provider_status(view, provider),)
        ],
    }


def create_admin(
    view: GatewayView,
    *,
    hosts: Collection[str] = (),
    details: Callable[[], dict[str, Any]] = dict,
    metrics: Callable[[], AsyncIterator[bytes]] | None = None,
    listeners: Callable[[], Listening] = Listening,
) -> ASGIApp:
    """Create the admin side as an ASGI application, for requests whose Host is an address,
    `localhost` or one of `hosts`.

    `details` returns what `/-/status` shows besides `status_data`, `metrics` the page `/metrics`
    (None: no such page), `listeners` what is open at the moment.
    """

    async def ready(request: Request) -> Response:
        reason = view.not_ready
        kept = {"from_disk": list(view.from_disk)} if view.from_disk else {}
        return _json({"ready": not reason, "reason": reason, **kept}, 503 if reason else 200)

    async def routes(request: Request) -> Response:
        return _page(request, stream_routes(view.mesh.table, listeners()))

    async def status(request: Request) -> Response:
        await table_lists(view.mesh.table)
        return _json({**status_data(view, time.monotonic()), **details()})

    async def explain(request: Request) -> Response:
        query = request.query_params
        if not query.get("url"):
            return _json(
                {"error": "give ?url=http://host/path (and method=, header=Name:value)"}, 400
            )
        try:
            question = parse_question(
                query["url"], method=query.get("method", "GET"), headers=query.getlist("header")
            )
        except ConfigurationError as error:
            return _json({"error": str(error)}, 400)
        # In a thread: a host with thousands of paths has thousands of candidates.
        data = await anyio.to_thread.run_sync(
            explanation_data, view.mesh.table, question, listeners()
        )
        return _page(request, stream_json(data))

    async def index(request: Request) -> Response:
        return _json(
            {
                "paths": [
                    *(f"/-/{name}" for name in _PATHS),
                    *(["/metrics"] if metrics is not None else []),
                ]
            }
        )

    async def numbers(request: Request) -> Response:
        assert metrics is not None  # without metrics this path is not registered
        return _page(request, metrics(), CONTENT_TYPE)

    handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "live": _live,
        "ready": ready,
        "routes": routes,
        "status": status,
        "explain": explain,
    }
    assert tuple(handlers) == _PATHS
    app = Starlette(
        routes=[
            Route("/", index),
            *(Route(f"/-/{name}", call, methods=["GET"]) for name, call in handlers.items()),
            *([Route("/metrics", numbers, methods=["GET"])] if metrics is not None else []),
        ],
        exception_handlers={HTTPException: _failed},
    )
    return _KnownHosts(app, hosts)


async def _live(request: Request) -> Response:
    return _json({"live": True})


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # not registered for any other exception
    return _json({"error": error.detail}, error.status_code, dict(error.headers or {}))


_PATHS = ("live", "ready", "routes", "status", "explain")
_FIELDS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class _KnownHosts:
    """Responds with 421 to a request for a name other than `localhost` and `names`."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = frozenset({"localhost", *names})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_known(dict(scope["headers"]).get(b"host", b"")):
            error = "connect by address, as localhost, or by a name in the setting admin_hosts"
            await _json({"error": error}, 421)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_known(self, host: bytes) -> bool:
        try:
            name = parse_authority(host.decode("latin-1")).host
        except AuthorityError:
            return not host  # no browser sends HTTP/1.0 without Host
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)  # an address cannot be rebound
        except ValueError:
            return False
        return True


def _page(
    request: Request, pieces: AsyncIterator[bytes], kind: str = "application/json"
) -> Response:
    fields = {"Content-Type": kind, **_FIELDS}
    return (
        Response(headers=fields)
        if request.method == "HEAD"
        else StreamingResponse(pieces, headers=fields)
    )


def _json(data: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        json.dumps(data, indent=1) + "\n",
        status,
        {**_FIELDS, **(headers or {})},
        "application/json",
    )
