"""Listeners for the ports that routes have for themselves: opened and closed as the published table
says.

A port that cannot be opened does no harm to others: it is logged once, and tried again. A route
that is gone takes no new clients; those that are connected stay until they end, or the drain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol

from meshlib.decision import Carry
from meshlib.mesh import Mesh
from meshlib.model import ListeningPort, Scheme, Upstream
from meshlib_adapters.config.transport import PortSettings, ProxyHeaderPolicy
from meshlib_adapters.listeners.tcp import TCPListener
from meshlib_adapters.listeners.udp.listener import UDPListener
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.relay.relay import RelayResources
from meshlib_adapters.sockets.binding import bind_failure
from meshlib_adapters.sockets.limits import ClientLimits

__all__ = ["PublishedPorts", "ports_data"]


_log = logging.getLogger("meshlib.ports")


class _Listener(Protocol):
    def __len__(self) -> int: ...
    def open(self, host: str, port: int, *, reuse_port: bool) -> tuple[str, int]: ...
    def stop_accepting(self) -> None: ...
    async def drain(self, timeout: float) -> int: ...  # noqa: ASYNC109
    def close(self) -> None: ...


class PublishedPorts:
    """Follows `mesh` from `start` on. Make it inside a running event loop.

    `reserved` are TCP ports of our own, which no route may have, whatever its labels say. `on_end`
    gets a `ConnectionRecord` for each client that is gone; it must not raise. `proxy_protocol` is
    for the TCP ports, as in `TCPListener`.
    """

    def __init__(
        self,
        mesh: Mesh,
        settings: PortSettings | None = None,
        *,
        reserved: Collection[int] = (),
        on_end: Callable[[ConnectionRecord], None] | None = None,
        proxy_protocol: ProxyHeaderPolicy | None = None,
    ) -> None:
        self.settings = settings = settings or PortSettings()
        self._proxy_protocol = proxy_protocol
        self._mesh = mesh
        self._loop = asyncio.get_running_loop()
        self._reserved = frozenset(reserved)
        self._on_end = on_end
        self._resources = RelayResources(settings.tcp.relay)
        self._tcp_limits = ClientLimits(
            settings.tcp.max_connections, settings.tcp.max_connections_per_client
        )
        self._udp_limits = ClientLimits(settings.udp.max_flows, settings.udp.max_flows_per_client)
        self._listeners: dict[ListeningPort, TCPListener | UDPListener] = {}
        self._open: set[ListeningPort] = set()
        self._closed: dict[
            ListeningPort, str
        ] = {}  # wanted and not open, with the reason that was told
        self._failures: dict[ListeningPort, int] = {}
        self._past = {"tcp": dict.fromkeys(_TCP, 0), "udp": dict.fromkeys(_UDP, 0)}
        self._retry: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._stopped = False

    def __repr__(self) -> str:
        return (
            f"<PublishedPorts {len(self._open)} open, {len(self._closed)} not, "
            f"{self.connections} connections, {self.flows} flows>"
        )

    @property
    def connections(self) -> int:
        """TCP connections that there are."""
        return len(self._tcp_limits)

    @property
    def flows(self) -> int:
        """UDP flows that there are."""
        return len(self._udp_limits)

    @property
    def leaving(self) -> int:
        """Ports that take no new clients while their last ones are still connected."""
        return len(self._listeners) - len(self._open)

    @property
    def open_ports(self) -> tuple[ListeningPort, ...]:
        """Ports that take new clients."""
        return tuple(sorted(self._open))

    @property
    def closed_ports(self) -> Mapping[ListeningPort, str]:
        """Ports that a route asks for and that are not open, with the reason."""
        return dict(self._closed)

    @property
    def failures(self) -> Mapping[ListeningPort, int]:
        """Those of `closed_ports` that the system did not let us open, with its error number."""
        return dict(self._failures)

    def counters(self) -> dict[str, dict[str, int]]:
        """Counts of events on all ports since the start: "tcp" as `TCPListener.counters`, "udp" as
        `UDPListener.counters`.
        """
        total = {scheme: dict(counts) for scheme, counts in self._past.items()}
        for port, listener in self._listeners.items():
            _add(total[port.scheme], listener.counters)
        return total

    def start(self) -> None:
        """Open what the table asks for now, and follow it."""
        self._unsubscribe = self._mesh.subscribe(self._follow)
        self._follow(self._mesh)

    async def drain(self, timeout: float) -> int:  # noqa: ASYNC109
        """Take no new clients, wait at most `timeout` seconds for those that are there, end the
        rest; returns how many.
        """
        self._stop()
        listeners: list[_Listener] = list(self._listeners.values())
        cut = sum(await asyncio.gather(*(listener.drain(timeout) for listener in listeners)))
        self.close()
        return cut

    def close(self) -> None:
        """End everything now. May be called twice."""
        self._stop()
        for listener in self._listeners.values():
            listener.close()
        self._resources.close()

    def _stop(self) -> None:
        self._stopped = True
        self._unsubscribe()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._open.clear()

    # What the table asks for, and what there is.

    def _follow(self, mesh: Mesh) -> None:
        if self._stopped:
            return
        wanted = sorted(mesh.table.ports)
        asked = frozenset(wanted)
        for port in self._open - asked:
            self._open.discard(port)
            self._listeners[port].stop_accepting()
            _log.info("%s is closed: no route asks for it any more", port)
        for port in self._closed.keys() - asked:
            del self._closed[port]
            self._failures.pop(port, None)
        self._forget_empty()
        for port in wanted:
            if port not in self._open:
                self._try(port)
        self._plan_retry()

    def _try(self, port: ListeningPort) -> None:
        reason = self.settings.refusal(port, self._reserved, len(self._open))
        failure = 0
        if not reason:
            listener = self._listeners.get(port)
            if listener is None:
                listener = self._create(port)
            try:
                listener.open(self.settings.host, port.port, reuse_port=self.settings.reuse_port)
            except OSError as error:
                reason, failure = bind_failure(error), error.errno or 0
            else:
                self._listeners[port] = listener
                self._open.add(port)
                self._closed.pop(port, None)
                self._failures.pop(port, None)
                _log.info("%s is open for %s", port, self._mesh.table.ports[port].route.service)
                return
        if failure:
            self._failures[port] = failure
        else:
            self._failures.pop(port, None)
        if self._closed.get(port) != reason:
            self._closed[port] = reason
            route = self._mesh.table.ports[port].route
            _log.warning("%s is not opened for %s: %s", port, route.service, reason)

    def _create(self, port: ListeningPort) -> TCPListener | UDPListener:
        def upstream() -> Upstream | None:
            # Asked for each client and each datagram: always the table of this moment.
            decision = self._mesh.table.route_port(port)
            return decision.upstream if isinstance(decision, Carry) else None

        def tunnel_idle() -> int:
            decision = self._mesh.table.route_port(port)
            return decision.route.options.tunnel_idle if decision.route is not None else 0

        settings, name = self.settings, str(port)
        if port.scheme is Scheme.UDP:
            one_way = any(port in ports for ports in settings.one_way)
            udp = replace(settings.udp, one_way=one_way or settings.udp.one_way)
            return UDPListener(
                upstream, udp, name=name, on_end=self._on_end, limits=self._udp_limits
            )
        return TCPListener(
            upstream,
            settings.tcp,
            name=name,
            on_end=self._on_end,
            limits=self._tcp_limits,
            resources=self._resources,
            proxy_protocol=self._proxy_protocol,
            tunnel_idle=tunnel_idle,
        )

    def _forget_empty(self) -> None:
        for port in [
            port
            for port, listener in self._listeners.items()
            if port not in self._open and not len(listener)
        ]:
            listener = self._listeners.pop(port)
            _add(self._past[port.scheme], listener.counters)
            listener.close()

    def _plan_retry(self) -> None:
        if self._retry is None and (self._closed or self.leaving):
            self._retry = self._loop.call_later(self.settings.retry_interval, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._forget_empty()
        for port in sorted(self._closed):
            self._try(port)
        self._plan_retry()


_TCP = ("accepted", "attempts", "tunnels", "silent", "refused")
_UDP = ("flows", "received", "sent", "moved", "refused", "evicted", "dropped")


def _add(total: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count


def ports_data(ports: PublishedPorts) -> dict[str, Any]:
    """State of the ports, as `/-/status` shows it."""
    return {
        "open": [str(port) for port in ports.open_ports],
        "closed": {str(port): reason for port, reason in sorted(ports.closed_ports.items())},
        "connections": ports.connections,
        "flows": ports.flows,
        "counters": ports.counters(),
    }
