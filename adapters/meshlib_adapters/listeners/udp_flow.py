"""One client of a UDP port: its datagrams go to one endpoint through a socket of its own, whose
answers are its own.

A flow stays with its endpoint until that is gone from discovery, or says (by ICMP) that nobody is
there; then it moves to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from meshlib.authority import is_ip_address
from meshlib.balancing import Observation
from meshlib.model import Endpoint, Upstream
from meshlib_adapters.listeners.udp_sockets import MAX_DATAGRAM, Origin, connected_datagrams
from meshlib_adapters.observe.records import PortRecord
from meshlib_adapters.proxy.client import NEVER_IDLE

if TYPE_CHECKING:
    from meshlib_adapters.listeners.udp import UDPListener

__all__ = ["Flow"]

# Answers taken in one go before other sockets get their turn.
_BATCH = 64
# The last datagram is kept until there is an answer, so that a question (a DNS query, say) survives
# an endpoint that refuses it. What waits for an answer fits into one Ethernet frame nearly always;
# more would let 10,000 flows hold real memory.
_MAX_KEPT = 2048


class Flow:
    """Made by the listener for a client's first datagram; `send` takes them, that one included."""

    __slots__ = (
        "_addresses",
        "_endpoint",
        "_kept",
        "_listener",
        "_resolving",
        "_sock",
        "_started",
        "_tried",
        "_upstream",
        "answered",
        "closed",
        "last_active",
        "origin",
        "received",
        "sent",
    )

    def __init__(self, listener: UDPListener, origin: Origin, now: float) -> None:
        self._listener = listener
        self.origin = origin
        self._upstream: Upstream | None = None
        self._endpoint: Endpoint | None = None
        self._addresses: list[str] = []  # of the endpoint, still to be tried
        self._tried: set[str] = set()  # ids of endpoints that have refused since the last answer
        self._sock: socket.socket | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._kept: bytes | None = None  # the last datagram that has no answer yet
        self._started = self.last_active = now
        self.answered = False
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
        """To the endpoint, or to the next one where that is not ready in `upstream` any more. None,
        or nobody ready: as before.
        """
        self.last_active = now
        self._kept = bytes(data) if len(data) <= _MAX_KEPT else None
        if upstream is not None and upstream is not self._upstream and upstream.ready:
            here = self._endpoint.address if self._endpoint is not None else ""
            moved = bool(here) and all(endpoint.address != here for endpoint in upstream.ready)
            self._upstream = upstream
            if moved or self._endpoint is None:
                self._tried.clear()
                if moved:
                    self._listener.counters["moved"] += 1
                self._deliver(data)
                return
        if self._sock is not None:
            self._transmit(data)
        elif self._resolving is None:
            self._deliver(data)

    def idle_since(self) -> float | None:
        """See `limits.Member`: a flow that nobody has answered makes room, one that was answered
        gives its place to nobody.
        """
        return NEVER_IDLE if self.answered else self._started

    def give_up(self) -> None:
        """See `limits.Member`."""
        self._listener.counters["evicted"] += 1
        self.end("evicted")

    def end(self, outcome: str) -> None:
        """Close, and tell the listener."""
        if self.closed:
            return
        self.closed = True
        self._hang_up()
        listener = self._listener
        endpoint = self._endpoint.address if self._endpoint is not None else ""
        seconds = listener.loop.time() - self._started
        listener.flow_ended(
            self,
            PortRecord(
                self.client, listener.name, endpoint, outcome, self.received, self.sent, seconds
            ),
        )

    def _deliver(self, data: bytes | memoryview | None) -> None:
        # To the next endpoint that takes it; each is tried once. None: the next datagram will go
        # there.
        self._hang_up()
        assert self._upstream is not None
        while True:
            if not self._addresses:
                candidates = self._listener.targets.candidates(self._upstream)
                endpoint = next((item for item in candidates if item.id not in self._tried), None)
                if endpoint is None:
                    self.end("refused" if self._tried else "no_endpoint")
                    return
                self._tried.add(endpoint.id)
                self._endpoint = endpoint
                if not is_ip_address(endpoint.host):
                    self._resolving = self._listener.loop.create_task(self._resolve(endpoint))
                    return
                self._addresses = [endpoint.host]
            assert self._endpoint is not None
            try:
                self._sock = connected_datagrams(self._addresses.pop(0), self._endpoint.port)
            except OSError as error:
                if error.errno in self._listener.no_room:
                    self._listener.count_drop("no_socket")
                    self.end("no_socket")
                    return
                continue
            self._listener.loop.add_reader(self._sock.fileno(), self._on_readable)
            if data is not None:
                self._transmit(data)
            return

    async def _resolve(self, endpoint: Endpoint) -> None:
        try:
            found = await self._listener.loop.getaddrinfo(
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
            self._listener.count_drop("busy")
        except ConnectionRefusedError:  # by an earlier datagram: this one was not sent
            self._on_refused(data)
        except OSError:  # too large for the way, or no way there
            self._listener.count_drop("unsendable")
        else:
            self.received += len(data)

    def _on_readable(self) -> None:
        sock, listener = self._sock, self._listener
        buffer = listener.buffer
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
            except OSError:  # a host or network that cannot be reached for the moment; the flow's time-out is the end of that
                return
            self.last_active = listener.loop.time()
            self._kept = None
            self._tried.clear()
            if not self.answered:
                self.answered = True
                self._observe(Observation.OK)
            if listener.answer(self.origin, buffer[:size]):
                self.sent += size

    def _on_refused(self, data: bytes | memoryview | None) -> None:
        self._listener.counters["refused"] += 1
        assert self._endpoint is not None
        self._tried.add(self._endpoint.id)
        self._observe(Observation.CONNECT_FAILED)
        self._addresses.clear()
        self._deliver(data)

    def _observe(self, observation: Observation) -> None:
        assert self._upstream is not None
        assert self._endpoint is not None
        self._listener.targets.observe(self._upstream, self._endpoint, observation)

    def _hang_up(self) -> None:
        if self._resolving is not None:
            self._resolving.cancel()
            self._resolving = None
        if self._sock is not None:
            self._listener.loop.remove_reader(self._sock.fileno())
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None
