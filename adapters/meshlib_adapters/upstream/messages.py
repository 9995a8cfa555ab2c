"""Messages between fronts and endpoints, as values: each is written in the form of HTTP/1 or of
HTTP/2 by whoever needs that form, and at most once.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshlib.forwarding import response_fields
from meshlib.http1 import BodyKind, body_kind, chunk_head, request_line
from meshlib.http2.sections import (
    CONNECTION_FIELDS,
    TE_TRAILERS,
    Pair,
    pairs_of,
    response_pairs,
)
from meshlib.messages import RequestHead, ResponseHead

__all__ = ["ForwardRequest", "ForwardResponse", "last_chunk"]


class ForwardRequest:
    """A request on its way to an endpoint, without its body. A requester keeps one, and renews it
    for each request: either `head` and `wire` are set first, or `of_http2` is called.

    `head` is the client's. `wire` is the head to send on over HTTP/1, its empty line included; b""
    while nobody has asked for it. `upgrade` are the protocols that the request offers
    (`forwarding.sent_upgrade`), so a 101 to one of them is a valid response; HTTP/2 has none.
    `relay_chunks`: a chunked response is wanted as clean chunks, otherwise as its payload.
    `streamed`: the length of the body is not known, and it comes as payload, for which HTTP/1 has
    the chunked coding; it may end with `trailers` (names in lower case). Without `streamed` it
    comes as HTTP/1 has it. `little`: the response is to be read little at a time.
    """

    __slots__ = (
        "_added",
        "_http2",
        "_kept",
        "head",
        "little",
        "relay_chunks",
        "streamed",
        "trailers",
        "upgrade",
        "wire",
    )

    head: RequestHead

    def __init__(self) -> None:
        self.wire = b""
        self.upgrade = b""
        self.relay_chunks = False
        self.little = False
        self.streamed = False
        self.trailers: Sequence[Pair] = ()
        self._kept: Sequence[Pair] = ()
        self._added: Sequence[Pair] = ()
        self._http2 = False

    def __repr__(self) -> str:
        return f"<ForwardRequest {self.head.method.decode()} {self.head.target.decode()}>"

    def of_http2(self, head: RequestHead, kept: Sequence[Pair], added: Sequence[Pair]) -> None:
        """Begin with the fields to send on: those of the client, names in lower case and without
        Host, and those added to them, with names as HTTP/1 writes them.
        """
        self.head = head
        self.wire = b""
        self._kept = kept
        self._added = added
        self._http2 = True

    def http1(self) -> bytes:
        """The head over HTTP/1, its empty line included."""
        wire = self.wire
        if not wire:
            head = self.head
            kept = [pair for pair in self._kept if pair != TE_TRAILERS]
            lines = b"".join([b"%s: %s\r\n" % pair for pair in (*kept, *self._added)])
            if len(kept) < len(self._kept):
                lines += b"Connection: TE\r\nTE: trailers\r\n"
            if self.streamed:
                lines += b"Transfer-Encoding: chunked\r\n"
            line = b"%s %s HTTP/1.1\r\nhost: %s\r\n" % (head.method, head.target, head.authority)
            self.wire = wire = b"%s%s\r\n" % (line, lines)
        return wire

    def pairs(self) -> list[Pair]:
        """The head over HTTP/2, its pseudo-fields included."""
        if self._http2:
            head = self.head
            added = [(name.lower(), value) for name, value in self._added]
            return [*_pseudo_fields(head.method, head.target, head.authority), *self._kept, *added]
        return self._pairs_of_wire()

    def _pairs_of_wire(self) -> list[Pair]:
        method, target, _, at = request_line(self.wire)
        authority = b""
        pairs = []
        for pair in pairs_of(self.wire[at:]):
            if pair[0] == b"host":
                authority = pair[1]
            elif pair[0] not in CONNECTION_FIELDS:
                pairs.append(pair)
        return [*_pseudo_fields(method, target, authority), *pairs]

    def encoded(self, data: bytes, *, done: bool) -> bytes:
        """A part of a `streamed` body as HTTP/1 has it; `done`: the last one."""
        chunk = b"%s%s\r\n" % (chunk_head(len(data)), data) if data else b""
        return chunk + last_chunk(self.trailers) if done else chunk


def _pseudo_fields(method: bytes, target: bytes, authority: bytes) -> list[Pair]:
    # The scheme is that of the connection to the endpoint.
    return [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", authority),
        (b":path", target),
    ]


class ForwardResponse:
    """The head of a response on its way to a client, without what concerns the connection to its
    endpoint alone. Nothing in it changes: equal responses may share one.

    `status` is that of `head`. `http1()` is the status line and the field lines to pass on, without
    Connection (but for a 101), Transfer-Encoding and the empty line; `pairs()` are the fields with
    names in lower case, without `:status`. Neither result may be changed.
    """

    __slots__ = ("_pairs", "_secured", "_wire", "head", "status")

    def __init__(
        self, head: ResponseHead, wire: bytes = b"", pairs: list[Pair] | None = None
    ) -> None:
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
        """The part of a response over HTTP/1 that is passed on."""
        status = head.status
        bodiless = status < 200 or status == 204
        lines = response_fields(head.fields, upgraded=status == 101, bodiless=bodiless)
        return cls(head, b"HTTP/1.1 %d %s\r\n%s" % (status, head.reason, lines))

    @classmethod
    def of_http2(cls, head: ResponseHead, method: bytes, *, ended: bool) -> ForwardResponse:
        """The part that is passed on of a response over HTTP/2 to a `method` request; `ended`: with
        this head, which HTTP/1 can only say by a length.
        """
        status = head.status
        pairs = response_pairs(head.fields, bodiless=status < 200 or status == 204)
        if ended and body_kind(head, method) is BodyKind.UNTIL_CLOSE:
            pairs.append((b"content-length", b"0"))
        return cls(head, pairs=pairs)

    def http1(self) -> bytes:
        """The status line and the field lines to pass on; see the class."""
        wire = self._wire
        if not wire:
            lines = b"".join([b"%s: %s\r\n" % pair for pair in self._pairs or ()])
            self._wire = wire = b"HTTP/1.1 %d %s\r\n%s" % (self.status, self.head.reason, lines)
        return wire

    def pairs(self) -> list[Pair]:
        """The fields to pass on, without `:status`; see the class."""
        pairs = self._pairs
        if pairs is None:
            wire = self._wire
            self._pairs = pairs = pairs_of(wire[wire.find(b"\r\n") + 2 :])
        return pairs

    @property
    def size(self) -> int:
        """The number of bytes of `http1()`: what is counted, whatever the client speaks."""
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
