"""One request of an ASGI server and its answer, between the server's coroutines and the upstream's
callbacks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from meshlib.decision import Forward
from meshlib.forwarding import with_hsts
from meshlib.http1 import BodyKind
from meshlib.messages import FieldSection, RequestHead, ResponseHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.proxy.retries import UpstreamRequest
from meshlib_adapters.upstream.registry import UpstreamRegistry

__all__ = ["AwaitedExchange", "NoResponse"]


class NoResponse(Exception):
    """There is no answer, or it was cut. `status` is what to answer when nothing has been sent
    yet.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class AwaitedExchange:
    """Collects what the upstream says until the server takes it; the upstream waits when
    `buffer_size` bytes are kept.

    `head` and `read` raise `NoResponse` when the upstream fails, and when `leave` or `refuse` end
    the exchange. `sendable` is set while the upstream takes more of the request. `look` wants to be
    called now and then: it is what notices an upstream that says nothing.
    """

    def __init__(
        self,
        upstreams: UpstreamRegistry,
        source: ProxyAddress | None = None,
        destination: ProxyAddress | None = None,
    ) -> None:
        self._addresses = (source, destination)
        self._upstreams = upstreams
        self._upstream_request = UpstreamRequest(self, upstreams)
        self._pieces: deque[bytes] = deque()
        self._kept = 0
        self._news = asyncio.Event()
        self._head: tuple[bytes, ResponseHead] | None = None
        self._decision: Forward | None = None
        self._asked: FieldSection | None = None
        self._failed: NoResponse | None = None
        self._done = False
        self._sent = False
        self._since = upstreams.loop.time()
        self.upgraded = False
        self.hsts = ""  # the policy that this answer, which goes over TLS, gives browsers
        self.sendable = asyncio.Event()
        self.sendable.set()

    def start(self, decision: Forward, head: RequestHead, data: bytes, *, done: bool) -> None:
        """Send the head and what there is of the body; see `UpstreamRequest.start`."""
        self._decision = decision
        self._asked = head.fields
        self._sent = done
        preferred = None
        if decision.route.options.sticky_cookie is not None:
            preferred = self._upstreams.bound_endpoint(decision, head.fields)
        self._upstream_request.start(
            decision, head, data, done=done, preferred=preferred, relay_chunks=False
        )

    async def send(self, data: bytes, *, done: bool) -> None:
        """More of the body in its wire form, as fast as the upstream takes it."""
        await self.sendable.wait()
        self._since = self._upstreams.loop.time()
        if not self._done and self._failed is None:
            self._sent = done
            self._upstream_request.send(data, done=done)

    def send_tunnel(self, data: bytes) -> None:
        """Bytes of an upgraded connection."""
        connection = self._upstream_request.connection
        if connection is not None and self.upgraded:
            self._since = self._upstreams.loop.time()
            connection.send_tunnel(data)

    def leave(self) -> None:
        """The client has gone: nothing more is read for it, and the upstream can stop working."""
        self._end(499, "client_closed", "the client has gone")

    def refuse(self, status: int, reason: str, message: str) -> None:
        """The request turned out to be one that must not be sent (whole); what of it was sent is
        cut. No more after a complete answer.
        """
        self._end(status, reason, message)

    def watch(self, reader: asyncio.Task[Any]) -> None:
        """For the end of the task that reads from the client: when it failed, nobody would tell
        that the client has gone.
        """
        if not reader.cancelled() and reader.exception() is not None:
            self.leave()

    def close(self) -> None:
        """Nobody wants any more of it. What was sent into a tunnel is still delivered. Harmless
        after the end.
        """
        connection = self._upstream_request.connection
        if self.upgraded and connection is not None:
            connection.close_tunnel()
            self._upstream_request.finish()
        elif not self._done:
            self._upstream_request.cancel()
        self._upstream_request.leave()
        self._done = True
        self.sendable.set()

    def look(self, now: float) -> None:
        """End an exchange whose upstream has kept it waiting for too long; time that the client
        takes does not count.
        """
        settings = self._upstreams.settings
        waited = now - self._since
        if self._failed is not None:
            return
        if self.upgraded:
            if waited > settings.tunnel_idle:
                self._end(504, "tunnel_idle", "nothing came through the tunnel")
        elif self._done or self._pieces:
            return
        elif self._head is None:
            if waited > (settings.response_head if self._sent else settings.between_bytes) and (
                self._sent or not self.sendable.is_set()
            ):
                self._upstream_request.time_out()
        elif waited > settings.between_bytes:
            self._end(
                504, "between_bytes_timeout", "the upstream stopped in the middle of its answer"
            )

    async def head(self) -> tuple[bytes, ResponseHead]:
        """The final answer's field lines to pass on (with its status line first), and the head as
        parsed.
        """
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
        self._since = (
            self._upstreams.loop.time()
        )  # if the server was slow to take the last part, the upstream was told to wait
        connection = self._upstream_request.connection
        if connection is not None:
            connection.resume()
        return data

    # `retries.ResponseReceiver`

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """As the server told them."""
        return self._addresses

    def on_connected(self, seconds: float) -> None:
        """Nobody asks for it here."""

    def on_interim(self, wire: bytes, head: ResponseHead) -> None:
        """ASGI has no message for them; the server answers `Expect` itself."""
        self._since = self._upstreams.loop.time()

    def on_response(
        self, wire: bytes, head: ResponseHead, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """The final head."""
        self._head = (with_hsts(wire, head.fields, self.hsts) if self.hsts else wire, head)
        decision, asked, pool = self._decision, self._asked, self._upstream_request.pool
        if (
            decision is not None
            and asked is not None
            and pool is not None
            and decision.route.options.sticky_cookie is not None
        ):
            self._upstreams.learn_binding(decision, asked, head.fields, pool)
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
        self._since = self._upstreams.loop.time()
        if paused:
            self.sendable.clear()
        else:
            self.sendable.set()

    def on_no_response(self, status: int, reason: str, message: str) -> None:
        """No answer, or a cut one."""
        self._failed = self._failed or NoResponse(status, reason, message)
        self.sendable.set()
        self._news.set()

    def _end(self, status: int, reason: str, message: str) -> None:
        if self._done and not self.upgraded:
            return
        self._upstream_request.cancel()
        self._pieces.clear()
        self.on_no_response(status, reason, message)

    def _keep(self, pieces: list[bytes], done: bool) -> None:
        self._since = self._upstreams.loop.time()
        for piece in pieces:
            if piece:
                self._pieces.append(piece)
                self._kept += len(piece)
        if done:
            self._done = True
            self._upstream_request.finish()
            self.sendable.set()
        elif self._kept > self._upstreams.settings.buffer_size:
            connection = self._upstream_request.connection
            if connection is not None:
                connection.pause()
        self._news.set()
