"""The content of one request over HTTP/2, as it comes in."""

from __future__ import annotations

from collections.abc import Iterable

from meshlib.http1 import announced_trailers
from meshlib.http2.sections import MalformedRequest, Pair, trailer_pairs
from meshlib_adapters.proxy.exchange import Exchange
from meshlib_adapters.proxy.pace import Pace

__all__ = ["RequestContent"]


class RequestContent:
    """Counts what comes, and sends it on.

    `ended`: the client has sent it all. `left` are the bytes still to come, None while nobody has
    said how many. `paused`: the upstream takes no more for now. `credit` are bytes that have to go
    on before the client may send as many more.
    """

    __slots__ = ("_exchange", "_held", "_pace", "_received", "credit", "ended", "left", "paused")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._held: list[bytes] | None = None
        self._received = 0
        self._pace: Pace | None = None  # from look to look
        self.ended = False
        self.left: int | None = None
        self.paused = False
        self.credit = 0

    def __repr__(self) -> str:
        state = "ended" if self.ended else "paused" if self.paused else "open"
        return f"<RequestContent {state} received={self._received} left={self.left}>"

    @property
    def pending(self) -> bool:
        """Whether bytes of it are still to come."""
        return not self.ended and self.left != 0

    def receive(self, data: bytes, *, ended: bool, wanted: bool) -> None:
        """A part, `ended`: the last one. Not `wanted`: the response is there already.

        Raises `MalformedRequest` where it is not as long as its head says, and `LimitExceeded`.
        """
        self._count(data, ended=ended)
        if wanted and self.left is None:
            self._exchange.check_body(self._received)
        # An empty frame may be what says that this was all.
        if data or (ended and self.left is None):
            self._send(data, wanted)

    def receive_trailers(self, pairs: Iterable[Pair], max_fields: int, *, wanted: bool) -> None:
        """The end, with trailers. They go on behind content of unknown length; HTTP/1 knows none
        behind a Content-Length. Raises `MalformedRequest`.
        """
        head = self._exchange.head
        announced = announced_trailers(head.fields) if head is not None else frozenset()
        trailers = trailer_pairs(pairs, announced, max_fields=max_fields)
        self._count(b"", ended=True)
        if self.left is None:
            self._exchange.request.message.trailers = trailers
            self._send(b"", wanted)

    def _count(self, data: bytes, *, ended: bool) -> None:
        self.ended = ended
        self._received += len(data)
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0 or (ended and self.left):
                # More would be read as the next request on the upstream's connection, less would
                # have it wait.
                message = "the body is not as long as Content-Length says"
                raise MalformedRequest(message, reason="bad_body_length")

    def hold(self) -> None:
        """Keep what comes: it is not known yet whether it is to be sent on. `paused` bounds it by
        the client's window.
        """
        self._held = []
        self.paused = True

    def release(self) -> list[bytes]:
        """Keep nothing any more; returns what was kept."""
        held, self._held = self._held, None
        self.paused = False
        return held or []

    def _send(self, data: bytes, wanted: bool) -> None:
        exchange = self._exchange
        if self._held is not None:
            self._held.append(data)
        elif wanted and exchange.decision is not None:
            exchange.request.send(data, done=not self.pending)

    def take_credit(self) -> int:
        """Take the number of bytes that the client may send in the place of those that are gone."""
        size, self.credit = self.credit, 0
        return size

    def rest(self) -> None:
        """Measure its pace anew: the client has to wait, or is being talked to."""
        self._pace = None

    def too_slow(self, now: float, rate: float, grace: float, *, waiting: bool) -> bool:
        """Whether less than `rate` has come in (see `Pace`); never while a request of this client
        waits for its upstream.
        """
        if waiting or not self.pending or not self._received:
            self._pace = None
        elif self._pace is None:
            self._pace = Pace(self._received, now)
        else:
            may_rest = self._exchange.responding
            return self._pace.too_slow(self._received, now, rate, grace, may_rest=may_rest)
        return False
