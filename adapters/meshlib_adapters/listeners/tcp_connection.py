"""One client of a TCP port, from its first moment to the end of its relay: nothing that it says is
read here.

    (PROXY HEADER ──►) CONNECT ──► RELAY ──► (closed)

Until an endpoint has taken the connection, the client's bytes wait in the kernel, but for those
that came with the PROXY header of a proxy in front. A client that no endpoint takes, or whose PROXY
header is wrong, gets an RST, as from a port on which nobody listens.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from typing import TYPE_CHECKING

from meshlib.balancing import Observation
from meshlib.errors import ProtocolError, ProxyProtocolError
from meshlib.model import Endpoint, Upstream
from meshlib.proxy_protocol import ProxyHeader
from meshlib_adapters.listeners.proxy_header import ProxyHeaderReader, proxy_header_for
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.proxy.client import NEVER_IDLE
from meshlib_adapters.relay.dialer import Dialer
from meshlib_adapters.relay.lifetime import look_again
from meshlib_adapters.relay.readiness import Readiness
from meshlib_adapters.relay.relay import Relay, reset_on_close

if TYPE_CHECKING:
    from meshlib_adapters.listeners.tcp import TCPListener

__all__ = ["PortConnection"]

_log = logging.getLogger("meshlib.tcp")

# A PROXY protocol header has a few hundred bytes; what comes along goes on with it.
_READ = 4096


class PortConnection:
    """Made by the listener for an accepted socket; `start` begins, and the listener is told when it
    is over.
    """

    __slots__ = (
        "_added",
        "_closed",
        "_dialer",
        "_endpoint",
        "_first",
        "_listener",
        "_outcome",
        "_proxy_header",
        "_relay",
        "_sock",
        "_started",
        "_target",
        "_upstream",
        "address",
        "client",
    )

    def __init__(self, listener: TCPListener, sock: socket.socket, client: str) -> None:
        self._listener = listener
        self._sock = sock
        self.address = client  # of the connection; `client` is what a trusted proxy says
        self.client = client
        self._dialer: Dialer | None = None
        self._relay: Relay | None = None
        self._proxy_header: ProxyHeaderReader | None = None
        self._first = b""  # what the endpoint gets before anything else
        self._added = 0  # bytes of it that the client has not sent
        self._upstream: Upstream | None = None
        self._target: Endpoint | None = None  # being tried, or connected to
        self._endpoint = ""
        self._outcome = "closed"
        self._closed = False
        self._started = listener.loop.time()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "relay" if self._relay is not None else "connect"
        return f"<PortConnection {state} {self.client} {self._endpoint or '-'}>"

    def start(self) -> None:
        """Read the PROXY header, if the listener's rule says so; then connect to the best endpoint
        that takes it.
        """
        listener = self._listener
        try:
            self._proxy_header = ProxyHeaderReader.of(
                listener.proxy_protocol, self.address, always=True
            )
        except ProxyProtocolError as error:
            self._refuse(error.reason)
            return
        if self._proxy_header is None:
            self._connect(None)
        else:
            listener.deadlines.set(self, self._started + listener.settings.proxy_header_timeout)
            self._watch().add_reader(self._sock.fileno(), self._on_proxy_header)

    def _watch(self) -> Readiness:
        return self._listener.resources.readiness(self._listener.loop)

    def _on_proxy_header(self) -> None:
        proxy_header = self._proxy_header
        assert proxy_header is not None
        try:
            data = self._sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._refuse("proxy_cut_off")
            return
        try:
            rest = proxy_header.receive_data(data)
        except ProtocolError as error:
            self._refuse(error.reason)
            return
        if rest is None:
            return
        self._proxy_header = None
        self._first = rest
        self._watch().forget(self._sock.fileno())
        claimed = proxy_header.claimed
        if claimed is not None and claimed.source is not None:
            self.client = claimed.source.host
            full = self._listener.limits.rename(self, self.client)
            if full:
                self._refuse(full)
                return
        self._connect(claimed)

    def _connect(self, claimed: ProxyHeader | None) -> None:
        upstream = self._listener.upstream()
        if upstream is None:
            self._refuse("no_endpoint")
            return
        self._upstream = upstream
        if upstream.transport.proxy_protocol:
            proxy_header = proxy_header_for(self._sock, upstream.transport.proxy_protocol, claimed)
            self._added = len(proxy_header)
            self._first = proxy_header + self._first
        self._dialer = Dialer(
            self._listener.loop,
            self._listener.targets.candidates(upstream),
            on_attempt=self._on_attempt,
            on_connected=self._on_connected,
            on_failed=self._on_failed,
            watch=self._watch(),
        )
        self._dialer.start()

    def on_deadline(self, now: float) -> None:
        """The deadline that this connection gave the listener has passed."""
        if self._proxy_header is not None:
            self._refuse("proxy_timeout")
        elif self._relay is not None:
            self._check_relay(now)
        elif self._dialer is not None:
            self._dialer.give_up_attempt()

    def idle_since(self) -> float | None:
        """See `limits.Member`. A client that has said nothing yet may be given up, for nobody can
        tell what it waits for.
        """
        if self._proxy_header is not None:
            return self._started
        relay = self._relay
        if relay is None:
            return None
        return relay.last_active if relay.bytes_right <= self._added else NEVER_IDLE

    def give_up(self) -> None:
        """See `limits.Member`."""
        self._listener.count_refusal("given_up")
        self.abort("given_up")

    def abort(self, outcome: str) -> None:
        """End now, whatever is under way, with RST."""
        self._outcome = outcome
        reset_on_close(self._sock)
        self._close()

    def _on_attempt(self, endpoint: Endpoint) -> None:
        if endpoint is not self._target:  # a name may have several addresses
            self._blame()
            self._target = endpoint
        self._endpoint = endpoint.address
        listener = self._listener
        listener.counters["attempts"] += 1
        listener.deadlines.set(self, listener.loop.time() + listener.settings.connect_timeout)

    def _blame(self) -> None:
        # The endpoint that was tried did not take the connection; want of descriptors is no fault
        # of its own.
        target, upstream, dialer = self._target, self._upstream, self._dialer
        if (
            target is not None
            and upstream is not None
            and dialer is not None
            and not dialer.starved
        ):
            self._listener.targets.observe(upstream, target, Observation.CONNECT_FAILED)

    def _on_failed(self) -> None:
        self._blame()
        self._refuse("connect_failed" if self._endpoint else "no_endpoint")

    def _refuse(self, reason: str) -> None:
        self._listener.count_refusal(reason)
        where, endpoint = self._listener.name, self._endpoint or "-"
        _log.info(
            "refused %s at %s: %s, endpoint %s",
            self.client,
            where,
            reason,
            endpoint,
            extra={"kind": reason},
        )
        self.abort(reason)

    def _on_connected(self, sock: socket.socket, endpoint: Endpoint) -> None:
        listener = self._listener
        self._dialer = None
        listener.counters["tunnels"] += 1
        assert self._upstream is not None
        listener.targets.observe(self._upstream, endpoint, Observation.OK)
        self._relay = Relay(
            listener.loop,
            self._sock,
            sock,
            listener.resources,
            self._on_relay_end,
            first=self._first,
        )
        self._first = b""
        self._check_relay(listener.loop.time())

    def _check_relay(self, now: float) -> None:
        assert self._relay is not None
        over, deadline = look_again(self._relay, self._started, self._listener.settings, now)
        if over:
            self.abort(over)
        else:
            self._listener.deadlines.set(self, deadline)

    def _on_relay_end(self, reset: bool) -> None:
        self._outcome = "reset" if reset else "closed"
        self._close()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        listener = self._listener
        listener.deadlines.cancel(self)
        if self._dialer is not None:
            self._dialer.close()
            self._dialer = None
        received = sent = 0
        if self._relay is not None:
            received, sent = max(0, self._relay.bytes_right - self._added), self._relay.bytes_left
            self._relay.abort()
            self._relay = None
        else:
            if self._proxy_header is not None:
                self._proxy_header = None
                self._watch().forget(self._sock.fileno())
            with contextlib.suppress(OSError):
                self._sock.close()
        seconds = listener.loop.time() - self._started
        record = ConnectionRecord(
            self.client, listener.name, self._endpoint, self._outcome, received, sent, seconds
        )
        listener.connection_ended(self, record)
