"""Messages between fronts and endpoints, as values: each is written in the form of HTTP/1 or of
HTTP/2 by whoever needs that form, and at most once.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshlib.forwarding import response_fields
from meshlib.http1 import BodyKind, body_kind
from meshlib.http2.sections import Pair, pairs_of, response_pairs
from meshlib.messages import ResponseHead

__all__ = ["ForwardResponse", "last_chunk"]


class ForwardResponse:
    """The head of a response on its way to a client, without what concerns the connection to its
    endpoint alone. Nothing in it changes: equal responses may share one.

    `status` is that of `head`. `http1()` is the status line and the field lines to pass on, without
    Connection (but for a 101), Transfer-Encoding and the empty line; `pairs()` are the fields with
    names in lower case, without `:status`. Neither result may be changed.
    """

    __slots__ = ("_pairs", "_secured", "_wire", "head", "status")

    def __init__(self, head: ResponseHead, wire: bytes = b"", pairs: list[Pair] | None = None):
        self.head = head
        self.status = head.status
        self._wire = wire
        self._pairs = pairs
        # The last policy of `secured`, and what it returned.
        self._secured: tuple[str, ForwardResponse] | None = None

    def __repr__(self) -> str:
        return f"<ForwardResponse {self.status}>"

    @classmethod
    def of_http1(cls, head: ResponseHead) -> ForwardResponse:
        """What is passed on of a response over HTTP/1."""
        status = head.status
        bodiless = status < 200 or status == 204
        lines = response_fields(head.fields, upgraded=status == 101, bodiless=bodiless)
        return cls(head, b"HTTP/1.1 %d %s\r\n%s" % (status, head.reason, lines))

    @classmethod
    def of_http2(cls, head: ResponseHead, method: bytes, *, ended: bool) -> ForwardResponse:
        """What is passed on of a response over HTTP/2 to a `method` request; `ended`: with this
        head, which HTTP/1 can only say by a length.
        """
        status = head.status
        pairs = response_pairs(head.fields, bodiless=status < 200 or status == 204)
        if ended and body_kind(head, method) is BodyKind.UNTIL_CLOSE:
            pairs.append((b"content-length", b"0"))
        return cls(head, pairs=pairs)

    def http1(self) -> bytes:
        """See the class."""
        wire = self._wire
        if not wire:
            lines = b"".join([b"%s: %s\r\n" % pair for pair in self._pairs or ()])
            self._wire = wire = b"HTTP/1.1 %d %s\r\n%s" % (self.status, self.head.reason, lines)
        return wire

    def pairs(self) -> list[Pair]:
        """See the class."""
        pairs = self._pairs
        if pairs is None:
            wire = self._wire
            self._pairs = pairs = pairs_of(wire[wire.find(b"\r\n") + 2 :])
        return pairs

    @property
    def size(self) -> int:
        """How many bytes `http1()` has: what is counted, whatever the client speaks."""
        if self._wire:
            return len(self._wire)
        lines = sum([len(name) + len(value) + 4 for name, value in self._pairs or ()])
        return len(b"HTTP/1.1 %d %s\r\n" % (self.status, self.head.reason)) + lines

    def secured(self, policy: str) -> ForwardResponse:
        """The response with this Strict-Transport-Security, unless the application has set its own
        (RFC 6797 7.1).
        """
        if b"strict-transport-security" in self.head.fields.names:
            return self
        known = self._secured
        if known is None or known[0] != policy:
            self._secured = known = (policy, self._with_hsts(policy.encode()))
        return known[1]

    def _with_hsts(self, policy: bytes) -> ForwardResponse:
        if self._wire:
            line = b"%sStrict-Transport-Security: %s\r\n" % (self._wire, policy)
            return ForwardResponse(self.head, line)
        pairs = [*(self._pairs or ()), (b"strict-transport-security", policy)]
        return ForwardResponse(self.head, pairs=pairs)


def last_chunk(trailers: Sequence[Pair]) -> bytes:
    """The end of a chunked body."""
    return b"0\r\n%s\r\n" % b"".join([b"%s: %s\r\n" % pair for pair in trailers])
