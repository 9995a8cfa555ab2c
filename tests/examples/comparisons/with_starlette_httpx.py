"""The task of the comparison with Starlette and httpx. It has no WebSockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Host, Router

HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}


def create_app(*endpoints: str) -> Starlette:
    client = httpx.AsyncClient(follow_redirects=False)
    turns = cycle(endpoints)

    async def shop(request: Request) -> Response:
        headers = [pair for pair in request.headers.raw if pair[0].lower() not in HOP_BY_HOP]
        if request.client is not None:
            headers.append((b"x-forwarded-for", request.client.host.encode()))
        has_body = {"content-length", "transfer-encoding"} & set(request.headers)
        for _ in endpoints:
            url = request.url.replace(scheme="http", netloc=next(turns))
            body = request.stream() if has_body else None
            sent = client.build_request(request.method, str(url), headers=headers, content=body)
            try:
                got = await client.send(sent, stream=True)
            except httpx.ConnectError:
                continue
            background = BackgroundTask(got.aclose)
            response = StreamingResponse(got.aiter_raw(), got.status_code, background=background)
            pairs = [(name.lower(), value) for name, value in got.headers.raw]
            response.raw_headers = [pair for pair in pairs if pair[0] not in HOP_BY_HOP]
            return response
        return Response("no endpoint", 502)

    async def old(request: Request) -> Response:
        url = request.url.replace(scheme="https", netloc="shop.example.com")
        return RedirectResponse(str(url), 301)

    hosts = {"shop.example.com": shop, "old.example.com": old}
    routes = []
    for host, serve in hosts.items():
        router = Router()
        router.add_route("/{path:path}", serve, methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
        routes.append(Host(host, router))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    return Starlette(routes=routes, lifespan=lifespan)
