"""Bytes of responses that one HTTP/2 connection keeps while its client does not take them: bounded
for all streams together, because a client may have a hundred of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from meshlib_adapters.http2.send_buffer import SendBuffer
from meshlib_adapters.upstream.connection import EndpointConnection
from meshlib_adapters.upstream.messages import ForwardRequest

__all__ = ["ResponseBudget", "ResponseShare"]

# In sizes of the buffer that a stream may fill while the others keep little. From so much on that
# is kept in all, a stream has to send what it has before its endpoint is read again, and then
# little is read at a time: so each of them gets on, whatever the client does with the others.
_SCARCE: Final = 8
# Below so much that is over.
_ENOUGH: Final = 4


class ResponseBudget:
    """Count of the bytes that all streams of a connection keep, `kept`. `buffer_size` as in
    `HTTPSettings`. `scarce`: it is much; `on_change` is called when that begins and ends.
    """

    __slots__ = ("_buffer_size", "_on_change", "kept", "scarce")

    def __init__(self, buffer_size: int, on_change: Callable[[], None]) -> None:
        self._buffer_size = buffer_size
        self._on_change = on_change
        self.kept = 0
        self.scarce = False

    def __repr__(self) -> str:
        return f"<ResponseBudget kept={self.kept}{' scarce' if self.scarce else ''}>"

    @property
    def allowed(self) -> int:
        """Number of bytes that a stream may keep before its endpoint has to wait."""
        return 0 if self.scarce else self._buffer_size

    def keep(self, size: int) -> None:
        """Count `size` bytes more, or fewer."""
        self.kept = kept = self.kept + size
        limit = _ENOUGH if self.scarce else _SCARCE
        if (kept >= limit * self._buffer_size) is not self.scarce:
            self.scarce = not self.scarce
            self._on_change()


class Asking(Protocol):
    """The request that is sent to an endpoint: an `UpstreamRequest`."""

    connection: EndpointConnection | None
    message: ForwardRequest


class ResponseShare:
    """Share of one stream in the connection's budget: what it keeps in its `buffer`, and what its
    endpoint's connection has read besides. The budget says when the endpoint has to wait.
    """

    __slots__ = ("_budget", "_buffer", "_request", "_unread")

    def __init__(self, budget: ResponseBudget, buffer: SendBuffer, request: Asking) -> None:
        self._budget = budget
        self._buffer = buffer
        self._request = request
        self._unread = 0

    def __repr__(self) -> str:
        return f"<ResponseShare kept={self._buffer.size} unread={self._unread}>"

    def append(self, pieces: list[bytes]) -> None:
        """Keep more of the response."""
        self._budget.keep(self._buffer.append(pieces))

    def take(self, room: int) -> bytes:
        """Take the payload of a frame, as `SendBuffer.take`."""
        taken = self._buffer.take(room)
        self._budget.keep(-len(taken))
        return taken

    def clear(self) -> None:
        """Drop it all."""
        self.complete()
        self._budget.keep(-self._buffer.clear())

    def complete(self) -> None:
        """Note that nothing more comes from the endpoint: what it has read is others'."""
        unread, self._unread = self._unread, 0
        self._budget.keep(-unread)

    def steer(self) -> None:
        """Have the endpoint wait, or go on."""
        request = self._request
        connection = request.connection
        unread = 0 if connection is None else connection.unread
        before, self._unread = self._unread, unread
        if unread != before:
            self._budget.keep(unread - before)
        scarce, kept = self._budget.scarce, self._buffer.size
        if scarce is not request.message.little:
            request.message.little = scarce  # for connections that are still to come
            if connection is not None:
                connection.read_little(scarce)
        if connection is not None:
            allowed = self._budget.allowed
            if kept > allowed:
                connection.pause()
            elif kept * 2 <= allowed:
                connection.resume()
