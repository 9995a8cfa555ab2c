"""Admin pages in pieces, so that a page of 100,000 routes neither blocks the event loop nor fills
the memory.

A piece is made once the client has taken those before it. All pieces show the same version of the
table.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import anyio.lowlevel
import anyio.to_thread

from meshlib.model import Diagnostic, Route
from meshlib.table import RoutingTable
from meshlib_adapters.observe.admin.listening import Listening
from meshlib_adapters.observe.admin.routes import diagnostic_data, endpoint_data, route_data

__all__ = ["stream_json", "stream_routes", "table_lists"]

_PIECE: Final = 16 * 1024  # characters; made within a millisecond
_ENDPOINTS: Final = 100  # encoded at once

_encode = json.JSONEncoder().encode


async def table_lists(table: RoutingTable) -> tuple[tuple[Route, ...], tuple[Diagnostic, ...]]:
    """`table.routes` and `table.diagnostics`, which a table computes on first use: in a thread,
    because that takes long.
    """
    return await anyio.to_thread.run_sync(lambda: (table.routes, table.diagnostics))


async def stream_routes(table: RoutingTable, listeners: Listening) -> AsyncIterator[bytes]:
    """`routes_data(table, listeners)` as JSON."""
    routes, diagnostics = await table_lists(table)
    owners = await anyio.to_thread.run_sync(lambda: table.owners)
    async for piece in _pieces(_routes(zip(routes, owners, strict=True), diagnostics, listeners)):
        yield piece


async def stream_json(data: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """A JSON object, with one line for each item of its lists."""
    async for piece in _pieces(_object(data)):
        yield piece


async def _pieces(texts: Iterator[str]) -> AsyncIterator[bytes]:
    found: list[str] = []
    size = 0
    for text in texts:
        found.append(text)
        size += len(text)
        if size >= _PIECE:
            yield "".join(found).encode()
            found, size = [], 0
            await anyio.lowlevel.checkpoint()
    yield "".join(found).encode()


def _object(data: Mapping[str, Any]) -> Iterator[str]:
    before = "{"
    for key, value in data.items():
        yield f"{before}{_encode(key)}: "
        if isinstance(value, list):
            yield from _array([_encode(item)] for item in value)
        else:
            yield _encode(value)
        before = ",\n"
    yield "}\n"


def _array(items: Iterable[Iterable[str]]) -> Iterator[str]:
    before = "["
    for item in items:
        yield f"{before}\n "
        yield from item
        before = ","
    yield "]" if before == "," else "[]"


def _routes(
    routes: Iterable[tuple[Route, str]], diagnostics: Iterable[Diagnostic], listeners: Listening
) -> Iterator[str]:
    yield '{"routes": '
    yield from _array(_route(route, owner, listeners) for route, owner in routes)
    yield ',\n"diagnostics": '
    yield from _array([_encode(diagnostic_data(item))] for item in diagnostics)
    yield "}\n"


def _route(route: Route, owner: str, listeners: Listening) -> Iterator[str]:
    data = route_data(route, owner, listeners)
    yield f'{_encode(data)[:-1]}, "endpoints": ['
    endpoints = iter(route.upstream.endpoints if route.upstream else ())
    before = ""
    while some := list(islice(endpoints, _ENDPOINTS)):
        yield before + _encode(endpoint_data(some))[1:-1]
        before = ", "
    yield "]}"
