"""The task of the comparison with aiohttp. It has no WebSockets."""

from collections.abc import AsyncIterator
from itertools import cycle

from aiohttp import ClientConnectorError, ClientSession, hdrs, web
from multidict import CIMultiDict

HOP_BY_HOP = ("Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade")


def without_hops(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    for name in HOP_BY_HOP:
        headers.popall(name, None)
    return headers


def create_app(*endpoints: str) -> web.Application:
    turns = cycle(endpoints)
    session = web.AppKey("session", ClientSession)

    async def shop(request: web.Request) -> web.StreamResponse:
        headers = without_hops(CIMultiDict(request.headers))
        headers.add("X-Forwarded-For", request.remote or "unknown")
        data = request.content if request.can_read_body else None
        for _ in endpoints:
            url = f"http://{next(turns)}{request.rel_url}"
            try:
                got = await request.app[session].request(
                    request.method, url, headers=headers, data=data, allow_redirects=False
                )
            except ClientConnectorError:
                continue
            async with got:
                response = web.StreamResponse(status=got.status)
                response.headers.extend(without_hops(CIMultiDict(got.headers)))
                await response.prepare(request)
                async for chunk in got.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        raise web.HTTPBadGateway

    async def serve(request: web.Request) -> web.StreamResponse:
        host = request.host.partition(":")[0].lower()
        if host == "shop.example.com":
            return await shop(request)
        if host == "old.example.com":
            raise web.HTTPMovedPermanently(f"https://shop.example.com{request.rel_url}")
        raise web.HTTPNotFound

    async def sessions(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession(auto_decompress=False) as app[session]:
            yield

    app = web.Application(client_max_size=0)
    app.router.add_route(hdrs.METH_ANY, "/{path:.*}", serve)
    app.cleanup_ctx.append(sessions)
    return app
