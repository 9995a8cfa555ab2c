"""One request on its way to an endpoint: choose, connect, send, and try the next when that is safe.

A request that no endpoint has processed may always be tried again while its body is still at hand:
not a byte of it went out, or the endpoint has said so (RFC 9113 8.7). One that was sent may be, if
its method is idempotent (RFC 9110 9.2.2) and no byte of a response has come. A budget keeps retries
a small share of all requests: a failing upstream must not be hit harder for failing.

A kept connection that ends before its next response is no failure of the endpoint, which may end an
idle connection at any time (RFC 9112 9.5): the request goes to a fresh connection, once, and
neither the budget nor the endpoint's health is charged for that.
"""

from __future__ import annotations

from typing import Final, cast

from meshlib.balancing.health import Observation
from meshlib.balancing.registered import StrategyRequest
from meshlib.decision import Forward
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.observe.debug_lines import tell_endpoint, tell_failure
from meshlib_adapters.proxy.response_receiver import Beginning, ResponseReceiver
from meshlib_adapters.proxy.response_timer import strategy_request, timed
from meshlib_adapters.upstream.choice.queue import RequestQueue
from meshlib_adapters.upstream.connect_race import ConnectRace
from meshlib_adapters.upstream.connection import (
    IDEMPOTENT,
    STALE,
    UNPROCESSED,
    EndpointConnection,
    Failure,
)
from meshlib_adapters.upstream.messages import ForwardRequest
from meshlib_adapters.upstream.pool import EndpointPool
from meshlib_adapters.upstream.registry import UpstreamRegistry
from meshlib_adapters.upstream.state import MAX_RETRIES, UpstreamState

__all__ = ["UpstreamRequest"]

_STATUS: Final = {Failure.TIMED_OUT.token: 504, "connect_timeout": 504}


