"""Answers of our own: errors and redirects, as bytes.

They name no version, no address and no reason that a client could not know (no backend, no stack),
and are not to be cached.
"""

from __future__ import annotations

from typing import Final

from meshlib.decision import Redirect
from meshlib.http1.response import reason_phrase
from meshlib.redirects import location

__all__ = ["ALLOWED", "error_answer", "error_text", "redirect_answer"]


# Goes with 405 (RFC 9110 15.5.6): CONNECT and TRACE are what is refused.
ALLOWED: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_TEXTS = {
    403: "This site is served over TLS alone, to clients that show a certificate.",
    404: "No site of this name is served here.",
    408: "The request was not complete in time.",
    421: "This name is not served on this connection.",
    502: "The service gave no proper answer.",
    503: "The service is not available now.",
    504: "The service did not answer in time.",
    508: "This request has come through here before.",
}


def error_text(status: int) -> bytes:
    """The body of an error of ours: its status and a line for people."""
    return f"{status} {reason_phrase(status)}\n{_TEXTS.get(status, '')}".strip().encode() + b"\n"


def error_answer(
    status: int,
    *,
    close: bool,
    head_only: bool = False,
    retry_after: int | None = None,
    allow: str = "",
    date: str,
) -> bytes:
    """A complete answer with a line of text. `retry_after` is in seconds; `head_only` leaves the
    body out (HEAD).
    """
    body = error_text(status)
    lines = [
        f"HTTP/1.1 {status} {reason_phrase(status)}",
        f"Date: {date}",
        "Content-Type: text/plain; charset=utf-8",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        f"Content-Length: {len(body)}",
    ]
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after}")
    if allow:
        lines.append(f"Allow: {allow}")
    if close:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
    return head if head_only else head + body


def redirect_answer(decision: Redirect, target: bytes, *, close: bool, date: str) -> bytes:
    """A redirect without a body; 301 and 302 let clients change POST to GET, 307 and 308 do not
    (RFC 9110 15.4).
    """
    status = decision.rule.status
    ending = b"\r\nConnection: close" if close else b""
    return b"HTTP/1.1 %d %s\r\nDate: %s\r\nLocation: %s\r\nContent-Length: 0%s\r\n\r\n" % (
        status,
        reason_phrase(status).encode(),
        date.encode(),
        location(decision.rule, target),
        ending,
    )
