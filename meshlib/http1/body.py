"""End of a request's body (RFC 9112 6.3), for every way of framing."""

from __future__ import annotations

from meshlib.http1.chunked import NO_LIMIT, ChunkedReader
from meshlib.http1.trailers import announced_trailers
from meshlib.messages import FieldSection

__all__ = ["RequestBody"]


class RequestBody:
    """Passes on the body of one request in its wire form and finds its end.

    `receive_data` reads `data` from `start` on, at most `most` chunks of it, and returns what to
    send on; `position` is the index in `data` where it stopped, and `chunks` the number of chunks
    read. When `done`, the bytes from `position` on are behind the body. `size` counts the bytes
    passed on. `payload` returns the payload without the chunked coding, instead of the wire form.
    Raises as `ChunkedReader`.
    """

    __slots__ = ("_chunks", "_left", "chunks", "done", "position", "size")

    def __init__(self, fields: FieldSection, *, payload: bool = False) -> None:
        self._chunks = (
            ChunkedReader(relay=not payload, announced=announced_trailers(fields))
            if fields.chunked
            else None
        )
        self._left = fields.content_length or 0
        self.done = not self._left and self._chunks is None
        self.size = 0
        self.position = 0
        self.chunks = 0

    def receive_data(self, data: bytes, start: int = 0, most: int = NO_LIMIT) -> bytes:
        """Read body bytes, as the class says; once `done`, nothing more is taken."""
        reader = self._chunks
        if self.done:
            self.position = start
            self.chunks = 0
            return b""
        if reader is not None:
            pieces = reader.receive_data(data, start, most)
            self.done = reader.done
            self.position = reader.position
            self.chunks = reader.chunks
            out = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        else:
            self.position = end = min(len(data), start + self._left)
            out = data[start:end]
            self._left -= end - start
            self.done = not self._left
        self.size += len(out)
        return out
