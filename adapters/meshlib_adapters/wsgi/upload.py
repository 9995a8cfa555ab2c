"""A request's body as `wsgi.input` has it, a piece at a time."""

from __future__ import annotations

from typing import Final
from wsgiref.types import InputStream

from meshlib.errors import RequestHeadError

__all__ = ["PIECE", "Upload"]

# Bytes that are asked for at once. Servers wait until they have them all, so more would delay slow
# uploads, and less cost more changes of thread.
PIECE: Final = 32 * 1024


class Upload:
    """The body of `length` bytes; None: it ends where the stream does. `first` was read from it
    before.
    """

    def __init__(self, stream: InputStream, length: int | None, first: bytes = b"") -> None:
        self._stream = stream
        self._left = length
        self._first = first

    def read(self) -> tuple[bytes, bool]:
        """The next piece, and whether it is the last one; waits for the client.

        Raises `RequestHeadError` ("bad_body_length") for a stream that is shorter or longer than
        the length, and what the stream raises.
        """
        left = self._left
        if left is None:
            data, self._first = self._first or self._stream.read(PIECE), b""
            return data, not data
        data = self._stream.read(min(left, PIECE))
        if not data or len(data) > left:
            # More would be read as the next request on the endpoint's connection, less would have
            # it wait.
            raise RequestHeadError("a body of another length", reason="bad_body_length")
        self._left = left = left - len(data)
        return data, not left
