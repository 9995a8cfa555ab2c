"""The applications of the scenarios `wsgi`, each for gunicorn: one that responds itself, and one
that proxies to the port of MESHLIB_BENCH_UPSTREAM.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["bare", "by_meshlib"]

_BODY = b"s" * 100
_FIELDS = [("Content-Type", "text/plain"), ("Content-Length", "100")]


def bare(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The least that an application can do: 100 bytes of its own."""
    start_response("200 OK", list(_FIELDS))
    return [_BODY]


def by_meshlib() -> WSGIApplication:
    """`mesh_wsgi` with one route, in front of `bare`."""
    from meshlib.mesh import Mesh
    from meshlib_adapters.wsgi import mesh_wsgi
    from tests.benchmarks.configurations import SMALL_HOST, STREAM_HOST

    endpoint = f"127.0.0.1:{os.environ['MESHLIB_BENCH_UPSTREAM']}"
    return mesh_wsgi(bare, mesh=Mesh({SMALL_HOST: [endpoint], STREAM_HOST: [endpoint]}))
