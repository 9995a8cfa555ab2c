"""The task of the comparison with asgi-proxy-lib, which is for one backend. Request bodies are in
memory; a dead endpoint gives 502; it has no WebSockets; the backend's host stands in Host.
"""

from itertools import cycle

from asgi_proxy import asgi_proxy  # type: ignore[import-untyped]
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


def create_app(*endpoints: str) -> ASGIApp:
    turns = cycle([asgi_proxy(f"http://{endpoint}") for endpoint in endpoints])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        host = dict(scope["headers"]).get(b"host", b"").partition(b":")[0].lower()
        if host == b"shop.example.com":
            await next(turns)(scope, receive, send)
        elif host == b"old.example.com":
            path, query = scope["path"], scope["query_string"].decode()
            url = f"https://shop.example.com{path}" + (f"?{query}" if query else "")
            await RedirectResponse(url, 301)(scope, receive, send)
        else:
            await PlainTextResponse("no such host", 404)(scope, receive, send)

    return app
