"""Responses as `start_response` has them: the gateway's own, and the head of an upstream's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from wsgiref.types import StartResponse, WSGIEnvironment

from meshlib.http1.response import reason_phrase
from meshlib_adapters.proxy.local_responses import LocalResponse
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["respond_local", "start_forwarded"]

# What an application must not say (PEP 3333); "trailer" announces what WSGI cannot send.
_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    }
)
# These servers write Date and Server whatever the application says, and there would be two of each.
_WRITERS: Final = ("gunicorn/", "Werkzeug/")
_WRITTEN_BY_THEM: Final = _HOP | {b"date", b"server"}
# Content-Length of a 304 tells the length of what is not sent; servers take it for the body's.
_LENGTH: Final = frozenset({b"content-length"})


def start_forwarded(
    environ: WSGIEnvironment, start_response: StartResponse, response: ForwardResponse
) -> None:
    """Begin the response of an endpoint."""
    dropped = _dropped(environ)
    if response.status == 304:
        dropped = dropped | _LENGTH
    reason = response.head.reason.decode("latin-1").strip()
    _start(start_response, response.status, reason, response.pairs(), dropped)


def respond_local(
    environ: WSGIEnvironment, start_response: StartResponse, response: LocalResponse
) -> list[bytes]:
    """Begin a whole response of our own; returns its body."""
    _start(start_response, response.status, "", response.pairs(), _dropped(environ))
    return [response.body] if response.body else []


def _dropped(environ: WSGIEnvironment) -> frozenset[bytes]:
    software = str(environ.get("SERVER_SOFTWARE"))
    return _WRITTEN_BY_THEM if software.startswith(_WRITERS) else _HOP


def _start(
    start_response: StartResponse,
    status: int,
    reason: str,
    pairs: Sequence[tuple[bytes, bytes]],
    dropped: frozenset[bytes],
) -> None:
    fields = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in pairs
        if name not in dropped
    ]
    start_response(f"{status} {reason or reason_phrase(status)}", fields)
