"""The programs that docs/embedding.md compares do the same, and have as many lines as it says."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from aiohttp import web

from meshlib_adapters.testing import FakeUpstream
from tests.architecture.tree import ROOT
from tests.support.tcp_lab import closed_port

_FOLDER = ROOT / "tests/examples/comparisons"
_NAMES = ["meshlib", "starlette_httpx", "asgi_proxy_lib", "aiohttp"]


def lines(name: str) -> int:
    """Lines of code: no docstring, no comment, no blank line."""
    tree = ast.parse(text := (_FOLDER / f"with_{name}.py").read_text())
    docstring = tree.body[0].end_lineno or 0
    return sum(bool(line.strip()) for line in text.splitlines()[docstring:])


@contextlib.asynccontextmanager
async def served(name: str, *endpoints: str) -> AsyncIterator[httpx.AsyncClient]:
    app: Any = importlib.import_module(f"tests.examples.comparisons.with_{name}").create_app(
        *endpoints
    )
    if isinstance(app, web.Application):
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        stop = runner.cleanup
    else:
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]

        async def stop() -> None:
            server.should_exit = True
            await serving

    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False
        ) as client:
            yield client
    finally:
        await stop()


# asgi-proxy-lib passes bodies to httpx in a way that this deprecates.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
@pytest.mark.parametrize("name", _NAMES)
def test_it_does_what_is_compared(name: str) -> None:
    async def main() -> None:
        with FakeUpstream("one") as one, FakeUpstream("two") as two:
            async with served(name, one.address, two.address) as client:
                shop = {"Host": "shop.example.com"}
                found = [(await client.get("/a?b=c", headers=shop)).text for _ in range(4)]
                assert sorted(found) == ["one", "one", "two", "two"]
                assert one.requests[0].target == "/a?b=c"
                await client.post("/p", headers=shop, content=b"body")
                assert b"body" in {request.body for request in (*one.requests, *two.requests)}
                moved = await client.get("/a?b=c", headers={"Host": "old.example.com"})
                assert moved.status_code == 301
                assert moved.headers["Location"] == "https://shop.example.com/a?b=c"
                unknown = await client.get("/", headers={"Host": "nobody.example.com"})
                assert unknown.status_code == 404

    asyncio.run(main())


@pytest.mark.parametrize("name", [name for name in _NAMES if name != "asgi_proxy_lib"])
def test_it_passes_over_an_endpoint_that_is_gone(name: str) -> None:
    async def main() -> None:
        with FakeUpstream("one") as one:
            dead = f"127.0.0.1:{closed_port()}"
            async with served(name, dead, one.address) as client:
                for _ in range(3):
                    found = await client.get("/", headers={"Host": "shop.example.com"})
                    assert found.text == "one"

    asyncio.run(main())


def test_the_page_has_the_lines_and_ours_are_fewest() -> None:
    counted = {name: lines(name) for name in _NAMES}
    page = (ROOT / "docs/embedding.md").read_text()
    told = re.findall(
        r"^\| \[.*?\]\(\.\./tests/examples/comparisons/with_(\w+)\.py\) \| (\d+) \|", page, re.M
    )
    assert {name: int(count) for name, count in told} == counted
    assert min(counted, key=counted.__getitem__) == "meshlib"
