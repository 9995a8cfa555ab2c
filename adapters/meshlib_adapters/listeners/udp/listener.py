"""The UDP listener: datagrams that come to an address go, unread, to the endpoints of one upstream;
each client has a flow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final

from meshlib.model import Upstream
from meshlib_adapters.config.transport import UDPSettings
from meshlib_adapters.listeners.udp.flow import Flow
from meshlib_adapters.listeners.udp.spread import Spread
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.sockets.clients import Clients
from meshlib_adapters.sockets.datagrams import MAX_DATAGRAM, Origin, bind_datagrams, reply_from
from meshlib_adapters.sockets.deadlines import Deadlines
from meshlib_adapters.sockets.limits import ClientLimits
from meshlib_adapters.upstream.choice.chooser import EndpointChooser
from meshlib_adapters.upstream.choice.host_names import HostNames

__all__ = ["UDPListener"]

_log = logging.getLogger("meshlib.udp")

# Datagrams taken in one go before other sockets get their turn.
_BATCH: Final = 64
_ANCILLARY: Final = socket.CMSG_SPACE(64)


class UDPListener:
    """Passes datagrams on to the endpoints of the upstream that `upstream()` returns; it is called
    for each datagram.

    Make it inside a running event loop. A client is an address and a port, and what it sends goes
    to one endpoint while its flow lasts; only ready endpoints get new flows, in the order of the
    upstream's strategy, without those that refused lately. `name`, `on_end` and `limits` as in
    `TCPListener`. `counters` ("flows", "received" and "sent" datagrams, "moved", "refused",
    "evicted", "dropped") and `drops` (by reason) only grow.
    """

    def __init__(
        self,
        upstream: Callable[[], Upstream | None],
        settings: UDPSettings | None = None,
        *,
        name: str = "udp",
        on_end: Callable[[ConnectionRecord], None] | None = None,
        limits: ClientLimits | None = None,
    ) -> None:
        self.settings = settings = settings or UDPSettings()
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(MAX_DATAGRAM))
        self.chooser = EndpointChooser(
            self.loop.time, stickiness="none", names=HostNames(self.loop)
        )
        self._spread = Spread(self.chooser) if settings.one_way else None
        if limits is None:
            limits = ClientLimits(settings.max_flows, settings.max_flows_per_client)
        self.limits = limits
        self._clients: Clients[ConnectionRecord] = Clients(
            self.loop,
            limits,
            *("received", "sent", "moved", "refused", "evicted"),
            accepted="flows",
            refused="dropped",
            on_end=on_end,
            on_leave=self._close_unused_socket,
        )
        self.counters = self._clients.counters
        self.drops = self._clients.refusals
        self._upstream = upstream
        self._sock: socket.socket | None = None
        self._reports_address = False  # of ours, with each datagram
        self._flows: dict[Origin, Flow] = {}
        self._deadlines: Deadlines[Flow] = Deadlines(
            self.loop, settings.sweep_interval, self._on_deadline
        )
        self._accepting = False
        self._draining = False
        self._warned = False  # that no endpoint is ready

    def __repr__(self) -> str:
        return f"<UDPListener {self.name} {len(self._clients)} flows>"

    def __len__(self) -> int:
        """Number of flows."""
        return len(self._clients)

    async def listen(
        self, host: str = "", port: int = 0, *, reuse_port: bool = False
    ) -> tuple[str, int]:
        """Receive on this address (port 0: any free one). Returns address and port. Raises
        OSError.
        """
        return self.open(host, port, reuse_port=reuse_port)

    def open(self, host: str = "", port: int = 0, *, reuse_port: bool = False) -> tuple[str, int]:
        """As `listen`, which waits for nothing either. After `stop_accepting` the socket that is
        still there is used again.
        """
        if self._sock is None:
            self._sock, self._reports_address = bind_datagrams(host, port, reuse_port=reuse_port)
            self.loop.add_reader(self._sock.fileno(), self._on_readable)
        self._accepting = True
        name = self._sock.getsockname()
        return str(name[0]), int(name[1])

    def stop_accepting(self) -> None:
        """Begin no new flow; the socket is closed when the last one ends. `open` begins anew."""
        self._accepting = False
        self._close_unused_socket()

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109
        """Begin no flow, wait at most `timeout` seconds for silence, end the flows that are still
        busy; returns how many.

        A flow has no end of its own: one that is silent for `drain_silence` counts as finished.
        """
        self._draining = True
        self.stop_accepting()
        for flow in self._flows.values():
            self._deadlines.set(flow, flow.last_active + self.settings.drain_silence)
        left = await self._clients.drain(timeout)
        self.close()
        return left

    def close(self) -> None:
        """Close everything now. May be called twice."""
        self._accepting = False
        self._clients.abort()
        self._close_unused_socket()
        self._deadlines.close()
        self.chooser.close()
        if self._spread is not None:
            self._spread.close()

    # `FlowOwner`

    def reply(self, origin: Origin, data: memoryview) -> bool:
        """Send to a client; false when that cannot be done now, and then the datagram is lost."""
        assert self._sock is not None
        try:
            if origin.reply is None:
                self._sock.sendto(data, origin.client)
            else:
                self._sock.sendmsg((data,), (origin.reply,), 0, origin.client)
        except OSError:
            self.drop("unanswerable")
            return False
        self.counters["sent"] += 1
        return True

    def drop(self, reason: str) -> None:
        """Count a datagram that is lost."""
        self._clients.refuse(reason)

    def flow_ended(self, flow: Flow, record: ConnectionRecord) -> None:
        """Forget a flow; called by it, once, when it is closed."""
        del self._flows[flow.origin]
        _log.debug(
            "%s: flow of %s with %s is over: %s",
            self.name,
            record.client,
            record.endpoint or "-",
            record.outcome,
        )
        self._deadlines.cancel(flow)
        self._clients.ended(flow, record)

    # The clients' datagrams.

    def _on_readable(self) -> None:
        now = self.loop.time()
        buffer = self.buffer
        for _ in range(_BATCH):
            sock = self._sock
            if sock is None:
                return
            reply = None
            try:
                if self._reports_address:
                    size, ancillary, _, client = sock.recvmsg_into((buffer,), _ANCILLARY)
                    reply = reply_from(ancillary)
                else:
                    size, client = sock.recvfrom_into(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error for some reply of ours; the system does not say which
            self.counters["received"] += 1
            upstream = self._upstream()
            if self._spread is not None:
                self._pass_on(buffer[:size], upstream, client[0])
                continue
            origin = Origin(client, reply)
            flow = self._flows.get(origin) or self._begin(origin, upstream, now)
            if flow is not None:
                flow.send(buffer[:size], upstream, now)

    def _pass_on(self, data: memoryview, upstream: Upstream | None, client: str) -> None:
        # Without a flow: nobody replies.
        assert self._spread is not None
        if not self._accepting:
            self.drop("closing")
        elif upstream is None or not upstream.ready:
            self._drop_for_want_of_endpoints(client)
        else:
            self._warned = False
            reason = self._spread.send(data, upstream)
            if reason:
                self.drop(reason)

    def _drop_for_want_of_endpoints(self, client: str) -> None:
        self.drop("no_endpoint")
        if not self._warned:  # once: a client may send a thousand times a second
            self._warned = True
            _log.info("dropped what %s sent to %s: no endpoint is ready", client, self.name)

    def _begin(self, origin: Origin, upstream: Upstream | None, now: float) -> Flow | None:
        if not self._accepting:
            self.drop("closing")
            return None
        if upstream is None or not upstream.ready:
            self._drop_for_want_of_endpoints(origin.client[0])
            return None
        self._warned = False
        flow = Flow(self, origin, now)
        if self._clients.add(flow, origin.client[0]):
            return None
        self._flows[origin] = flow
        _log.debug("%s: flow of %s begins, to %s", self.name, origin.client[0], upstream.name)
        self._deadlines.set(flow, now + self.settings.flow_timeout)
        return flow

    def _on_deadline(self, flow: Flow, now: float) -> None:
        silence = self.settings.drain_silence if self._draining else self.settings.flow_timeout
        deadline = flow.last_active + silence
        if deadline <= now:
            flow.abort("drained" if self._draining else "idle_timeout")
        else:
            self._deadlines.set(flow, deadline)

    def _close_unused_socket(self) -> None:
        if self._sock is not None and not self._accepting and not len(self._clients):
            self.loop.remove_reader(self._sock.fileno())
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None
