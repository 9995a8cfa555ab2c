"""One client of a TLS listener, from its first byte to the end of its tunnel.

    HELLO ──► CONNECT ──► RELAY ──► (closed)
      │ │└──► HEAD ─┐  │
      │ └───────────┴──┴──► LINGER ──► (closed)
      └──► HANDED_OVER ──► (closed)

HEAD: plain HTTP that is to be redirected; LINGER: the client was refused and gets the time to read
why; HANDED_OVER: the terminator has it, and tells when it is over.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import socket
from typing import TYPE_CHECKING, assert_never

from meshlib.decision import Passthrough, Reject, Terminate
from meshlib.errors import ClientHelloError, ProtocolError, ProxyProtocolError
from meshlib.http1 import HeadBuffer
from meshlib.http1 import NeedData as NeedHead
from meshlib.messages import ClientHello
from meshlib.model import Upstream
from meshlib.proxy_protocol import ProxyHeader
from meshlib.tls import NEED_DATA, ClientHelloSniffer, ForeignProtocol, NotTLS, alert_record
from meshlib.tls.alerts import INTERNAL_ERROR
from meshlib_adapters.config.transport import ProxyHeaderPolicy
from meshlib_adapters.listeners.handover import Session
from meshlib_adapters.listeners.plain_http import MAX_HEAD, REFUSAL, redirect_answer
from meshlib_adapters.listeners.proxy_header import ProxyHeaderReader, proxy_header_for
from meshlib_adapters.listeners.upstream_dial import Passage
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.proxy.client import NEVER_IDLE
from meshlib_adapters.relay.lifetime import look_again
from meshlib_adapters.relay.relay import Relay, reset_on_close

if TYPE_CHECKING:
    from meshlib_adapters.listeners.tls import TLSListener

__all__ = ["TLSConnection"]

_log = logging.getLogger("meshlib.tcp")

_READ = 16 * 1024
# What a certificate authority offers, and nobody else (RFC 8737 3): it asks who holds the name, and
# wants no application.
_ACME = (b"acme-tls/1",)
# Read and thrown away from a refused client, so that its unread bytes do not turn our alert into an
# RST (bytes).
_MAX_DISCARD = 256 * 1024


class _Phase(enum.Enum):
    HELLO = "hello"
    HEAD = "head"
    CONNECT = "connect"
    RELAY = "relay"
    LINGER = "linger"
    HANDED_OVER = "handed_over"
    CLOSED = "closed"


class TLSConnection:
    """Made by the listener for an accepted socket; tells it when it is over."""

    __slots__ = (
        "_added",
        "_chunks",
        "_claimed",
        "_discarded",
        "_fd",
        "_first_size",
        "_head",
        "_held",
        "_listener",
        "_name",
        "_outcome",
        "_passage",
        "_phase",
        "_proxy_header",
        "_relay",
        "_route",
        "_session",
        "_sniffer",
        "_sock",
        "_started",
        "address",
        "client",
    )

    def __init__(self, listener: TLSListener, sock: socket.socket, client: str) -> None:
        self._listener = listener
        self._sock = sock
        self._fd = sock.fileno()
        self.address = client  # of the connection; `client` is what a trusted proxy says
        self.client = client
        self._proxy_header: ProxyHeaderReader | None = None
        self._claimed: ProxyHeader | None = None
        self._phase = _Phase.HELLO
        self._sniffer: ClientHelloSniffer | None = ClientHelloSniffer(
            max_hello=listener.settings.max_hello,
            max_wire=listener.settings.max_wire,
            parse=listener.hellos.parse,
        )
        self._chunks: list[bytes] = []  # what was read and is not with an endpoint yet
        self._held = 0
        self._discarded = 0
        self._head: HeadBuffer | None = None
        self._passage: Passage | None = None
        self._relay: Relay | None = None
        self._first_size = 0  # of what the endpoint gets before the client has answered it
        self._added = 0  # bytes that the endpoint gets and the client has not sent
        self._session: Session | None = None
        self._name = ""
        self._route = ""
        self._outcome = "closed"
        self._started = listener.loop.time()

    def __repr__(self) -> str:
        return f"<TLSConnection {self._phase.value} {self.client} {self._name or '-'} {self._endpoint or '-'}>"

    def start(self, rule: ProxyHeaderPolicy | None) -> None:
        """Begin to read; with a PROXY protocol header, where `rule` says so."""
        listener = self._listener
        listener.deadlines.set(self, self._started + listener.settings.hello_timeout)
        listener.watch.add_reader(self._fd, self._on_readable)
        if rule is None:
            return
        try:
            self._proxy_header = ProxyHeaderReader.of(rule, self.address)
        except ProxyProtocolError as error:
            self._refuse(b"", error.reason)

    def on_deadline(self, now: float) -> None:
        """The deadline that this connection gave the listener has passed."""
        match self._phase:
            case _Phase.HELLO | _Phase.HEAD:
                self._note("hello_timeout")
                self._close()
            case _Phase.CONNECT:
                assert self._passage is not None
                self._passage.give_up_attempt()
            case _Phase.RELAY:
                self._check_relay(now)
            case _Phase.LINGER | _Phase.CLOSED:
                self._close()
            case _Phase.HANDED_OVER:  # has its own time-outs
                pass

    def idle_since(self) -> float | None:
        """See `limits.Member`. A tunnel is in use when the client has said more in it than its
        hello.
        """
        match self._phase:
            case _Phase.HELLO | _Phase.HEAD | _Phase.LINGER:
                return self._started
            case _Phase.HANDED_OVER:
                return self._session.idle_since() if self._session is not None else None
            case _Phase.RELAY if (
                self._relay is not None and self._relay.bytes_right <= self._first_size
            ):
                return self._relay.last_active
            case _Phase.CONNECT:
                return None
        return NEVER_IDLE

    def give_up(self) -> None:
        """See `limits.Member`."""
        self._listener.count_refusal("given_up")
        self.abort("given_up")

    def abort(self, outcome: str) -> None:
        """End now, whatever is under way, with RST."""
        self._outcome = outcome
        reset_on_close(self._sock)
        if self._session is not None:
            self._session.abort()
        self._close()

    # ---- the client's bytes, before there is a tunnel

    def _on_readable(self) -> None:
        if (
            self._phase is _Phase.CONNECT
        ):  # early data; it waits in the kernel until there is somebody to take it
            self._listener.watch.remove_reader(self._fd)
            return
        try:
            data = self._sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if self._phase is _Phase.LINGER:
            self._discarded += len(data)
            if not data or self._discarded > _MAX_DISCARD:
                self._close()
            return
        if not data:
            self._note("no_hello" if not self._held else "hello_cut_off")
            self._close()
            return
        if self._proxy_header is not None:
            data = self._read_proxy_header(self._proxy_header, data)
            if not data:
                return
        self._chunks.append(data)
        self._held += len(data)
        self._listener.held_bytes += len(data)
        if self._listener.held_bytes > self._listener.settings.max_held_bytes:
            self._refuse(alert_record(INTERNAL_ERROR), "overload")
        elif self._phase is _Phase.HEAD:
            self._read_head(data)
        else:
            self._sniff(data)

    def _read_proxy_header(self, proxy_header: ProxyHeaderReader, data: bytes) -> bytes:
        # What is left for the sniffer, if anything yet. What the reader keeps of an unfinished
        # PROXY header is a few hundred bytes at most.
        try:
            rest = proxy_header.receive_data(data)
        except ProtocolError as error:
            self._refuse(b"", error.reason)
            return b""
        if rest is None:
            return b""
        self._proxy_header = None
        self._claimed = proxy_header.claimed
        if proxy_header.claimed is not None and proxy_header.claimed.source is not None:
            self.client = proxy_header.claimed.source.host
            full = self._listener.limits.rename(self, self.client)
            if full:
                self._listener.count_refusal(full)
                self.abort(full)
                return b""
        return rest

    def _sniff(self, data: bytes) -> None:
        assert self._sniffer is not None
        try:
            result = self._sniffer.receive_data(data)
        except ClientHelloError as error:
            self._refuse(alert_record(error.alert), error.reason)
            return
        if result is NEED_DATA:
            return
        self._sniffer = None
        if isinstance(result, NotTLS):
            self._not_tls(result.kind)
        else:
            self._route_hello(result)

    def _not_tls(self, kind: ForeignProtocol) -> None:
        if kind is not ForeignProtocol.HTTP:
            self._refuse(b"", f"not_tls_{kind}")
        elif (
            self._listener.settings.plain_http == "serve" and self._listener.terminator is not None
        ):
            self._session = self._listener.terminator.begin_plain(
                self._sock, self._hand_over(), self._on_session_end, self._claimed
            )
        elif self._listener.settings.plain_http == "redirect":
            self._phase = _Phase.HEAD
            self._head = HeadBuffer(MAX_HEAD)
            self._read_head(b"".join(self._chunks))
        else:
            self._refuse(REFUSAL, "not_tls_http")

    def _read_head(self, data: bytes) -> None:
        assert self._head is not None
        answer = REFUSAL
        try:
            head = self._head.receive_data(data)
        except ProtocolError:
            pass
        else:
            if isinstance(head, NeedHead):
                return
            settings = self._listener.settings
            answer = redirect_answer(
                head, status=settings.redirect_status, https_port=settings.public_port
            )
        self._refuse(answer, "not_tls_http")

    # ---- routing and connecting

    def _route_hello(self, hello: ClientHello) -> None:
        self._name = hello.server_name or ""
        listener = self._listener
        if listener.acme is not None and hello.alpn_protocols == _ACME:
            self._route = listener.acme.name
            self._connect(listener.acme, hello)
            return
        terminator = listener.terminator
        decision = listener.mesh.table.route_tls(
            hello, terminator.covers if terminator is not None else None
        )
        match decision:
            case Passthrough():
                self._route = decision.route.name
                self._connect(decision.upstream, hello)
            case Reject():
                self._route = decision.route.name if decision.route is not None else ""
                self._refuse(alert_record(decision.alert), decision.reason)
            case Terminate():
                assert terminator is not None
                timeout = max(
                    0.0, self._started + listener.settings.hello_timeout - listener.loop.time()
                )
                session = terminator.begin(
                    self._sock,
                    self._hand_over(),
                    decision.server_name,
                    timeout,
                    self._on_session_end,
                    self._claimed,
                )
                self._session = session if self._phase is _Phase.HANDED_OVER else None
            case _:
                assert_never(decision)

    def _hand_over(self) -> bytes:
        # From here on the socket is somebody else's.
        received = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._release_held()
        self._phase = _Phase.HANDED_OVER
        self._outcome = "terminated"
        self._listener.deadlines.cancel(self)
        self._listener.watch.forget(self._fd)
        return received

    def _on_session_end(self, outcome: str) -> None:
        if outcome.startswith("handshake_"):
            self._note(outcome, self._session.failure if self._session is not None else "")
        self._close()

    def _connect(self, upstream: Upstream, hello: ClientHello) -> None:
        listener = self._listener
        self._phase = _Phase.CONNECT
        self._passage = Passage(
            listener.loop,
            listener.targets,
            listener.watch,
            upstream,
            self.client,
            hello,
            on_attempt=self._on_attempt,
            on_connected=self._on_connected,
            on_failed=self._on_failed,
        )
        self._passage.start()

    def _on_attempt(self) -> None:
        listener = self._listener
        listener.counters["attempts"] += 1
        listener.deadlines.set(self, listener.loop.time() + listener.settings.connect_timeout)

    def _on_failed(self) -> None:
        # Which is the client's only hint that the name is right and the service is not.
        self._refuse(
            alert_record(INTERNAL_ERROR), "connect_failed" if self._endpoint else "no_endpoint"
        )

    def _on_connected(self, sock: socket.socket) -> None:
        listener, passage = self._listener, self._passage
        assert passage is not None
        self._phase = _Phase.RELAY
        first = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._release_held()
        listener.counters["tunnels"] += 1
        if version := passage.upstream.transport.proxy_protocol:
            proxy_header = proxy_header_for(self._sock, version, self._claimed)
            self._added = len(proxy_header)
            first = proxy_header + first
        self._first_size = len(first)
        self._relay = Relay(
            listener.loop,
            self._sock,
            sock,
            listener.resources,
            self._on_relay_end,
            first=first,
            tap=passage.tap(),
        )
        self._check_relay(listener.loop.time())

    @property
    def _endpoint(self) -> str:
        return self._passage.address if self._passage is not None else ""

    # ---- the tunnel, and the end

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

    def _refuse(self, answer: bytes, reason: str) -> None:
        self._note(reason)
        listener = self._listener
        self._phase = _Phase.LINGER
        self._release_held()
        listener.deadlines.set(self, listener.loop.time() + listener.settings.linger_timeout)
        try:
            if answer:
                self._sock.send(
                    answer
                )  # a few hundred bytes at most: the first ones that this socket sends always fit
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close()
            return
        listener.watch.add_reader(self._fd, self._on_readable)

    def _note(self, reason: str, detail: str = "") -> None:
        self._outcome = reason
        self._listener.count_refusal(reason)
        if reason != "no_hello":  # port scans and health checks that connect and leave
            _log.info(
                "refused %s: %s, server name %s, endpoint %s",
                self.client,
                f"{reason} ({detail})" if detail else reason,
                self._name or "-",
                self._endpoint or "-",
                extra={"kind": reason},
            )

    def _release_held(self) -> None:
        self._listener.held_bytes -= self._held
        self._held = 0
        self._chunks = []

    def _close(self) -> None:
        if self._phase is _Phase.CLOSED:
            return
        handed_over = self._phase is _Phase.HANDED_OVER
        self._phase = _Phase.CLOSED
        listener = self._listener
        listener.deadlines.cancel(self)
        self._release_held()
        if self._passage is not None:
            self._passage.close()
        received = sent = 0
        if handed_over:
            self._session = None  # which has closed the socket
        elif self._relay is not None:
            received, sent = max(0, self._relay.bytes_right - self._added), self._relay.bytes_left
            self._relay.abort()
            self._relay = None
        else:
            listener.watch.forget(self._fd)
            with contextlib.suppress(OSError):
                self._sock.close()
        seconds = listener.loop.time() - self._started
        record = ConnectionRecord(
            self.client,
            self._route,
            self._endpoint,
            self._outcome,
            received,
            sent,
            seconds,
            self._name,
        )
        self._passage = None
        listener.connection_ended(self, record)
