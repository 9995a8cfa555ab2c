"""Requests to a WSGI application without a server."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Called", "call", "environ_of"]


@dataclass
class Called:
    """What an application responded with. `body` is what it returned; to be closed by the caller
    who does not read it.
    """

    status: int
    fields: dict[str, str] = field(default_factory=dict)
    body: Any = ()

    def read(self) -> bytes:
        """The whole body, which is closed then, whatever happens."""
        try:
            return b"".join(self.body)
        finally:
            self.close()

    def close(self) -> None:
        """As a server does when it has all of the body, or the client has gone."""
        getattr(self.body, "close", lambda: None)()


def environ_of(host: str = "a", /, data: bytes = b"", **changes: Any) -> dict[str, Any]:
    """The environ of a GET, or of a POST with `data`; "" for a change takes a name out."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST" if data else "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "5",
        "HTTP_HOST": host,
        "CONTENT_LENGTH": str(len(data)) if data else "",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(data),
        **changes,
    }
    return {name: value for name, value in environ.items() if value != ""}


def call(app: Callable[..., Any], environ: dict[str, Any]) -> Called:
    """Call it, and return what it began."""
    called = Called(0)

    def start_response(status: str, fields: list[tuple[str, str]], exc: object = None) -> None:
        assert not called.status
        called.status = int(status.partition(" ")[0])
        called.fields = dict(fields)

    called.body = app(environ, start_response)
    return called
