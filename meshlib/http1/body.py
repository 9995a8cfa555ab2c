"""Where the body of a request ends (RFC 9112 6.3), whichever way it says so."""

from __future__ import annotations

from meshlib.http1.chunked import ChunkedReader
from meshlib.http1.trailers import announced_trailers
from meshlib.messages import FieldSection

__all__ = ["RequestBody"]


class RequestBody:
    """Hands on the body of one request in its wire form and finds its end.

    `receive_data` returns what to send on; when `done`, `rest` has the bytes behind the body. `size` counts the bytes
    handed on. `payload` (instead of the wire form) takes the chunks apart. Raises as `ChunkedReader`.
    """

    __slots__ = ("_chunks", "_left", "done", "rest", "size")

    def __init__(self, fields: FieldSection, *, payload: bool = False) -> None:
        self._chunks = ChunkedReader(relay=not payload, announced=announced_trailers(fields)) if fields.chunked else None
        self._left = fields.content_length or 0
        self.done = not self._left and self._chunks is None
        self.size = 0
        self.rest = b""

    def receive_data(self, data: bytes) -> bytes:
        """See the class; once `done`, everything is `rest`."""
        chunks = self._chunks
        if self.done:
            self.rest += data
            return b""
        if chunks is not None:
            pieces = chunks.receive_data(data)
            self.done = chunks.done
            self.rest = chunks.rest
            out = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        elif len(data) < self._left:
            self._left -= len(data)
            out = data
        else:
            out = data[: self._left]
            self.rest = data[self._left :]
            self._left = 0
            self.done = True
        self.size += len(out)
        return out
