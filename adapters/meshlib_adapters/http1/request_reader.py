"""`RequestReader`: what a client has sent and nobody has looked at, and what is taken out of it."""

from __future__ import annotations

from meshlib.http1 import HeadBuffer, RequestBody
from meshlib.messages import FieldSection
from meshlib.need_data import NeedData
from meshlib_adapters.turns import BYTES, CHUNK, Turn

__all__ = ["RequestReader"]


class RequestReader:
    """The requests of one connection as bytes, without a socket: the rest of a body, and what comes
    behind the request under way, wait in `unread`.

    `body` is that of the request under way (None: the request is complete, or there is none).
    `skipped`: the empty line has come that may stand in front of the next head. `limit` is the
    largest head, and what may wait before `full` says that it is enough; `max_fields`, the number
    of fields that a head may have.
    """

    __slots__ = ("_at", "_buffer", "_limit", "body", "skipped", "unread")

    def __init__(self, limit: int, max_fields: int = 100) -> None:
        self._limit = limit
        self._buffer = HeadBuffer(limit, max_fields=max_fields)
        self._at = 0  # in `unread`, where nobody has looked yet
        self.skipped = False
        self.unread = b""
        self.body: RequestBody | None = None

    def __repr__(self) -> str:
        return f"<RequestReader {len(self.unread) - self._at} unread>"

    @property
    def begun(self) -> bool:
        """Whether there is the beginning of a head."""
        return len(self._buffer) > 0

    @property
    def full(self) -> bool:
        """Whether as much waits as may; more is one read of the socket at most."""
        return len(self.unread) - self._at >= self._limit

    def hold(self, data: bytes) -> None:
        """Keep bytes behind those that wait."""
        self.unread = self.unread[self._at :] + data
        self._at = 0

    def next_head(self) -> bytes | NeedData:
        """Take out the next head; raises as `HeadBuffer.receive_data`."""
        buffer = self._buffer
        head = buffer.receive_data(self.unread, self._at)
        self._take_until(buffer.position)
        self.skipped = isinstance(head, NeedData) and buffer.skipped
        return head

    def begin_body(self, fields: FieldSection) -> RequestBody:
        """Read on as the body of a request with these fields."""
        self.body = body = RequestBody(fields)
        return body

    def take_body(self, body: RequestBody, turn: Turn) -> bytes:
        """Take out what there is of the body, as it is to be sent on: all of it, unless that would
        be more chunks than fit the turn, which pays for it. Raises as `RequestBody.receive_data`.
        """
        unread, start = self.unread, self._at
        if not unread:
            return b""
        # Rounded up: what is left behind then always ends the turn, and the next one finds it.
        wire = body.receive_data(unread, start, max((turn.left + CHUNK - 1) // CHUNK, 1))
        turn.spend(body.chunks * CHUNK + (body.position - start) // BYTES)
        self._take_until(body.position)
        return wire

    def take_rest(self) -> bytes:
        """Take out everything that waits."""
        rest = self.unread[self._at :]
        self.drop()
        return rest

    def drop(self) -> None:
        """Throw away what waits."""
        self.unread = b""
        self._at = 0

    def renew(self) -> None:
        """Forget everything: the next bytes are another connection's."""
        self._buffer.clear()
        self.skipped = False
        self.body = None
        self.unread = b""
        self._at = 0

    def _take_until(self, position: int) -> None:
        # `unread` is empty, or has something that nobody has looked at.
        if position < len(self.unread):
            self._at = position
        else:
            self.unread = b""
            self._at = 0
