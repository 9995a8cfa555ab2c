"""Responses of our own: errors and redirects, as values that each front writes in its own form.

They name no version, no address and no reason that a client could not know (no backend, no stack),
and are not to be cached.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from meshlib.decision import Redirect, Respond
from meshlib.hook_values import Response
from meshlib.http1.response import reason_phrase
from meshlib.messages import RequestHead
from meshlib.model import RedirectRule
from meshlib.redirects import location

__all__ = ["LocalResponse", "local_error", "local_outcome", "local_redirect"]

# Goes with 405 (RFC 9110 15.5.6): CONNECT and TRACE are what is refused.
_ALLOWED: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_TEXTS: Final = {
    403: "This site is served over TLS alone, to clients that show a certificate.",
    404: "No site of this name is served here.",
    408: "The request was not complete in time.",
    421: "This name is not served on this connection.",
    500: "The request could not be served.",
    502: "The service gave no proper response.",
    503: "The service is not available now.",
    504: "The service did not respond in time.",
    508: "This request has come through here before.",
}
# Where the reason says more than the status.
_TEXTS_OF_REASONS: Final = {
    "redirect_loop": "This address redirects to itself, and nothing else serves it.",
}


class LocalResponse(NamedTuple):
    """A complete response. `fields` are pairs in order, names as HTTP/1 writes them; Content-Length
    is among them, Connection is the front's. `reason` is the token for logs.
    """

    status: int
    reason: str
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""

    @property
    def size(self) -> int:
        """The number of bytes of `lines()`."""
        reason = reason_phrase(self.status)
        lines = sum([len(name) + len(value) + 4 for name, value in self.fields])
        return len(f"HTTP/1.1 {self.status} {reason}\r\n") + lines

    def lines(self) -> bytes:
        """The status line and the field lines of HTTP/1.1, each ended, without the empty line."""
        head = b"HTTP/1.1 %d %s\r\n" % (self.status, reason_phrase(self.status).encode())
        return head + b"".join(b"%s: %s\r\n" % field for field in self.fields)

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """The fields with names in lower case, as HTTP/2 and ASGI have them."""
        return [(name.lower(), value) for name, value in self.fields]


def local_error(
    status: int,
    reason: str,
    *,
    head_only: bool = False,
    retry_after: int | None = None,
    text: str = "",
    date: str,
) -> LocalResponse:
    """An error with a line of text for people: `text`, or what its reason or status says.
    `retry_after` is in seconds; `head_only` leaves the body out (HEAD).
    """
    text = text or _TEXTS_OF_REASONS.get(reason) or _TEXTS.get(status, "")
    body = f"{status} {reason_phrase(status)}\n{text}".strip().encode() + b"\n"
    fields = [
        (b"Date", date.encode()),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Cache-Control", b"no-store"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    if retry_after is not None:
        fields.append((b"Retry-After", b"%d" % retry_after))
    if status == 405:
        fields.append((b"Allow", _ALLOWED))
    return LocalResponse(status, reason, tuple(fields), b"" if head_only else body)


def local_redirect(rule: RedirectRule, target: bytes, *, date: str) -> LocalResponse:
    """A redirect without a body; 301 and 302 let clients change POST to GET, 307 and 308 do not
    (RFC 9110 15.4). `target` is the request's.
    """
    fields = (
        (b"Date", date.encode()),
        (b"Location", location(rule, target)),
        (b"Content-Length", b"0"),
    )
    return LocalResponse(rule.status, "redirect", fields)


def local_outcome(
    outcome: Redirect | Respond | Response, head: RequestHead | None, *, date: str
) -> LocalResponse:
    """The response to a request with this `head` (None: it could not be read) that is not sent on.
    One that a hook gives has the reason "hook".
    """
    head_only = head is not None and head.method == b"HEAD"
    if isinstance(outcome, Redirect):
        return local_redirect(outcome.rule, head.target if head is not None else b"", date=date)
    if isinstance(outcome, Respond):
        again = outcome.retry_after
        return local_error(
            outcome.status, outcome.reason, head_only=head_only, retry_after=again, date=date
        )
    fields = [(b"Date", date.encode()), *outcome.fields]
    if outcome.status not in (204, 304):
        fields.append((b"Content-Length", b"%d" % len(outcome.body)))
    body = b"" if head_only else outcome.body
    return LocalResponse(outcome.status, "hook", tuple(fields), body)
