"""`Exchange`: one request and its response, with the policy that holds for every protocol.

Whether the connection may ask for the host (421), the route, the redirect to TLS, the head to send
on with its request id (508 for a loop), the endpoint that a session is bound to and what is learned
about it, Strict-Transport-Security, the limit of bodies, who is to blame, and the access record:
all of it is here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from meshlib.balancing import Observation
from meshlib.client_claims import is_secure
from meshlib.decision import Forward, Respond, TableDecision
from meshlib.errors import LimitExceeded
from meshlib.forwarding import sent_upgrade
from meshlib.http1 import BodyKind
from meshlib.messages import FieldSection, RequestHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib.table.settled import settled
from meshlib.table.uncertified import decide_uncertified
from meshlib_adapters.observe.debug_lines import tell_decision, tell_no_response
from meshlib_adapters.observe.end_reasons import NORMAL, EndReason, end_reason
from meshlib_adapters.proxy.default_host import default_host
from meshlib_adapters.proxy.exchange_state import State, phase_of
from meshlib_adapters.proxy.front import Front
from meshlib_adapters.proxy.local_responses import local_outcome
from meshlib_adapters.proxy.outcomes import Outcome, Pending
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.proxy.response_receiver import OnResponse
from meshlib_adapters.proxy.retries import UpstreamRequest
from meshlib_adapters.upstream.messages import ForwardResponse

__all__ = ["Exchange"]

_MISDIRECTED: Final = Respond(421, "misdirected")


# Bound once: looking a member up in its class costs as much as a small function call (Python 3.11).
_IDLE: Final = State.IDLE
_ROUTED: Final = State.ROUTED
_WAITING: Final = State.WAITING
_RESPONDING: Final = State.RESPONDING
_TUNNEL: Final = State.TUNNEL


class Exchange:
    """The requests of one `front`, one after the other: `route`, then `respond` or `forward` (more
    of the body goes to `request.send`), and `drop` or `end` at the end of each.

    It is the `ResponseReceiver` of `request`. What needs no policy, the parts of a body and of a
    tunnel, goes straight from the endpoint's connection to the front. `head` is that of the request
    under way (None: none was read), `decision` where it is forwarded to (None: nowhere). The front
    sets `started` (of `time.monotonic`) with each request, and adds to `bytes_out` what it writes.
    """

    __slots__ = (
        "added",
        "bytes_out",
        "decision",
        "ending",
        "first_byte_at",
        "front",
        "head",
        "known",
        "on_data",
        "on_interim",
        "on_response",
        "on_tunnel_data",
        "on_tunnel_eof",
        "on_upstream_paused",
        "proxy",
        "request",
        "started",
        "state",
        "status",
    )

    def __init__(self, proxy: Proxy, front: Front) -> None:
        self.proxy = proxy
        self.front = front
        self.on_interim: Callable[[ForwardResponse], None] = front.send_interim
        self.on_data: Callable[[list[bytes], bool], None] = front.send_data
        self.on_response: OnResponse = self.pass_on
        self.on_tunnel_data: Callable[[bytes], None] = front.tunnel_data
        self.on_tunnel_eof: Callable[[], None] = front.tunnel_eof
        self.on_upstream_paused: Callable[[bool], None] = front.pause_request
        self.request = UpstreamRequest(self, proxy.upstreams)
        self.state = _IDLE
        self.head: RequestHead | None = None
        self.decision: Forward | None = None
        self.started = 0.0
        self.first_byte_at = 0.0
        self.status = 0
        self.bytes_out = 0
        self.ending: EndReason = NORMAL
        self.added: list[tuple[bytes, bytes]] = []  # fields of hooks, for a request of HTTP/2
        # Fields, authority, version, the label's wish -> lines to send on: clients repeat theirs.
        self.known: tuple[FieldSection, bytes, int, bool, bytes] | None = None

    def __repr__(self) -> str:
        return f"<Exchange {self.state.value} {self.head.target!r}>" if self.head else "<Exchange>"

    # The request.

    def route(
        self, head: RequestHead, given: TableDecision | None = None
    ) -> Outcome | Pending | None:
        """Decide on a request: None when it is to be sent on (`forward`), else what to `respond`;
        `PENDING`: the front is told (`Front.decided`). `given` takes the place of what the table
        has for it.
        """
        self.state = _ROUTED
        self.head = head
        self.request.pool = None  # nobody was asked yet
        front = self.front
        proxy = self.proxy
        table = proxy.mesh.table
        tls = front.tls
        if tls is not None and not tls.allows(head.authority, table):
            if proxy.debug:
                tell_decision(front.peer.address, head, _MISDIRECTED)
            return _MISDIRECTED
        decision = table.route(head) if given is None else given
        if tls is None and proxy.certified_hosts is not None:
            secure = is_secure(head.fields, front.peer)
            decision = decide_uncertified(
                table, head, decision, secure=secure, terminates=proxy.certified_hosts
            )
        if not proxy.attentive and isinstance(decision, Forward):
            self.decision = decision
            return None
        secure = is_secure(head.fields, front.peer)
        settled_decision = settled(table, head, decision, secure=secure)
        if proxy.attentive:
            if proxy.debug:
                tell_decision(front.peer.address, head, decision)
            return proxy.hooks.begin(self, settled_decision)
        if isinstance(settled_decision, Forward):
            self.decision = settled_decision
            return None
        return settled_decision

    def forward(
        self,
        body: bytes,
        *,
        done: bool,
        relay_chunks: bool = False,
        extra: bytes = b"",
        upgrade: bytes = b"",
    ) -> None:
        """Send the request to an endpoint: its head, with the lines `extra`, and what there is of
        the body (`done`: all of it). `upgrade` is what `extra` asks to upgrade to, if it does. One
        that runs in a circle is responded to instead (508).
        """
        head, decision, front, proxy = self.head, self.decision, self.front, self.proxy
        assert head is not None
        assert decision is not None
        options = decision.route.options
        wish = options.forwarded_for
        known = self.known
        authority, fields, version = head.authority, head.fields, head.minor_version
        if (
            known is not None
            and known[0] is fields
            and known[1] == authority
            and known[2] == version
            and known[3] == wish
        ):
            lines = known[4]
        else:
            found = proxy.request_cache.lines_to_send(head, front.peer, wanted_by_label=wish)
            if found is None:
                self.local_error(508, "loop")
                return
            tls = front.tls
            lines = found if tls is None or not tls.asks_clients else tls.proven_lines(found)
            if proxy.fast_paths.repeated_heads:
                self.known = (fields, authority, version, wish, lines)
        if not authority:
            lines = b"Host: %s\r\n%s" % (default_host(decision.upstream), lines)
        preferred = None
        if options.sticky_cookie is not None:
            preferred = proxy.upstreams.bound_endpoint(decision, fields)
        if upgrade:
            fields = fields._replace(upgrade=upgrade)
            self.head = head = head._replace(fields=fields)
        request = self.request
        message = request.message
        message.head = head
        message.wire = b"%s %s HTTP/1.1\r\n%s%s%s\r\n" % (
            head.method,
            head.target,
            lines,
            proxy.request_id(fields, front.peer),
            extra,
        )
        message.upgrade = sent_upgrade(fields) if fields.upgrade is not None else b""
        message.relay_chunks = relay_chunks
        self.state = _WAITING
        request.start(decision, body, done=done, preferred=preferred)
        if options.response_head or options.between_bytes:
            front.keep_time()

    def forward_pairs(self, *, done: bool, streamed: bool) -> None:
        """`forward`, for a head of pairs (HTTP/2) whose body follows; see `ForwardRequest`."""
        head, decision, front, proxy = self.head, self.decision, self.front, self.proxy
        assert head is not None
        assert decision is not None
        options = decision.route.options
        wish, peer, tls = options.forwarded_for, front.peer, front.tls
        found = proxy.request_cache.pairs_to_send(head, peer, wanted_by_label=wish)
        if found is None:
            self.local_error(508, "loop")
            return
        kept, added = found
        if tls is not None and tls.asks_clients:
            kept, proven = tls.proven_pairs(kept)
            added = added + proven
        if self.added:
            added = added + self.added
        preferred = None
        if options.sticky_cookie is not None:
            preferred = proxy.upstreams.bound_endpoint(decision, head.fields)
        message = self.request.message
        message.of_http2(head, kept, added + proxy.request_id_pairs(head.fields, peer))
        message.streamed = streamed
        self.state = _WAITING
        self.request.start(decision, b"", done=done, preferred=preferred)
        if options.response_head or options.between_bytes:
            self.front.keep_time()

    def check_body(self, size: int) -> None:
        """Raise `LimitExceeded` for a body of `size` bytes that is over the limit."""
        limit = self.proxy.settings.max_body
        if limit is not None and size > limit:
            raise LimitExceeded("size of the body", limit, reason="body_too_large", status_hint=413)

    # The response, as a `ResponseReceiver`.

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """The front's."""
        return self.front.addresses()

    def on_connected(self, seconds: float) -> None:
        """A connection was made for this request."""
        self.ending = self.ending._replace(connect_seconds=seconds)

    def pass_on(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """Learn which endpoint the session is bound to, and pass the response on: `on_response`,
        where no hook stands before it.
        """
        self.state = _RESPONDING
        self.first_byte_at = monotonic()
        self.status = response.status
        decision = self.decision
        assert decision is not None
        options = decision.route.options
        if options.sticky_cookie is not None or options.hsts:
            response = self._apply_options(response)
        self.front.send_response(response, kind, pieces, done)
        if options.between_bytes:
            self.front.keep_time()

    def _apply_options(self, response: ForwardResponse) -> ForwardResponse:
        decision, asked, pool = self.decision, self.head, self.request.pool
        assert decision is not None
        assert asked is not None
        options = decision.route.options
        if options.sticky_cookie is not None and pool is not None:
            self.proxy.upstreams.learn_binding(decision, asked.fields, response.head.fields, pool)
        hsts = options.hsts
        if hsts and is_secure(asked.fields, self.front.peer):
            return response.secured(hsts)
        return response

    def on_upgrade(self, response: ForwardResponse, data: bytes) -> None:
        """From here on both directions are bytes, without limit of size."""
        self.state = _TUNNEL
        self.first_byte_at = monotonic()
        self.status = response.status
        decision, pool = self.decision, self.request.pool
        if pool is not None and pool.health.failures:
            pool.observe(Observation.OK)  # the end of the tunnel will not say so
        self.front.begin_tunnel(response, data)
        if decision is not None and decision.route.options.tunnel_idle:
            self.front.keep_time()

    def on_no_response(self, status: int, reason: str, message: str) -> None:
        """No response, or only its beginning."""
        if self.proxy.debug:
            tell_no_response(self.front.peer.address, status, reason, message)
        state = self.state
        if state is _WAITING:
            self.local_error(status, reason, retry_after=1 if status == 503 else None)
        elif state is not _IDLE:
            self.front.cut(reason)

    # Responses of our own.

    def respond(self, decision: Outcome) -> None:
        """Send what a decision says that is no `Forward`, or the response of a hook."""
        response = local_outcome(decision, self.head, date=self.proxy.date())
        self.conclude(response.reason)
        self.state = _RESPONDING
        self.status = response.status
        self.front.send_local(response)

    def local_error(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        """Send an error of our own. An endpoint that is still being asked is to be left before
        (`request.cancel`).
        """
        self.respond(Respond(status, reason, retry_after))

    # The end.

    @property
    def responding(self) -> bool:
        """Whether a final response or a tunnel has begun."""
        return self.state is _RESPONDING or self.state is _TUNNEL

    def conclude(self, reason: str, who: str = "") -> None:
        """Note why the request ends, before anything is undone: the phase is part of it. `who` as
        in `end_reason`.
        """
        phase = phase_of(
            self.state,
            self.request.stage,
            read=self.head is not None,
            body_pending=self.front.body_pending,
        )
        seconds = self.ending.connect_seconds
        self.ending = end_reason(reason, phase, who=who, connect_seconds=seconds)

    def drop(self, reason: str, who: str = "") -> None:
        """End a request whose response nobody will have, or not the rest of it."""
        self.conclude(reason, who)
        self.request.cancel()
        self.end()

    def end(self) -> None:
        """Write the access record; the next request may come."""
        proxy = self.proxy
        proxy.requests += 1
        log = proxy.access_log
        if log is not None:
            now = monotonic()
            started = self.started
            decision = self.decision
            route = endpoint = None
            tries = 0
            first_byte = -1.0
            if decision is not None:
                route = decision.route
                pool = self.request.pool
                if pool is not None:
                    endpoint = pool.endpoint
                    tries = self.request.tries
                if self.first_byte_at >= started:
                    first_byte = self.first_byte_at - started
            # The record is made here and not by a method of the log's: a call with ten arguments
            # costs as much as all of this.
            records = log.records
            records.append(
                (
                    now + log.offset,
                    self.front.peer.address,
                    self.head,
                    self.status,
                    self.bytes_out,
                    route,
                    endpoint,
                    tries,
                    now - started,
                    first_byte,
                    self.ending,
                )
            )
            if len(records) >= log.BATCH:
                log.format_records()
        self.ending = NORMAL
        self.status = 0
        self.bytes_out = 0
        self.head = None
        self.decision = None
        self.state = _IDLE

    def forget_client(self) -> None:
        """Forget what is known of the front's `peer`: it is another one."""
        self.known = None
