"""The admin side: `/-/live`, `/-/ready`, `/-/routes`, `/-/status`, `/-/explain`, `/metrics`.

Read-only (GET and HEAD), answers from memory, off the public listeners. On a loopback address only
requests for an address or `localhost` are taken, so that no web page can reach it by DNS rebinding.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import meshlib
from meshlib.authority import parse_authority
from meshlib.errors import AuthorityError, ConfigurationError
from meshlib_adapters.gateway.built import COMPILED
from meshlib_adapters.gateway.explaining import explanation_data, parse_question
from meshlib_adapters.gateway.listing import routes_data
from meshlib_adapters.metrics.exposition import CONTENT_TYPE
from meshlib_adapters.provider import Provider
from meshlib_adapters.publish import CurrentSnapshot

__all__ = ["AdminServer", "CertificateEnds", "GatewayView", "create_admin", "status_data"]

# Nobody needs more at a time, and each may hold a large routing table as text.
MAX_CONNECTIONS = 64


class CertificateEnds(Protocol):
    """When each certificate in use ends (seconds since 1970), by name."""

    @property
    def not_after(self) -> Mapping[str, float]: ...


class GatewayView(Protocol):
    """What the admin side sees of a gateway. `not_ready` is "" when it is ready, else why it is not."""

    @property
    def current(self) -> CurrentSnapshot: ...
    @property
    def providers(self) -> Sequence[Provider]: ...
    @property
    def not_ready(self) -> str: ...
    @property
    def started_at(self) -> float: ...
    @property
    def certificates(self) -> CertificateEnds | None: ...


def status_data(view: GatewayView, now: float) -> dict[str, Any]:
    """Providers with their state and age, and versions; `now` and ages are monotonic seconds."""
    return {
        "version": meshlib.__version__,
        "compiled": COMPILED,
        "uptime": round(now - view.started_at, 3),
        "ready": not view.not_ready,
        "reason": view.not_ready,
        "snapshot": {
            "version": view.current.version,
            "routes": len(view.current.table.routes),
            "diagnostics": len(view.current.table.diagnostics),
        },
        "providers": [
            {
                "name": provider.name,
                "state": provider.status.state,
                "reason": provider.status.reason,
                "age": None if provider.status.last_success is None else round(now - provider.status.last_success, 3),
            }
            for provider in view.providers
        ],
    }


def create_admin(
    view: GatewayView,
    *,
    loopback: bool,
    details: Callable[[], dict[str, Any]] = dict,
    metrics: Callable[[], AsyncIterator[bytes]] | None = None,
    terminates: Callable[[str], bool] | None = None,
) -> ASGIApp:
    """The admin side as an ASGI application. `loopback`: it listens on a loopback address only.

    `details` is called for what `/-/status` tells besides `status_data`, `metrics` for the page `/metrics` (None: there is none).
    `terminates` as in `RoutingTable.route_tls`.
    """

    async def ready(request: Request) -> Response:
        reason = view.not_ready
        return _json({"ready": not reason, "reason": reason}, 503 if reason else 200)

    async def routes(request: Request) -> Response:
        return _json(routes_data(view.current.table))

    async def status(request: Request) -> Response:
        return _json({**status_data(view, time.monotonic()), **details()})

    async def explain(request: Request) -> Response:
        query = request.query_params
        if not query.get("url"):
            return _json({"error": "ask with ?url=http://host/path (and method=, header=Name:value)"}, 400)
        try:
            question = parse_question(query["url"], method=query.get("method", "GET"), headers=query.getlist("header"))
        except ConfigurationError as error:
            return _json({"error": str(error)}, 400)
        return _json(explanation_data(view.current.table, question, terminates))

    async def index(request: Request) -> Response:
        return _json({"paths": [*(f"/-/{name}" for name in _PATHS), *(["/metrics"] if metrics is not None else [])]})

    async def numbers(request: Request) -> Response:
        assert metrics is not None  # there is no such path without
        fields = {"Content-Type": CONTENT_TYPE, **_FIELDS}
        return Response(headers=fields) if request.method == "HEAD" else StreamingResponse(metrics(), headers=fields)

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
    return _LoopbackOnly(app) if loopback else app


async def _live(request: Request) -> Response:
    return _json({"live": True})


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # registered for nothing else
    return _json({"error": error.detail}, error.status_code, dict(error.headers or {}))


_PATHS = ("live", "ready", "routes", "status", "explain")
_FIELDS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class _LoopbackOnly:
    """Answers 421 to a request for a name other than `localhost`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_local(dict(scope["headers"]).get(b"host", b"")):
            await _json({"error": "ask by address, or as localhost"}, 421)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_local(host: bytes) -> bool:
    try:
        name = parse_authority(host.decode("latin-1")).host
    except AuthorityError:
        return not host  # HTTP/1.0 without Host is no browser
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _json(data: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(data, indent=1) + "\n", status, {**_FIELDS, **(headers or {})}, "application/json")


class AdminServer:
    """Serves `app` on bound sockets inside the running event loop, until `close`."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            loop="none",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
        )
        self._server = _QuietServer(config)

    async def serve(self, sockets: list[socket.socket]) -> None:
        """Runs until `close` was called and what was under way is answered."""
        await self._server.serve(sockets=sockets)

    def close(self) -> None:
        self._server.should_exit = True


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The gateway has its own; uvicorn would take SIGTERM away from it and raise it again at its end.
        yield