class UpstreamRequest:
    """One request at a time; made once per client connection (or per request, by ASGI) and reused.
    It is a `Requester` and a `QueuedRequest`. What is called for every response are the receiver's
    own methods, so that they cost nothing extra. `message` is the request, which the receiver
    renews before `start`. `pool` is the endpoint asked last, `tries` how many were asked.
    """

    __slots__ = (
        "_announced",
        "_bound",
        "_done",
        "_fresh",
        "_idempotent",
        "_passed_over",
        "_paused",
        "_pending",
        "_receiver",
        "_replay",
        "_small",
        "_tried",
        "_upstreams",
        "_waiting",
        "connecting",
        "connection",
        "message",
        "on_data",
        "on_interim",
        "on_response",
        "on_tunnel_data",
        "on_tunnel_eof",
        "on_upgrade",
        "on_upstream_paused",
        "pool",
        "state",
        "tries",
    )

    def __init__(self, receiver: ResponseReceiver, upstreams: UpstreamRegistry) -> None:
        self._receiver = receiver
        self._upstreams = upstreams
        self.on_interim = receiver.on_interim
        self.on_response = receiver.on_response
        self.on_data = receiver.on_data
        self.on_upgrade = receiver.on_upgrade
        self.on_tunnel_data = receiver.on_tunnel_data
        self.on_tunnel_eof = receiver.on_tunnel_eof
        self.on_upstream_paused = receiver.on_upstream_paused
        self.message = ForwardRequest()
        self.connection: EndpointConnection | None = None
        self.pool: EndpointPool | None = None
        self.tries = 0
        self.connecting: Beginning | None = None
        self._waiting: RequestQueue | None = None
        self.state: UpstreamState | None = None
        self._tried: list[EndpointPool] = []
        self._passed_over = 0  # of those, how many were given up before they saw a byte
        self._announced: set[EndpointPool] = set()  # to these, connections have named our client
        self._bound: EndpointPool | None = None  # the session's, beside which no other is tried
        self._idempotent = False
        # A kept connection turned out to be closed: no other kept one is used for this request.
        self._fresh = False
        # A whole request, and a small one: if the endpoint fails over it, the endpoint is to blame.
        self._small = True
        self._replay: bytes | None = None  # the body so far, while it may be sent again
        self._pending = b""  # what of the body waits for a connection
        self._paused = False
        self._done = False

    def start(
        self,
        decision: Forward,
        body: bytes,
        *,
        done: bool,
        preferred: EndpointPool | None,
    ) -> None:
        """Send `message`, and what there is of the body (`done`: all of it) to an endpoint.

        `preferred`, a bound endpoint, is asked first. If none can be asked, the receiver hears so
        before this returns.
        """
        upstream = decision.upstream
        state = self.state
        # Most requests of a connection go where the last one went.
        if state is None or state.upstream is not upstream or state.closed:
            if state is not None and state.own is not None:  # whose responses were timed
                self.on_response = self._receiver.on_response
            self.state = state = self._upstreams.state(upstream)
        message = self.message
        self._idempotent = message.head.method in IDEMPOTENT
        self._bound = preferred
        self._fresh = False
        self._passed_over = 0
        self._done = done
        small = len(body) <= self._upstreams.settings.replay_size
        self._replay = body if small else None
        self._small = small and done
        if state.retries < MAX_RETRIES:
            state.earn_retries()
        pool = state.first() if preferred is None else state.preferred(preferred)
        if pool is None and preferred is None and state.own is not None:
            pool = state.first_for(self)
            self.on_response = timed(state, self, self._receiver, small=self._small)
        if pool is None:
            self._wait(state, preferred, body)
            return
        self.pool = pool
        self.tries = 1
        if self._upstreams.debug:
            tell_endpoint(upstream, pool.endpoint, 1, sticky=preferred is not None)
        self.connection = connection = pool.take(self)
        if connection is not None:
            connection.begin(self, message, body, done=done)
        else:
            self._pending = body
            self.connecting = ConnectRace(state, self, pool, self._tried, bound=pool is preferred)

    def send(self, data: bytes, *, done: bool) -> None:
        """More of the body."""
        self._done = done
        self._small = False
        if self._replay is not None:
            kept = len(self._replay) + len(data) <= self._upstreams.settings.replay_size
            self._replay = self._replay + data if kept else None
        connection = self.connection
        if connection is not None:
            connection.send(data, done=done)
        elif self.connecting is not None or self._waiting is not None:
            self._pending += data
            if len(self._pending) > self._upstreams.settings.buffer_size and not self._paused:
                self._paused = True
                self.on_upstream_paused(True)

    def finish(self) -> None:
        """The response is complete; called by the receiver when it has all of it."""
        pool = self.pool
        self.connection = None
        self._replay = None
        if pool is not None and pool.health.failures:
            pool.observe(Observation.OK)
        if self._tried:
            self._tried = []

    def cancel(self) -> None:
        """Close the connection, so that the endpoint can stop: nobody wants the response."""
        self._leave_queue()
        self._drop_connection()
        self._pending = b""
        self._paused = False  # whoever cancels reads on, or is gone
        self._replay = None
        self._tried = []

    def time_out(self) -> None:
        """The upstream did not respond in time."""
        if self._waiting is not None:
            self._leave_queue()
            self.on_rejected("queue_timeout")
            return
        self._drop_connection()
        self._end(Failure.TIMED_OUT, "the upstream did not respond in time", began=False)

    def _drop_connection(self) -> None:
        connecting, self.connecting = self.connecting, None
        if connecting is not None:
            connecting.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()

    def leave(self) -> bool:
        """The client is gone: keep no connection for it. Returns whether nothing refers to this."""
        if self._announced:  # all, not the last pool alone: the next client is somebody else
            for pool in self._announced:
                pool.drop_client(self)
            self._announced = set()
        return self.connection is None and self.connecting is None and self._waiting is None

    @property
    def stage(self) -> str:
        """The letter of an end reason: waits for Q, admission; C, a connection; H, the response."""
        return "Q" if self._waiting is not None else "C" if self.connecting is not None else "H"

    # As a `QueuedRequest`.

    def strategy_request(self) -> StrategyRequest:
        """The request, as a strategy of the program's own sees it."""
        return strategy_request(self.message.head, self._receiver)

    def _wait(self, state: UpstreamState, preferred: EndpointPool | None, body: bytes) -> None:
        self.pool = None
        self.tries = 0
        queue = state.queue
        if queue is None or not state.ready:
            self._receiver.on_no_response(503, "no_endpoint", "no endpoint may be asked now")
        elif queue.add(self, preferred):
            self._waiting = queue
            self._pending = body
        else:
            self._receiver.on_no_response(503, "queue_full", "too many requests wait already")

    def on_admitted(self, pool: EndpointPool) -> None:
        """An endpoint has room."""
        self._waiting = None
        self.on_response = timed(self.state, self, self._receiver, small=self._small)
        body, self._pending = self._pending, b""
        self._ask(pool, body)

    def on_rejected(self, reason: str) -> None:
        """No endpoint had room in time."""
        self._waiting = None
        self._give_up()
        self._receiver.on_no_response(503, reason, "no endpoint had room for this request")

    def _leave_queue(self) -> None:
        queue, self._waiting = self._waiting, None
        if queue is not None:
            queue.remove(self)

    # As a `Requester`: called by a connection or its pool.

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """The receiver's."""
        return self._receiver.addresses()

    def on_connection(self, connection: EndpointConnection, seconds: float) -> None:
        """A connection that was being made is there."""
        self.connecting = None
        pool = self.pool
        if connection.owner is not None and pool is not None:
            self._announced = {pool, *(other for other in self._announced if not other.closed)}
        self._receiver.on_connected(seconds)
        body, self._pending = self._pending, b""
        self._begin(connection, body)

    def on_further_endpoint(self) -> None:
        """Another endpoint is connected to, since none has seen a byte yet."""
        self.tries += 1
        self._passed_over += 1

    def on_connect_failed(self, reason: str) -> None:
        """No endpoint can be connected to."""
        self.connecting = None
        pool = cast("EndpointPool", self.pool)  # that the connection was asked of last
        self._give_up()
        message = f"no connection to {pool.endpoint.address}"
        self._receiver.on_no_response(_STATUS.get(reason, 502), reason, message)

    def on_failure(self, failure: Failure, message: str, began: bool) -> None:
        """The connection ended before the response did."""
        connection, self.connection = self.connection, None
        pool, replay, state = self.pool, self._replay, self.state
        if self._upstreams.debug and pool is not None:
            tell_failure(pool.endpoint, failure.token, message)
        if failure is Failure.VANISHED and pool is not None:
            pool.on_vanished()
        kept = connection is not None and connection.uses > 1
        stale = kept and not began and failure in STALE
        unprocessed = failure in UNPROCESSED or (connection is not None and connection.unsent)
        repeatable = unprocessed or (self._idempotent and (stale or self._done))
        if began or replay is None or not repeatable or pool is None or state is None:
            self._end(failure, message, began=began, observed=stale)
            return
        if stale:
            following = self._reconnected(pool, state, failure)
        else:
            following = self._another(pool, state, failure)
        if following is None:
            self._end(failure, message, began=began, observed=True)
            return
        if not self._done:
            self.on_upstream_paused(False)  # whoever asked for that is gone
        self._ask(following, replay)

    def _reconnected(
        self, pool: EndpointPool, state: UpstreamState, failure: Failure
    ) -> EndpointPool | None:
        # Whom to ask when a kept connection was of no use: the same endpoint, if it is still there.
        self._fresh = True
        if failure is not Failure.GOING:
            pool.drop_idle()  # what killed one idle connection killed them all (a restart)
        following = pool if pool in state.ready and not pool.full else self._following()
        if following is not None:
            state.counters.retries += 1
        return following

    def _another(
        self, pool: EndpointPool, state: UpstreamState, failure: Failure
    ) -> EndpointPool | None:
        # When an endpoint has failed, or did not take the request.
        declined = failure in UNPROCESSED
        if self._small and not declined:
            pool.observe(Observation.BAD_RESPONSE)
        self._tried.append(pool)
        following = self._following()
        if following is None and declined and self._tries_left and pool in state.ready:
            following = None if pool.full else pool  # over another connection
        # The budget is asked last: a retry that no endpoint can take costs nothing.
        return following if following is not None and state.spend_retry() else None

    def _ask(self, pool: EndpointPool, body: bytes) -> None:
        self.pool = pool
        self.tries += 1
        if self._upstreams.debug and self.state is not None:
            tell_endpoint(self.state.upstream, pool.endpoint, self.tries)
        connection = None if self._fresh else pool.take(self)
        if connection is None:
            self._pending = body
            state = cast("UpstreamState", self.state)
            self.connecting = ConnectRace(state, self, pool, self._tried, bound=pool is self._bound)
        else:
            self._begin(connection, body)

    def _begin(self, connection: EndpointConnection, body: bytes) -> None:
        self._unpause()  # before the connection can pause us again for so much data
        self.connection = connection
        connection.begin(self, self.message, body, done=self._done)

    @property
    def _tries_left(self) -> bool:
        # A stale connection was no try at its endpoint, and neither is one that never came up.
        tries = self.tries - self._fresh - self._passed_over
        return tries < self._upstreams.settings.max_tries

    def _following(self) -> EndpointPool | None:
        state = self.state
        if state is None or not self._tries_left:
            return None
        return state.following(self._tried, self)

    def _end(self, failure: Failure, message: str, *, began: bool, observed: bool = False) -> None:
        if not observed and (not began or failure is Failure.BAD_RESPONSE):
            self._blame(failure)
        self._give_up()
        self._receiver.on_no_response(_STATUS.get(failure.token, 502), failure.token, message)

    def _blame(self, failure: Failure) -> None:
        # What a client alone could bring about never counts against an endpoint. One that ends a
        # connection on which a large body, or the rest of one, was coming has perhaps refused it
        # (its own limit, its own time-out), and its response was lost with the connection; a head
        # that is too large may repeat what the client has sent.
        pool = self.pool
        if pool is None or failure is Failure.OVERSIZED or failure in UNPROCESSED:
            return
        if failure is Failure.TIMED_OUT:
            pool.observe(Observation.TIMED_OUT)
        elif failure is Failure.BAD_RESPONSE or self._small:
            pool.observe(Observation.BAD_RESPONSE)

    def _give_up(self) -> None:
        self._pending = b""
        self._replay = None
        self._tried = []
        self._unpause()

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            self.on_upstream_paused(False)
