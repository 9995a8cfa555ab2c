"""One request of an ASGI server and its answer, between the server's coroutines and the upstream's callbacks."""

from __future__ import annotations

import asyncio
from collections import deque

from meshlib.decision import Forward
from meshlib.http1 import BodyKind
from meshlib.messages import FieldSection, RequestHead, ResponseHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.http.dispatch import Dispatch
from meshlib_adapters.http.upstreams import Upstreams

__all__ = ["Exchange", "Unanswered"]


class Unanswered(Exception):
    """There is no answer, or it was cut. `status` is what to answer when nothing has been sent yet."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Exchange:
    """Collects what the upstream says until the server takes it; the upstream waits when `buffer_size` bytes are kept.

    `head` and `read` raise `Unanswered` when the upstream fails. `sendable` is set while the upstream takes more of the request.
    """

    def __init__(self, upstreams: Upstreams, source: ProxyAddress | None = None, destination: ProxyAddress | None = None) -> None:
        self._addresses = (source, destination)
        self._upstreams = upstreams
        self._dispatch = Dispatch(self, upstreams)
        self._pieces: deque[bytes] = deque()
        self._kept = 0
        self._news = asyncio.Event()
        self._head: tuple[bytes, ResponseHead] | None = None
        self._decision: Forward | None = None
        self._asked: FieldSection | None = None
        self._failed: Unanswered | None = None
        self._done = False
        self.upgraded = False
        self.sendable = asyncio.Event()
        self.sendable.set()

    def start(self, decision: Forward, head: RequestHead, data: bytes, *, done: bool) -> None:
        """Send the head and what there is of the body; see `Dispatch.start`."""
        self._decision = decision
        self._asked = head.fields
        preferred = None
        if decision.route.sticky_cookie is not None:
            preferred = self._upstreams.sticky_choice(decision, head.fields)
        self._dispatch.start(decision, head, data, done=done, preferred=preferred, relay_chunks=False)

    async def send(self, data: bytes, *, done: bool) -> None:
        """More of the body in its wire form, as fast as the upstream takes it."""
        await self.sendable.wait()
        if not self._done and self._failed is None:
            self._dispatch.send(data, done=done)

    def send_tunnel(self, data: bytes) -> None:
        """Bytes of an upgraded connection."""
        connection = self._dispatch.connection
        if connection is not None:
            connection.send_tunnel(data)

    def cancel(self) -> None:
        """Nobody wants the answer any more. Harmless after the end; a tunnel has none but this."""
        if not self._done or self.upgraded:
            self._dispatch.cancel()
        self.sendable.set()

    async def head(self) -> tuple[bytes, ResponseHead]:
        """The final answer's field lines to pass on (with its status line first), and the head as parsed."""
        while self._head is None:
            if self._failed is not None:
                raise self._failed
            self._news.clear()
            await self._news.wait()
        return self._head

    async def read(self) -> bytes:
        """The next part of the body (or of the tunnel), b"" at its end."""
        while not self._pieces:
            if self._failed is not None:
                raise self._failed
            if self._done:
                return b""
            self._news.clear()
            await self._news.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._kept = 0
        connection = self._dispatch.connection
        if connection is not None:
            connection.resume()
        return data

    # `dispatch.Asker`

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """As the server told them."""
        return self._addresses

    def on_connected(self, seconds: float) -> None:
        """Nobody asks for it here."""

    def on_interim(self, wire: bytes, head: ResponseHead) -> None:
        """ASGI has no message for them; the server answers `Expect` itself."""

    def on_response(self, wire: bytes, head: ResponseHead, kind: BodyKind, pieces: list[bytes], done: bool) -> None:
        """The final head."""
        self._head = (wire, head)
        decision, asked, pool = self._decision, self._asked, self._dispatch.pool
        if decision is not None and asked is not None and pool is not None and decision.route.sticky_cookie is not None:
            self._upstreams.sticky_learn(decision, asked, head.fields, pool)
        self._keep(pieces, done)

    def on_data(self, pieces: list[bytes], done: bool) -> None:
        """More of the body."""
        self._keep(pieces, done)

    def on_upgrade(self, wire: bytes, head: ResponseHead, data: bytes) -> None:
        """101."""
        self._head = (wire, head)
        self.upgraded = True
        self._keep([data], False)

    def on_tunnel_data(self, data: bytes) -> None:
        """Bytes of the tunnel."""
        self._keep([data], False)

    def on_tunnel_eof(self) -> None:
        """The end of the tunnel's bytes."""
        self._done = True
        self._news.set()

    def on_upstream_paused(self, paused: bool) -> None:
        """The upstream is slower than the client, or no more."""
        if paused:
            self.sendable.clear()
        else:
            self.sendable.set()

    def on_unanswered(self, status: int, reason: str, message: str) -> None:
        """No answer, or a cut one."""
        self._failed = Unanswered(status, reason, message)
        self.sendable.set()
        self._news.set()

    def _keep(self, pieces: list[bytes], done: bool) -> None:
        for piece in pieces:
            if piece:
                self._pieces.append(piece)
                self._kept += len(piece)
        if done:
            self._done = True
            self._dispatch.finish()
            self._dispatch.leave()
            self.sendable.set()
        elif self._kept > self._upstreams.settings.buffer_size:
            connection = self._dispatch.connection
            if connection is not None:
                connection.pause()
        self._news.set()
