from __future__ import annotations

from typing import Any

import pytest

from meshlib.http1 import parse_response_head
from meshlib_adapters.proxy.local_responses import local_error
from meshlib_adapters.upstream.messages import ForwardResponse
from meshlib_adapters.wsgi.responses import respond_local, start_forwarded

Started = tuple[str, list[tuple[str, str]]]


def started(wire: bytes, environ: dict[str, Any]) -> Started:
    found: list[Started] = []

    def start_response(status: str, fields: list[tuple[str, str]], exc: object = None) -> Any:
        found.append((status, fields))

    response = ForwardResponse.of_http1(parse_response_head(wire))
    start_forwarded(environ, start_response, response)
    return found[0]


@pytest.mark.parametrize(
    ("software", "names"),
    [
        ("waitress", ["date", "server", "proxy", "set-cookie"]),
        ("gunicorn/27.0.1", ["proxy", "set-cookie"]),
        ("Werkzeug/3.1.3", ["proxy", "set-cookie"]),
        (None, ["date", "server", "proxy", "set-cookie"]),
    ],
)
def test_nothing_is_said_that_the_server_says_itself(
    software: str | None, names: list[str]
) -> None:
    wire = (
        b"HTTP/1.1 200 Fine \xe4\r\nDate: x\r\nServer: y\r\nConnection: z\r\nProxy: p\r\n"
        b"Keep-Alive: 5\r\nProxy-Authenticate: Basic\r\nTrailer: a\r\nUpgrade: TLS/1.0\r\n"
        b"Set-Cookie: \xe4\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    status, fields = started(wire, {"SERVER_SOFTWARE": software} if software else {})
    assert status == "200 Fine ä"
    assert [name for name, _ in fields] == names
    assert fields[-1] == ("set-cookie", "ä")


@pytest.mark.parametrize(
    ("line", "status"), [(b"404 ", "404 Not Found"), (b"299 ", "299 Error"), (b"200 ok", "200 ok")]
)
def test_there_is_always_a_reason(line: bytes, status: str) -> None:
    assert started(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % line, {})[0] == status


def test_a_304_has_no_length() -> None:
    wire = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n"
    assert started(wire, {})[1] == [("etag", "x")]


@pytest.mark.parametrize("head_only", [False, True])
def test_a_response_of_our_own(head_only: bool) -> None:
    found: list[Started] = []

    def start_response(status: str, fields: list[tuple[str, str]], exc: object = None) -> Any:
        found.append((status, fields))

    response = local_error(503, "no_endpoint", head_only=head_only, retry_after=1, date="now")
    body = respond_local({"SERVER_SOFTWARE": "gunicorn/1"}, start_response, response)
    assert bool(body) != head_only
    ((status, fields),) = found
    assert status == "503 Service Unavailable"
    assert ("retry-after", "1") in fields
    assert "date" not in dict(fields)
