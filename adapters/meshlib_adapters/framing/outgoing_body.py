"""The body of a request on its way to an endpoint, as fast as the endpoint's windows open."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from meshlib.http1 import ChunkedReader
from meshlib.http2.sections import Pair, pairs_of
from meshlib_adapters.framing.frames import ClientFrames
from meshlib_adapters.framing.policy import FramePolicy

__all__ = ["OutgoingBody"]

_FRAME: Final = 16 * 1024
# Frames that follow from one of a body: acknowledgements, windows, a PING that measures.
_EARNED_BY_DATA: Final = 3
_WORTH: Final = 512


class OutgoingBody:
    """Bytes of one request's body that have come and not gone out: `size` of them. `begin` makes it
    ready for the next request.
    """

    __slots__ = ("_chunks", "_ended", "_out", "size")

    def __init__(self) -> None:
        self._chunks: ChunkedReader | None = None
        self._out: deque[bytes] = deque()
        self._ended = False  # the end of the request is out
        self.size = 0

    def __repr__(self) -> str:
        return f"<OutgoingBody {self.size} bytes wait>"

    def begin(self, chunks: ChunkedReader | None, *, ended: bool) -> None:
        """Expect a body, which comes in the chunks that `chunks` reads; `ended`: there is none."""
        self._chunks = chunks
        self._ended = ended
        self._out.clear()
        self.size = 0

    def take(self, data: bytes) -> None:
        """Take more of the body."""
        chunks = self._chunks
        if not data:
            return
        for piece in [data] if chunks is None else chunks.receive_data(data):
            self._out.append(piece)
            self.size += len(piece)

    def fill(
        self,
        frames: ClientFrames,
        policy: FramePolicy,
        stream: int,
        trailers: Sequence[Pair],
        *,
        done: bool,
    ) -> None:
        """Make frames of it, as far as the endpoint's windows let them out. `done`: nothing more
        will come but the `trailers`, or those behind the last chunk.
        """
        out, chunks = self._out, self._chunks
        if chunks is not None and chunks.done:
            trailers = pairs_of(chunks.trailers)
        while out:
            room = min(
                frames.local_flow_control_window(stream), frames.max_outbound_frame_size, _FRAME
            )
            if room <= 0:
                return
            piece = out.popleft()
            if len(piece) > room:
                out.appendleft(piece[room:])
                piece = piece[:room]
            self.size -= len(piece)
            self._ended = done and not out and not trailers
            frames.send_data(stream, piece, end_stream=self._ended)
            if len(piece) < room or room >= _WORTH:
                policy.earn(_EARNED_BY_DATA)  # not for windows that are opened byte by byte
        if done and not self._ended:
            self._ended = True
            if trailers:
                frames.send_headers(stream, trailers, end_stream=True)
            else:
                frames.end_stream(stream)
