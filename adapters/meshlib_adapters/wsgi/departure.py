"""Whether the client of a request has gone: WSGI has no word for it, but some servers can tell."""

from __future__ import annotations

import socket
from collections.abc import Callable
from wsgiref.types import WSGIEnvironment

__all__ = ["departure_of"]


def departure_of(environ: WSGIEnvironment) -> Callable[[], bool] | None:
    """A function that says whether the client has gone, or None where nobody can tell. It is for
    the thread that serves the request.

    waitress tells it, if `channel_request_lookahead` is set. gunicorn shows the client's socket:
    one that has ended its direction counts as gone, as with other gateways and servers. Of a
    client by TLS nothing can be seen without reading.
    """
    disconnected = environ.get("waitress.client_disconnected")
    if callable(disconnected):
        return lambda: bool(disconnected())
    client = environ.get("gunicorn.socket")
    if type(client) is socket.socket:
        return lambda: _has_ended(client)
    return None


def _has_ended(client: socket.socket) -> bool:
    try:
        return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
