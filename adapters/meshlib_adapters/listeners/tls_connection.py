"""One client of a TLS listener, from its first byte to the end of its tunnel.

    HELLO ──► TUNNEL ──► (closed)
      │ │└──► HEAD ─┐
      │ └───────────┴──► LINGER ──► (closed)      also from TUNNEL, when no endpoint takes it
      └──► HANDED_OVER ──► (closed)

HEAD: plain HTTP that is to be redirected; LINGER: the client was refused and gets the time to read
why; HANDED_OVER: what terminates TLS has it, and says when it is over.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import socket
from typing import Final, assert_never

from meshlib.decision import Passthrough, Reject, Terminate
from meshlib.errors import ClientHelloError, ProtocolError, ProxyProtocolError
from meshlib.messages import ClientHello
from meshlib.model import Upstream
from meshlib.proxy_protocol import ProxyHeader
from meshlib.tls import ForeignProtocol, NotTLS, alert_record
from meshlib.tls.alerts import INTERNAL_ERROR
from meshlib_adapters.listeners.handover import HandedOver
from meshlib_adapters.listeners.plain_http import PlainRequest, refusal
from meshlib_adapters.listeners.tls_opening import TLSOpening
from meshlib_adapters.listeners.tls_shared import TLSShared
from meshlib_adapters.listeners.tunnel import Tunnel
from meshlib_adapters.observe.debug_lines import tell_hello
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.sockets.closing import LingeringClose, reset_on_close
from meshlib_adapters.sockets.limits import NEVER_IDLE

__all__ = ["TLSConnection"]

_log = logging.getLogger("meshlib.tcp")

_READ: Final = 16 * 1024
# Outcome of a client that left before it said anything: a health check, or a scan of ports.
_SILENT: Final = "silent"
# What a certificate authority offers, and no other client (RFC 8737 3): it asks who holds the name,
# and wants no application.
_ACME: Final = (b"acme-tls/1",)


class _Phase(enum.Enum):
    HELLO = "hello"
    HEAD = "head"
    TUNNEL = "tunnel"
    LINGER = "linger"
    HANDED_OVER = "handed_over"
    CLOSED = "closed"


class TLSConnection:
    """Made by the listener for an accepted socket; `start` begins, and `shared.clients` are told
    when it is over.
    """

    __slots__ = (
        "_claimed",
        "_fd",
        "_handed_over",
        "_name",
        "_opening",
        "_outcome",
        "_phase",
        "_plain",
        "_route",
        "_shared",
        "_sock",
        "_started",
        "_tunnel",
        "_watch",
        "address",
        "client",
    )

    def __init__(self, shared: TLSShared, sock: socket.socket, client: str) -> None:
        self._shared = shared
        self._sock = sock
        self._fd = sock.fileno()
        tunnels = shared.tunnels
        self._watch = tunnels.resources.readiness(tunnels.loop)
        self.address = client  # of the connection; `client` is the one that a trusted proxy names
        self.client = client
        self._opening: TLSOpening | None = TLSOpening(shared)  # until somebody has its bytes
        self._claimed: ProxyHeader | None = None
        self._phase = _Phase.HELLO
        self._plain: PlainRequest | None = None
        self._tunnel: Tunnel | None = None
        self._handed_over: HandedOver | None = None
        self._name = ""
        self._route = ""
        self._outcome = "closed"
        self._started = tunnels.loop.time()

    def __repr__(self) -> str:
        return (
            f"<TLSConnection {self._phase.value} {self.client} {self._name or '-'} "
            f"{self._endpoint or '-'}>"
        )

    def start(self) -> None:
        """Begin to read; with a PROXY protocol header, where the listener's rule says so."""
        shared = self._shared
        shared.tunnels.deadlines.set(self, self._started + shared.settings.head_read)
        self._watch.add_reader(self._fd, self._on_readable)
        assert self._opening is not None
        try:
            self._opening.expect_header(self.address)
        except ProxyProtocolError as error:
            self._refuse(b"", error.reason)

    def on_deadline(self, now: float) -> None:
        """Act on the deadline that was set for this connection and has passed."""
        match self._phase:
            case _Phase.HELLO | _Phase.HEAD:
                self._note("hello_timeout")
                self._close()
            case _Phase.TUNNEL:
                assert self._tunnel is not None
                self._tunnel.on_deadline(now)
            case _Phase.LINGER | _Phase.CLOSED:
                self._close()
            case _Phase.HANDED_OVER:  # has its own time-outs
                pass

    def idle_since(self) -> float | None:
        """Start of the client's idle time, as `Member.idle_since`."""
        match self._phase:
            case _Phase.HELLO | _Phase.HEAD | _Phase.LINGER:
                return self._started
            case _Phase.HANDED_OVER:
                return self._handed_over.idle_since() if self._handed_over is not None else None
            case _Phase.TUNNEL:
                return self._tunnel.idle_since() if self._tunnel is not None else None
        return NEVER_IDLE

    def give_up(self) -> None:
        """Count a refusal and end now, as `Member.give_up`. What came of a client whose end alone
        is waited for is known and counted.
        """
        handed_over = self._handed_over
        if self._phase is _Phase.LINGER or (handed_over is not None and handed_over.over):
            self.abort(self._outcome)
            return
        self._shared.clients.refuse("given_up")
        self.abort("given_up")

    def abort(self, outcome: str) -> None:
        """End now, whatever is under way, with RST."""
        self._outcome = outcome
        reset_on_close(self._sock)
        if self._handed_over is not None:
            self._handed_over.abort()
        self._close()

    # The client's bytes, before there is a tunnel.

    def _on_readable(self) -> None:
        if self._phase is _Phase.TUNNEL:  # early data: it waits in the kernel for the endpoint
            self._watch.remove_reader(self._fd)
            return
        try:
            data = self._sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        opening = self._opening
        assert opening is not None
        if not data:
            if opening.held:
                self._note("hello_cut_off")
            elif opening.header is not None and opening.header.begun:
                self._note("proxy_cut_off")
            else:
                self._outcome = _SILENT
            self._close()
            return
        if opening.header is not None:
            data = self._read_proxy_header(opening, data)
            if not data:
                return
        if not opening.hold(data):
            self._refuse(alert_record(INTERNAL_ERROR), "overload")
        elif self._phase is _Phase.HEAD:
            self._read_head(data)
        else:
            self._sniff(opening, data)

    def _read_proxy_header(self, opening: TLSOpening, data: bytes) -> bytes:
        # What is behind it, if anything yet.
        try:
            rest = opening.read_header(data)
        except ProtocolError as error:
            self._refuse(b"", error.reason)
            return b""
        self._claimed = claimed = opening.claimed
        if claimed is not None and claimed.source is not None:
            self.client = claimed.source.host
            clients = self._shared.clients
            full = clients.limits.rename(self, self.client)
            if full:
                clients.refuse(full)
                self.abort(full)
                return b""
        return rest

    def _sniff(self, opening: TLSOpening, data: bytes) -> None:
        try:
            result = opening.sniff(data)
        except ClientHelloError as error:
            self._refuse(alert_record(error.alert), error.reason)
            return
        if result is None:
            return
        if isinstance(result, NotTLS):
            self._not_tls(result.kind)
        else:
            self._route_hello(result)

    def _not_tls(self, kind: ForeignProtocol) -> None:
        settings, plain = self._shared.settings, self._shared.plain
        if kind is not ForeignProtocol.HTTP:
            self._refuse(b"", f"not_tls_{kind}")
        elif settings.plain_http == "serve" and plain is not None:
            self._handed_over = plain.take_over_plain(
                self._sock, self._hand_over(), self._on_handed_over_end, self._claimed
            )
        elif settings.plain_http == "redirect":
            self._phase = _Phase.HEAD
            self._plain = PlainRequest(settings.redirect_status, settings.public_port)
            self._read_head(self._received)
        else:
            self._refuse(refusal(), "not_tls_http")

    def _read_head(self, data: bytes) -> None:
        assert self._plain is not None
        response = self._plain.receive_data(data)
        if response is not None:
            self._refuse(response, "not_tls_http")

    @property
    def _received(self) -> bytes:
        return self._opening.received() if self._opening is not None else b""

    # Routing.

    def _route_hello(self, hello: ClientHello) -> None:
        self._name = hello.server_name or ""
        shared = self._shared
        if shared.acme is not None and hello.alpn_protocols == _ACME:
            self._route = shared.acme.name
            self._connect(shared.acme, hello)
            return
        terminator = shared.terminator
        decision = shared.mesh.table.route_tls(
            hello, terminator.covers if terminator is not None else None
        )
        tell_hello(self.client, self._name, decision)
        match decision:
            case Passthrough():
                self._route = decision.route.name
                self._connect(decision.upstream, hello, decision.route.options.tunnel_idle)
            case Reject():
                self._route = decision.route.name if decision.route is not None else ""
                self._refuse(alert_record(decision.alert), decision.reason)
            case Terminate():
                assert terminator is not None
                passed = shared.tunnels.loop.time() - self._started
                handed_over = terminator.take_over(
                    self._sock,
                    self._hand_over(),
                    decision.server_name,
                    max(0.0, shared.settings.head_read - passed),
                    self._on_handed_over_end,
                    self._claimed,
                )
                self._handed_over = handed_over if self._phase is _Phase.HANDED_OVER else None
            case _:
                assert_never(decision)

    def _hand_over(self) -> bytes:
        # From here on the socket belongs to what terminates TLS.
        received = self._received
        self._release_held()
        self._phase = _Phase.HANDED_OVER
        self._outcome = "terminated"
        self._shared.tunnels.deadlines.cancel(self)
        self._watch.forget(self._fd)
        return received

    def _on_handed_over_end(self, outcome: str) -> None:
        # An outcome that is there already is ours: the handshake has not failed by itself.
        if self._outcome == "terminated" and outcome.startswith("handshake_"):
            self._note(outcome, self._handed_over.failure if self._handed_over is not None else "")
        self._close()

    def _connect(self, upstream: Upstream, hello: ClientHello, tunnel_idle: int = 0) -> None:
        self._phase = _Phase.TUNNEL
        first = self._received
        self._tunnel = Tunnel(
            self._shared.tunnels,
            self,
            self._sock,
            self._started,
            upstream,
            self.client,
            hello=hello,
            claimed=self._claimed,
            first=first,
            prelude=len(first),
            tunnel_idle=tunnel_idle,
        )
        self._tunnel.start()

    # `TunnelOwner`

    def on_connected(self) -> None:
        """Release the bytes held of the client, as `TunnelOwner.on_connected`."""
        self._release_held()

    def on_failed(self, reason: str) -> None:
        """Refuse the client that no endpoint has taken, as `TunnelOwner.on_failed`. The alert is
        the client's only hint that the name is right and the service is not.
        """
        self._refuse(alert_record(INTERNAL_ERROR), reason)

    def on_end(self, outcome: str) -> None:
        """Close with the `outcome` of the tunnel, as `TunnelOwner.on_end`."""
        self._outcome = outcome
        self._close()

    @property
    def _endpoint(self) -> str:
        return self._tunnel.endpoint if self._tunnel is not None else ""

    # The end.

    def _refuse(self, response: bytes, reason: str) -> None:
        self._note(reason)
        tunnels = self._shared.tunnels
        self._phase = _Phase.LINGER
        self._release_held()
        tunnels.deadlines.set(self, tunnels.loop.time() + self._shared.settings.lingering_close)
        # A few hundred bytes: the first ones that a socket sends always fit.
        LingeringClose(self._sock, self._on_lingered).start(self._watch, response)

    def _on_lingered(self, reset: bool) -> None:
        self._close()

    def _note(self, reason: str, detail: str = "") -> None:
        self._outcome = reason
        self._shared.clients.refuse(reason)
        _log.info(
            "refused %s: %s, server name %s, endpoint %s",
            self.client,
            f"{reason} ({detail})" if detail else reason,
            self._name or "-",
            self._endpoint or "-",
            extra={"kind": reason},
        )

    def _release_held(self) -> None:
        if self._opening is not None:
            self._opening.release()
            self._opening = None

    def _close(self) -> None:
        if self._phase is _Phase.CLOSED:
            return
        handed_over = self._phase is _Phase.HANDED_OVER
        self._phase = _Phase.CLOSED
        tunnels, tunnel = self._shared.tunnels, self._tunnel
        tunnels.deadlines.cancel(self)
        self._release_held()
        received = sent = 0
        endpoint = self._endpoint
        if tunnel is not None:
            self._tunnel = None
            received, sent = tunnel.close()
        if handed_over:
            self._handed_over = None  # which has closed the socket
        elif tunnel is None or not tunnel.connected:
            self._watch.forget(self._fd)
            with contextlib.suppress(OSError):
                self._sock.close()
        if self._outcome == _SILENT:
            self._shared.clients.unheard(self)
            return
        seconds = tunnels.loop.time() - self._started
        record = ConnectionRecord(
            self.client, self._route, endpoint, self._outcome, received, sent, seconds, self._name
        )
        self._shared.clients.ended(self, record)
