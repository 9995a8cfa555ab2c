"""The answers to plain HTTP on a TLS port: a short text, or the way to https."""

from __future__ import annotations

from http import HTTPStatus

from meshlib.authority import parse_authority
from meshlib.errors import ProtocolError
from meshlib.http1 import parse_request_head

__all__ = ["MAX_HEAD", "REFUSAL", "redirect_answer"]

# As much head as a browser sends (nginx and Apache give it 8 KiB); a client that needs more gets
# the refusal.
MAX_HEAD = 8 * 1024


def _answer(status: HTTPStatus, text: str, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n"
    return f"{head}{extra}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode(
        "ascii"
    )


REFUSAL = _answer(HTTPStatus.BAD_REQUEST, "plain HTTP sent to the TLS port\n")


def redirect_answer(head: bytes, *, status: int, https_port: int) -> bytes:
    """The redirect of the request `head` (complete) to https; `REFUSAL` when it cannot be followed
    by a careful client.

    The host is parsed and written anew, the target has passed the strict parser of `meshlib.http1`.
    """
    try:
        request = parse_request_head(head)
        host = parse_authority(request.authority.decode("latin-1")).host
    except ProtocolError:
        return REFUSAL
    if not request.target.startswith(b"/"):
        return REFUSAL
    name = f"[{host}]" if ":" in host else host
    port = "" if https_port == 443 else f":{https_port}"
    location = f"https://{name}{port}{request.target.decode('ascii')}"
    return _answer(HTTPStatus(status), "this port speaks TLS\n", f"Location: {location}\r\n")
