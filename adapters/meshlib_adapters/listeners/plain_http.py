"""The responses to plain HTTP on a TLS port: a short text, or the way to https."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from meshlib.authority import parse_authority
from meshlib.errors import ProtocolError
from meshlib.http1 import HeadBuffer, parse_request_head
from meshlib.need_data import NeedData

__all__ = ["REFUSAL", "PlainRequest"]

# As much head as a browser sends (nginx and Apache give it 8 KiB); a client that needs more gets
# the refusal.
_MAX_HEAD: Final = 8 * 1024


def _response(status: HTTPStatus, text: str, extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain\r\n"
        "X-Content-Type-Options: nosniff\r\n"
    )
    return f"{head}{extra}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode(
        "ascii"
    )


REFUSAL = _response(HTTPStatus.BAD_REQUEST, "plain HTTP sent to the TLS port\n")


class PlainRequest:
    """A request without TLS that is redirected to https, with `status`, at `https_port`."""

    __slots__ = ("_head", "_https_port", "_status")

    def __init__(self, status: int, https_port: int) -> None:
        self._head = HeadBuffer(_MAX_HEAD)
        self._status = status
        self._https_port = https_port

    def receive_data(self, data: bytes) -> bytes | None:
        """The response, once the head is complete: the redirect, or `REFUSAL` when a careful client
        could not follow it. None while more is needed.
        """
        try:
            head = self._head.receive_data(data)
            return None if isinstance(head, NeedData) else self._redirect(head)
        except ProtocolError:
            return REFUSAL

    def _redirect(self, head: bytes) -> bytes:
        # The host is parsed and written anew, the target has passed the strict parser.
        request = parse_request_head(head)
        host = parse_authority(request.authority.decode("latin-1")).host
        if not request.target.startswith(b"/"):
            return REFUSAL
        name = f"[{host}]" if ":" in host else host
        port = "" if self._https_port == 443 else f":{self._https_port}"
        location = f"https://{name}{port}{request.target.decode('ascii')}"
        return _response(
            HTTPStatus(self._status), "this port speaks TLS\n", f"Location: {location}\r\n"
        )
