"""`HTTPGateway`: sockets to accept on, everybody who is connected, and the one sweep that runs all
time-outs.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import functools
import logging
import os
import secrets
import socket
import struct
from collections.abc import Callable, Iterable
from typing import cast

from meshlib.forwarding import ForwardingPolicy, Peer, is_trusted
from meshlib.mesh import Mesh
from meshlib.messages import FieldSection
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.transport import PreamblePolicy
from meshlib_adapters.http1.front import ClientConnection
from meshlib_adapters.listeners.http_proxy_header import PreambleReader
from meshlib_adapters.listeners.limits import ClientLimits
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.proxy.client import Client, Phase
from meshlib_adapters.proxy.request_cache import RequestMemo
from meshlib_adapters.upstream.registry import UpstreamRegistry

__all__ = ["HTTPGateway"]

logger = logging.getLogger("meshlib.listeners")


# Clients that may wait to be accepted: the kernel caps it (net.core.somaxconn); asyncio's 100 drops
# connections in a burst.
_BACKLOG = 4096
# To asyncio the backlog is also how often it tries to accept in one go; without descriptors left
# each try fails, is logged and sets a timer of its own.
_ACCEPTED_AT_ONCE = 16
# Other loops (uvloop) take one connection of each listening socket in a round, however many wait;
# so they are given the same socket so many times. With one, 64 clients that come again and again
# cost half as much again; a client that comes alone costs 6 % more with 8.
_LISTENERS = 8

# Phases that a connection enters by `HTTPGateway.hurry`.
_TOLD = frozenset({Phase.HEAD, Phase.LINGER})

# Making what serves a connection costs more than renewing it, and each is a heap of cycles for the
# collector.
_SPARE = 256

# Where a client that sends or takes bytes slowly has to be told from one that does not.
_MOVING = frozenset({Phase.BODY, Phase.STREAM, Phase.TUNNEL, Phase.CLOSED})


# Seconds between two looks at a half-closed client. A closed socket shows itself at the second: a
# request that nobody waits for is ended within a second.
_PROBE_EVERY = 0.4


class HTTPGateway:
    """The HTTP side of a gateway: `listen` as often as you like, later `drain`, then `close`.

    To be made and used inside one running event loop (asyncio's or uvloop's). `mesh` is read once
    per request, so a new snapshot never touches a request under way. `access_log` may be None for
    none.
    """

    def __init__(
        self,
        mesh: Mesh,
        settings: HTTPSettings | None = None,
        *,
        policy: ForwardingPolicy | None = None,
        access_log: AccessLog | None = None,
        upstreams: UpstreamRegistry | None = None,
    ) -> None:
        self.mesh = mesh
        self.settings = settings or HTTPSettings()
        self.policy = policy or ForwardingPolicy()
        self.access_log = access_log
        self.loop = asyncio.get_running_loop()
        self.upstreams = upstreams or UpstreamRegistry(mesh, self.settings, self.loop)
        self.write_batch = self.upstreams.write_batch
        self.memo = RequestMemo(self.policy, self.settings.field_count, self.upstreams.known_lines)
        # Where clients must show certificates: whether TLS for a host is ended here. Set by the
        # terminator; then nothing is forwarded that comes without TLS.
        self.certified_hosts: Callable[[str], bool] | None = None
        self.draining = False
        self.requests = 0
        self._dropped = 0
        limits = self.settings
        self.phase_limits = (
            limits.idle,
            limits.head_read,
            limits.between_bytes,
            limits.response_head,
            limits.between_bytes,
            limits.tunnel_idle,
            limits.lingering_close,
            limits.between_bytes,  # closing, with bytes that the client has still to take
        )
        self._servers: list[asyncio.Server] = []
        self._open = 0
        self.limits = ClientLimits(
            limits.max_connections, limits.max_connections_per_client or None
        )
        self._spare: list[ClientConnection] = []
        self.beginning: set[PreambleReader] = (
            set()
        )  # connections whose preamble is not complete; `limits` counts them
        self._half_closed: set[ClientConnection] = set()
        self._prober: asyncio.TimerHandle | None = None
        self._date = ("", 0.0)
        self._id_prefix = secrets.token_hex(
            8
        ).encode()  # random: an id must not repeat over processes and restarts
        self._id_counter = 0
        # A wheel: each connection is in one bucket, which is looked at in one tick. It is looked at
        # at the latest when a quarter of the shortest time-out of the phases that come and go with
        # requests has passed (twice at least while a client takes our bytes slowly, see
        # `ClientConnection.look`); the other phases say when they begin (`hurry`). In between it
        # costs nothing.
        self._longest_wait = (
            min(self.phase_limits[phase] for phase in Phase if phase not in _TOLD) / 4
        )
        if limits.min_body_rate:
            self._longest_wait = min(self._longest_wait, limits.body_grace)
        self._tick = min(1.0, max(0.02, min(self.phase_limits) / 10))
        self._wheel: dict[int, set[Client]] = {}
        self._swept = int(self.loop.time() / self._tick)
        self._arrivals = self._bucket(
            self.loop.time() + self._longest_wait
        )  # where those that come now are
        self._timer = self.loop.call_later(self._tick, self._sweep)
        self._gone = asyncio.Event()

    # Life.

    async def listen(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
        proxy_protocol: PreamblePolicy | None = None,
    ) -> list[tuple[str, int]]:
        """Accept connections there; returns the addresses bound (port 0 picks a free one). Raises
        OSError as `bind` does.
        """
        port_of: list[int] = [
            0
        ]  # known when the sockets are there, and before the first connection is
        accepted: Callable[[], asyncio.Protocol] = lambda: self.create_connection(  # noqa: E731
            "http", port_of[0]
        )
        if proxy_protocol is not None and proxy_protocol.mode != "off":
            accepted = functools.partial(PreambleReader, self, proxy_protocol)
        if sock is not None:
            sock.listen(
                _BACKLOG
            )  # uvloop would return a server without a socket where this fails (another has begun to listen there)
            server = await self.loop.create_server(accepted, sock=sock, backlog=_ACCEPTED_AT_ONCE)
        else:
            server = await self.loop.create_server(
                accepted, host, port, backlog=_ACCEPTED_AT_ONCE, reuse_port=reuse_port or None
            )
        self._servers.append(server)
        if not isinstance(self.loop, asyncio.BaseEventLoop):
            for listening in [
                listening for listening in server.sockets for _ in range(1, _LISTENERS)
            ]:
                again = socket.socket(fileno=os.dup(listening.fileno()))
                self._servers.append(
                    await self.loop.create_server(accepted, sock=again, backlog=_ACCEPTED_AT_ONCE)
                )
        for listening in server.sockets:
            with socket.socket(fileno=os.dup(listening.fileno())) as same:
                same.listen(_BACKLOG)
        addresses = [cast("tuple[str, int]", s.getsockname()[:2]) for s in server.sockets]
        ports = {number for _, number in addresses}
        port_of[0] = ports.pop() if len(ports) == 1 else 0
        return addresses

    def create_connection(self, scheme: str, port: int) -> ClientConnection:
        """The protocol of a connection to `port` (0: it asks its socket); one that served others
        before, if there is one.
        """
        if not self._spare:
            return ClientConnection(self, scheme, port)
        connection = self._spare.pop()
        connection.scheme = scheme
        connection.port = port
        return connection

    def keep(self, connection: ClientConnection) -> None:
        """A connection is gone, and what served it is as good as new."""
        if len(self._spare) < _SPARE:
            self._spare.append(connection)

    async def drain(self, grace: float) -> int:
        """Stop accepting, let what is under way finish for `grace` seconds, then cut the rest.
        Returns how many were cut.
        """
        self.draining = True
        for server in self._servers:
            server.close()
        for reader in list(self.beginning):
            reader.abort()
        for connection in self.clients():
            connection.shut()
        if self._open:
            self._gone.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._gone.wait()
        cut = self._open
        for connection in self.clients():
            connection.abort()
        return cut

    def close(self) -> None:
        """End at once: listeners, connections, pools, the timer."""
        self.draining = True
        self._timer.cancel()
        if self._prober is not None:
            self._prober.cancel()
        for server in self._servers:
            server.close()
        for reader in list(self.beginning):
            reader.abort()
        for connection in self.clients():
            connection.abort()
        self.upstreams.close()
        if self.access_log is not None:
            self.access_log.flush()

    @property
    def connections(self) -> int:
        """Client connections open now."""
        return self._open

    def clients(self) -> list[Client]:
        """The connections open now."""
        return [connection for bucket in self._wheel.values() for connection in bucket]

    # What connections ask for.

    def admit(self, connection: Client) -> Peer | None:
        """Count a new connection; None when it is one too many, and nobody is idle who could be
        given up for it.

        Proxies in front (`trusted_proxies`) have no limit of their own: they speak for many.
        """
        address, port = connection.client()
        self._open += 1
        connection.bucket = self._arrivals
        self._arrivals.add(connection)
        trusted = is_trusted(address, self.policy.trusted_proxies)
        peer = connection.peer = Peer(address, connection.scheme, port, trusted)
        return (
            None
            if self.limits.enter(connection, address, since=connection.since, exempt=trusted)
            else peer
        )

    def leave(self, connection: Client) -> None:
        """A connection is gone."""
        self._open -= 1
        connection.bucket.discard(connection)
        self._half_closed.discard(connection)
        self.limits.leave(connection)
        if not self._open:
            self._gone.set()

    def watch_half_closed(self, connection: ClientConnection) -> None:
        """Look after a client that has shut down its sending side (see
        `ClientConnection.probe`).
        """
        self._half_closed.add(connection)
        if self._prober is None:
            self._prober = self.loop.call_later(_PROBE_EVERY, self._probe)

    def _probe(self) -> None:
        # One timer, however many come and go in between: each more would ask all of them once more.
        self._prober = (
            self.loop.call_later(_PROBE_EVERY, self._probe) if self._half_closed else None
        )
        now = self.loop.time()
        for connection in list(self._half_closed):
            if not connection.probe(now):
                self._half_closed.discard(connection)

    def request_id(self, fields: FieldSection, peer: Peer) -> bytes:
        """The X-Request-ID line to send on, or nothing: switched off, or a trusted peer has sent
        one.
        """
        if not self.policy.request_id or (peer.trusted and b"x-request-id" in fields.names):
            return b""
        self._id_counter = count = self._id_counter + 1
        return b"X-Request-ID: %s%012x\r\n" % (self._id_prefix, count)

    def date(self) -> str:
        """The Date of answers of our own, to the second."""
        text, at = self._date
        now = self.loop.time()
        if now - at >= 1.0 or not text:
            text = email.utils.formatdate(usegmt=True)
            self._date = (text, now)
        return text

    def reset(self, transport: asyncio.Transport) -> None:
        """Close with RST, so that a cut answer cannot be taken for a complete one."""
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):  # the peer was quicker
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    # Time-outs.

    def hurry(self, connection: Client) -> None:
        """The connection has entered a phase that is short and rare."""
        if connection in connection.bucket:
            connection.bucket.discard(connection)
            self._schedule(connection, self.loop.time())

    def _bucket(self, deadline: float) -> set[Client]:
        slot = max(int(deadline / self._tick), self._swept) + 1
        return self._wheel.setdefault(slot, set())

    def _schedule(self, connection: Client, now: float) -> None:
        # Its own deadline, but not so late that the next phase could outlive its own.
        deadline = min(
            connection.since + self.phase_limits[connection.phase], now + self._longest_wait
        )
        connection.bucket = bucket = self._bucket(deadline)
        bucket.add(connection)

    def _tend_log(self, log: AccessLog) -> None:
        log.hand_over()
        if log.dropped != self._dropped:
            self._dropped = log.dropped
            logger.warning(
                "access log: %d records lost so far, because what takes them is too slow or fails",
                log.dropped,
            )

    def _sweep(self) -> None:
        # First of all: whatever may go wrong below, time-outs go on.
        self._timer = self.loop.call_later(self._tick, self._sweep)
        now = self.loop.time()
        current = int(now / self._tick)
        self._swept = current
        for slot in sorted(slot for slot in self._wheel if slot <= current):
            bucket = self._wheel[slot]
            while bucket:
                connection = bucket.pop()
                self._schedule(
                    connection, now
                )  # before anything can go wrong with it; the others are still in their bucket
                if connection.phase in _MOVING:
                    connection.look(now)
                if now - connection.since >= self.phase_limits[connection.phase]:
                    connection.timed_out()
            del self._wheel[slot]
        self._arrivals = self._bucket(now + self._longest_wait)
        self.upstreams.sweep(now)
        if self.access_log is not None:
            self._tend_log(self.access_log)


def address_list(addresses: Iterable[tuple[str, int]]) -> str:
    """Addresses for a log line."""
    return ", ".join(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses
    )
