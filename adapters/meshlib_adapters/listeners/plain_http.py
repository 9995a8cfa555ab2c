"""The responses to plain HTTP on a TLS port: a short text, or the way to https."""

from __future__ import annotations

import email.utils
from typing import Final

from meshlib.authority import parse_authority
from meshlib.errors import ProtocolError
from meshlib.http1 import HeadBuffer, parse_request_head
from meshlib.model import RedirectRule
from meshlib.need_data import NeedData
from meshlib_adapters.proxy.local_responses import LocalResponse, local_error, local_redirect

__all__ = ["PlainRequest", "refusal"]

# As much head as a browser sends (nginx and Apache give it 8 KiB); a client that needs more gets
# the refusal.
_MAX_HEAD: Final = 8 * 1024


def refusal() -> bytes:
    """The response that says what is wrong."""
    return _closing(
        local_error(
            400, "not_tls_http", text="This port takes TLS only, not plain HTTP.", date=_date()
        )
    )


class PlainRequest:
    """A request without TLS that is redirected to https, with `status`, at `https_port`."""

    __slots__ = ("_head", "_https_port", "_status")

    def __init__(self, status: int, https_port: int) -> None:
        self._head = HeadBuffer(_MAX_HEAD)
        self._status = status
        self._https_port = https_port

    def receive_data(self, data: bytes) -> bytes | None:
        """The response, once the head is complete: the redirect, or the refusal when a careful
        client could not follow it. None while more is needed.
        """
        try:
            head = self._head.receive_data(data)
            return None if isinstance(head, NeedData) else self._redirect(head)
        except ProtocolError:
            return refusal()

    def _redirect(self, head: bytes) -> bytes:
        # The host is parsed and written anew, the target has passed the strict parser.
        request = parse_request_head(head)
        host = parse_authority(request.authority.decode("latin-1")).host
        if not request.target.startswith(b"/"):
            return refusal()
        name = f"[{host}]" if ":" in host else host
        port = "" if self._https_port == 443 else f":{self._https_port}"
        rule = RedirectRule(f"https://{name}{port}", self._status)
        return _closing(local_redirect(rule, request.target, date=_date()))


def _closing(response: LocalResponse) -> bytes:
    return response.lines() + b"Connection: close\r\n\r\n" + response.body


def _date() -> str:
    return email.utils.formatdate(usegmt=True)
