"""Hooks around requests of a WSGI server, as around those of any other front."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import meshlib
from meshlib_adapters.wsgi import mesh_wsgi
from tests.support.backend import Backend
from tests.support.wsgi_calls import call, environ_of


@pytest.mark.parametrize("waits", [False, True])
def test_a_hook_may_change_fields_respond_or_raise(waits: bool) -> None:
    upstream = Backend()
    mesh = meshlib.Mesh({"*": [f"127.0.0.1:{upstream.port}"]})

    def decide(request: meshlib.Request) -> meshlib.Changes | meshlib.Response:
        if request.path == "/refused":
            return meshlib.Response(403, {}, "no")
        if request.path == "/raises":
            raise LookupError("no such user")
        return meshlib.Changes({"X-User": "anna"})

    async def later(request: meshlib.Request) -> meshlib.Changes | meshlib.Response:
        await asyncio.sleep(0)
        return decide(request)

    mesh.before(later if waits else decide)
    with contextlib.ExitStack() as stack:
        stack.callback(upstream.stop)
        app = mesh_wsgi(None, mesh=mesh)
        stack.callback(app.close)
        passed = call(app, environ_of(data=b"hello"))
        assert (passed.status, passed.read()) == (200, b"ok")
        refused = call(app, environ_of(data=b"hello", PATH_INFO="/refused"))
        assert (refused.status, refused.read()) == (403, b"no")
        assert call(app, environ_of(PATH_INFO="/raises")).status == 500
    (request,) = upstream.requests
    assert request.endswith(b"\r\n\r\nhello")
    assert b"\r\nX-User: anna\r\n" in request
