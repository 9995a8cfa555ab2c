"""One client of a UDP port: its datagrams go to one endpoint through a socket of its own, and the
replies come back through it.

A flow stays with its endpoint until discovery removes that endpoint, or until ICMP says that nobody
listens there; then it moves to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final, Protocol

from meshlib.authority import is_ip_address
from meshlib.balancing import Observation
from meshlib.model import Endpoint, Upstream
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.os_errors import NO_ROOM, UNREACHABLE
from meshlib_adapters.sockets.datagrams import MAX_DATAGRAM, Origin, connected_datagrams
from meshlib_adapters.sockets.limits import NEVER_IDLE
from meshlib_adapters.upstream.choice.chooser import EndpointChooser
from meshlib_adapters.upstream.choice.host_names import REFRESH

__all__ = ["Flow", "FlowOwner"]

# Replies taken in one go before other sockets get their turn.
_BATCH: Final = 64
# The last datagram is kept until there is a reply, so that a question (a DNS query, say) survives
# an endpoint that refuses it. What waits for a reply nearly always fits into one Ethernet frame;
# more would let 10,000 flows hold real memory.
_MAX_KEPT: Final = 2048


class FlowOwner(Protocol):
    """The listener of a flow, as far as the flow knows it.

    `name` stands in records. `buffer` holds the reply that is being passed on, of any flow.
    `counters` has "moved", "refused" and "evicted".
    """

    name: str
    loop: asyncio.AbstractEventLoop
    chooser: EndpointChooser
    buffer: memoryview
    counters: dict[str, int]

    def reply(self, origin: Origin, data: memoryview) -> bool:
        """Send to a client; false when that cannot be done now, and then the datagram is lost."""

    def drop(self, reason: str) -> None:
        """Count a datagram that is lost."""

    def flow_ended(self, flow: Flow, record: ConnectionRecord) -> None:
        """Forget a flow; called by it, once, when it is closed."""


class Flow:
    """Made by its owner for a client's first datagram; `send` takes them all, that one included."""

    __slots__ = (
        "_address",
        "_addresses",
        "_counted",
        "_endpoint",
        "_kept",
        "_look_again",
        "_owner",
        "_resolving",
        "_sock",
        "_started",
        "_tried",
        "_upstream",
        "closed",
        "last_active",
        "origin",
        "received",
        "replied",
        "sent",
    )

    def __init__(self, owner: FlowOwner, origin: Origin, now: float) -> None:
        self._owner = owner
        self.origin = origin
        self._upstream: Upstream | None = None
        self._endpoint: Endpoint | None = None
        self._counted: tuple[Upstream, Endpoint] | None = None  # what it is counted at
        self._address = ""  # of the endpoint
        self._addresses: list[str] = []  # others of the endpoint, still to be tried
        self._look_again = 0.0
        self._tried: set[str] = set()  # addresses that have refused since the last reply
        self._sock: socket.socket | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._kept: bytes | None = None  # the last datagram that has no reply yet
        self._started = self.last_active = now
        self.replied = False
        self.closed = False
        self.received = self.sent = 0

    def __repr__(self) -> str:
        return (
            f"<Flow {self.client} {self._endpoint.address if self._endpoint is not None else '-'}>"
        )

    @property
    def client(self) -> str:
        """The client's address."""
        return self.origin.client[0]

    def send(self, data: bytes | memoryview, upstream: Upstream | None, now: float) -> None:
        """Pass a datagram on to the endpoint, or to the next one where that is no longer ready in
        `upstream`. With None, or no ready endpoint at all, the flow stays where it is.
        """
        self.last_active = now
        self._kept = bytes(data) if len(data) <= _MAX_KEPT else None
        if upstream is not None and (upstream is not self._upstream or now >= self._look_again):
            self._look_again = now + REFRESH
            ready = self._owner.chooser.ready(upstream)
            if ready:
                self._upstream = upstream
            moved = self._endpoint is not None and not any(map(self._is_at, ready))
            if ready and (moved or self._endpoint is None):
                self._tried.clear()
                self._addresses.clear()  # of the endpoint that it leaves
                if moved:
                    self._owner.counters["moved"] += 1
                self._deliver(data)
                return
        if self._sock is not None:
            self._transmit(data)
        elif self._resolving is None:
            self._deliver(data)

    def _is_at(self, endpoint: Endpoint) -> bool:
        # The address of a name may be an endpoint of its own since the flow went there.
        own = self._endpoint
        return own is not None and (
            endpoint.address == own.address
            or (endpoint.host == self._address and endpoint.port == own.port)
        )

    def idle_since(self) -> float | None:
        """Start of the flow's idle time, as `Member.idle_since`: a flow without any reply makes
        room for others; one that has had a reply never does.
        """
        return NEVER_IDLE if self.replied else self._started

    def give_up(self) -> None:
        """Count an eviction and end now, as `Member.give_up`."""
        self._owner.counters["evicted"] += 1
        self.abort("evicted")

    def abort(self, outcome: str) -> None:
        """Close, and tell the owner."""
        if self.closed:
            return
        self.closed = True
        self._close_socket()
        self._uncount()
        owner = self._owner
        endpoint = self._endpoint.address if self._endpoint is not None else ""
        seconds = owner.loop.time() - self._started
        owner.flow_ended(
            self,
            ConnectionRecord(
                self.client, owner.name, endpoint, outcome, self.received, self.sent, seconds
            ),
        )

    def _deliver(self, data: bytes | memoryview | None) -> None:
        # To the next endpoint that takes it; each is tried once. None: the next datagram will go
        # there.
        self._close_socket()
        assert self._upstream is not None
        while True:
            if not self._addresses:
                candidates = self._owner.chooser.candidates(self._upstream)
                endpoint = next(
                    (item for item in candidates if item.address not in self._tried), None
                )
                if endpoint is None:
                    self.abort("refused" if self._tried else "no_endpoint")
                    return
                self._tried.add(endpoint.address)
                self._endpoint = endpoint
                self._count_at(self._upstream, endpoint)
                if not is_ip_address(endpoint.host):
                    self._resolving = self._owner.loop.create_task(self._resolve(endpoint))
                    return
                self._addresses = [endpoint.host]
            assert self._endpoint is not None
            try:
                self._address = self._addresses.pop(0)
                self._sock = connected_datagrams(self._address, self._endpoint.port)
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._owner.drop("no_socket")
                    self.abort("no_socket")
                    return
                continue
            self._owner.loop.add_reader(self._sock.fileno(), self._on_readable)
            if data is not None:
                self._transmit(data)
            return

    async def _resolve(self, endpoint: Endpoint) -> None:
        try:
            found = await self._owner.loop.getaddrinfo(
                endpoint.host, endpoint.port, type=socket.SOCK_DGRAM
            )
        except (OSError, ValueError):  # ValueError: a name that cannot even be looked up
            found = []
        self._resolving = None
        self._addresses = [str(info[4][0]) for info in found]
        self._deliver(self._kept)

    def _transmit(self, data: bytes | memoryview) -> None:
        assert self._sock is not None
        try:
            self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            self._owner.drop("busy")
        except ConnectionRefusedError:  # of an earlier datagram: this one was not sent
            self._on_refused(data)
        except OSError as error:  # too large for the way, or no way there
            if error.errno in UNREACHABLE:
                self._on_refused(data)
            else:
                self._owner.drop("unsendable")
        else:
            self.received += len(data)

    def _on_readable(self) -> None:
        sock, owner = self._sock, self._owner
        buffer = owner.buffer
        for _ in range(_BATCH):
            if sock is None or sock is not self._sock:
                return
            try:
                size = sock.recv_into(buffer, MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionRefusedError:
                self._on_refused(self._kept)
                return
            except OSError as error:
                if error.errno in UNREACHABLE:  # its machine is gone
                    self._on_refused(self._kept)
                return
            self.last_active = owner.loop.time()
            self._kept = None
            self._tried.clear()
            if not self.replied:
                self.replied = True
                self._observe(Observation.OK)
            if owner.reply(self.origin, buffer[:size]):
                self.sent += size

    def _on_refused(self, data: bytes | memoryview | None) -> None:
        self._owner.counters["refused"] += 1
        assert self._endpoint is not None
        self._tried.add(self._endpoint.address)
        self._observe(Observation.CONNECT_FAILED)
        self._addresses.clear()
        self._deliver(data)

    def _observe(self, observation: Observation) -> None:
        assert self._upstream is not None
        assert self._endpoint is not None
        self._owner.chooser.observe(self._upstream, self._endpoint, observation)

    def _count_at(self, upstream: Upstream, endpoint: Endpoint) -> None:
        self._uncount()
        self._counted = (upstream, endpoint)
        self._owner.chooser.enter(upstream, endpoint)

    def _uncount(self) -> None:
        counted, self._counted = self._counted, None
        if counted is not None:
            self._owner.chooser.leave(*counted)

    def _close_socket(self) -> None:
        if self._resolving is not None:
            self._resolving.cancel()
            self._resolving = None
        if self._sock is not None:
            self._owner.loop.remove_reader(self._sock.fileno())
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None
