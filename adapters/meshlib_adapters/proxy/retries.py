"""Getting one request to an endpoint: choose, connect, send, and try the next when that is safe.

What may be tried again (RFC 9110 9.2.2, reliability over speed): a request of which no endpoint has
seen a byte, always; one that was sent, only when its method is idempotent, its body is still at
hand and no byte of an answer has come. A budget keeps retries a small share of all requests,
because a failing upstream must not be hit harder for failing.
"""

from __future__ import annotations

from typing import Final, Protocol
from urllib.parse import quote

from meshlib.balancing.health import Observation
from meshlib.decision import Forward
from meshlib.forwarding import sent_upgrade
from meshlib.http1 import BodyKind
from meshlib.messages import RequestHead, ResponseHead
from meshlib.model import Upstream
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.upstream.http1 import UpstreamConnection
from meshlib_adapters.upstream.queue import WaitingQueue
from meshlib_adapters.upstream.registry import Connecting, EndpointPool, Upstreams
from meshlib_adapters.upstream.requester import Failure
from meshlib_adapters.upstream.state import UpstreamState

__all__ = ["Asker", "Dispatch", "default_host"]

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})

_STATUS: Final = {Failure.TIMED_OUT: 504}


def default_host(upstream: Upstream) -> bytes:
    """The Host of a request whose client (of HTTP/1.0) named none: "shop:8080", also where the
    upstream is "shop:8080@swarm" or merged.
    """
    return quote(upstream.name.partition("@")[0].partition("+")[0], safe=":").encode()


class Asker(Protocol):
    """Who wants the answer; see `exchange.Exchange` for the calls that come straight from the
    connection.
    """

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """Who the client is, and where it asked."""

    def on_connected(self, seconds: float) -> None:
        """A connection was made for this request, in so many seconds."""

    def on_interim(self, wire: bytes, head: ResponseHead) -> None:
        """A 1xx answer."""

    def on_response(
        self, wire: bytes, head: ResponseHead, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """The final answer begins."""

    def on_data(self, pieces: list[bytes], done: bool) -> None:
        """More of its body."""

    def on_upgrade(self, wire: bytes, head: ResponseHead, data: bytes) -> None:
        """The connection is a tunnel now."""

    def on_tunnel_data(self, data: bytes) -> None:
        """Bytes out of the tunnel."""

    def on_tunnel_eof(self) -> None:
        """No more of them."""

    def on_upstream_paused(self, paused: bool) -> None:
        """Wait with the request's body, or go on."""

    def on_unanswered(self, status: int, reason: str, message: str) -> None:
        """There will be no (further) answer: answer with `status` yourself, or cut the one that has
        begun.

        `reason` is a token for logs, `message` is for people.
        """


class Dispatch:
    """One exchange at a time; made once per client connection (or per request, by ASGI) and used
    again.

    It is an `exchange.Exchange`: the calls on the way of every answer are the asker's own methods,
    so that they cost nothing extra. `pool` is the endpoint asked last, `tries` how many were asked.
    """

    __slots__ = (
        "_asker",
        "_connecting",
        "_done",
        "_greeted",
        "_idempotent",
        "_method",
        "_paused",
        "_pending",
        "_relay_chunks",
        "_replay",
        "_small",
        "_state",
        "_tried",
        "_upgrade",
        "_upstreams",
        "_waiting",
        "connection",
        "on_data",
        "on_interim",
        "on_response",
        "on_tunnel_data",
        "on_tunnel_eof",
        "on_upgrade",
        "on_upstream_paused",
        "pool",
        "tries",
    )

    def __init__(self, asker: Asker, upstreams: Upstreams) -> None:
        self._asker = asker
        self._upstreams = upstreams
        self.on_interim = asker.on_interim
        self.on_response = asker.on_response
        self.on_data = asker.on_data
        self.on_upgrade = asker.on_upgrade
        self.on_tunnel_data = asker.on_tunnel_data
        self.on_tunnel_eof = asker.on_tunnel_eof
        self.on_upstream_paused = asker.on_upstream_paused
        self.connection: UpstreamConnection | None = None
        self.pool: EndpointPool | None = None
        self.tries = 0
        self._connecting: Connecting | None = None
        self._waiting: WaitingQueue | None = None
        self._state: UpstreamState | None = None
        self._tried: list[EndpointPool] = []
        self._greeted: set[EndpointPool] = (
            set()
        )  # where connections were made that tell who our client is
        self._method = b""
        self._idempotent = False
        self._relay_chunks = True
        self._upgrade = b""  # the protocols to which the answer may switch: those that are sent
        self._small = True  # a whole request and little of it: if the endpoint fails over it, that is the endpoint's doing
        self._replay: bytes | None = None  # all that was sent so far, while it may be sent again
        self._pending = b""  # what waits for a connection
        self._paused = False
        self._done = False

    def start(
        self,
        decision: Forward,
        head: RequestHead,
        data: bytes,
        *,
        done: bool,
        preferred: EndpointPool | None,
        relay_chunks: bool,
    ) -> None:
        """Send `data` (head and what there is of the body; `done`: all of it) to an endpoint of the
        decision's upstream.

        `preferred` is asked first (a sticky session's endpoint). The answer comes by the asker's
        methods, possibly before this returns when nothing can be asked.
        """
        self._state = state = self._upstreams.state(decision.upstream)
        self._method = method = head.method
        self._idempotent = method in _IDEMPOTENT
        self._relay_chunks = relay_chunks
        self._upgrade = sent_upgrade(head.fields) if head.fields.upgrade is not None else b""
        self._done = done
        small = len(data) <= self._upstreams.settings.replay_size + 4096
        self._replay = data if small else None
        self._small = small and done
        state.earn_retries()
        pool = state.first() if preferred is None else state.preferred(preferred)
        if pool is None:
            self._wait(state, preferred, data)
            return
        self.pool = pool
        self.tries = 1
        self.connection = connection = pool.take(self)
        if connection is not None:
            connection.begin(
                self, method, data, done=done, relay_chunks=relay_chunks, upgrade=self._upgrade
            )
        else:
            self._pending = data
            self._connecting = pool.connect(self)

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
        elif self._connecting is not None or self._waiting is not None:
            self._pending += data
            if len(self._pending) > self._upstreams.settings.buffer_size and not self._paused:
                self._paused = True
                self.on_upstream_paused(True)

    def finish(self) -> None:
        """The answer is complete (the asker says so when it has it all)."""
        pool = self.pool
        self.connection = None
        self._replay = None
        if pool is not None and pool.health.failures:
            pool.observe(Observation.OK)
        if self._tried:
            self._tried = []

    def cancel(self) -> None:
        """Nobody wants the answer any more: the upstream's connection is closed, so that it can
        stop working.
        """
        self._leave_queue()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()
        self._pending = b""
        self._paused = False  # whoever cancels reads on, or is gone
        self._replay = None
        self._tried = []

    def time_out(self) -> None:
        """The upstream did not answer in time."""
        if self._waiting is not None:
            self._leave_queue()
            self.on_turned_away("queue_timeout")
            return
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()
        self._end(Failure.TIMED_OUT, "the upstream did not answer in time", began=False)

    def leave(self) -> None:
        """The client is gone: no connection is kept for it."""
        if (
            self._greeted
        ):  # all of them, not the last one's pool alone: whoever is served next is somebody else
            for pool in self._greeted:
                pool.let_go(self)
            self._greeted = set()

    @property
    def at_rest(self) -> bool:
        """Whether nobody holds on to this: no exchange under way, none waiting, no connection kept
        for it.
        """
        return self.connection is None and self._connecting is None and self._waiting is None

    @property
    def stage(self) -> str:
        """What a request that has no answer yet waits for, as in termination codes: Q, its turn; C,
        a connection; H, the answer.
        """
        return "Q" if self._waiting is not None else "C" if self._connecting is not None else "H"

    # `waiting.Waiting`

    def _wait(self, state: UpstreamState, preferred: EndpointPool | None, data: bytes) -> None:
        self.pool = None
        self.tries = 0
        queue = state.queue
        if queue is None or not state.ready:
            self._asker.on_unanswered(503, "no_endpoint", "no endpoint may be asked now")
        elif queue.add(self, preferred):
            self._waiting = queue
            self._pending = data
        else:
            self._asker.on_unanswered(503, "queue_full", "too many requests wait for this upstream")

    def on_turn(self, pool: EndpointPool) -> None:
        """An endpoint has room."""
        self._waiting = None
        data, self._pending = self._pending, b""
        self._ask(pool, data)

    def on_turned_away(self, reason: str) -> None:
        """No endpoint had room in time."""
        self._waiting = None
        self._give_up()
        self._asker.on_unanswered(503, reason, "no endpoint had room for this request")

    def _leave_queue(self) -> None:
        queue, self._waiting = self._waiting, None
        if queue is not None:
            queue.remove(self)

    # Exchange: what a connection or its pool tells us.

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        """The asker's."""
        return self._asker.addresses()

    def on_connection(self, connection: UpstreamConnection, seconds: float) -> None:
        """A connection that was being made is there."""
        self._connecting = None
        if connection.owner is not None:
            self._greeted = {pool for pool in self._greeted if not pool.closed} | {connection.pool}
        self._asker.on_connected(seconds)
        data, self._pending = self._pending, b""
        self._begin(connection, data)

    def on_connect_failed(self, pool: EndpointPool, reason: str) -> None:
        """No endpoint has seen a byte yet: the next one may always be asked."""
        self._connecting = None
        self._tried.append(pool)
        following = self._following()
        if following is None:
            status = 504 if reason == "connect_timeout" else 502
            self._give_up()
            self._asker.on_unanswered(status, reason, f"no connection to {pool.endpoint.address}")
            return
        data, self._pending = self._pending, b""
        self._ask(following, data)

    def on_failure(self, failure: Failure, message: str, began: bool) -> None:
        """The connection ended before the answer did."""
        connection, self.connection = self.connection, None
        pool = self.pool
        replay = self._replay
        state = self._state
        repeatable = self._idempotent or (connection is not None and connection.unsent)
        if (
            began
            or replay is None
            or not repeatable
            or not self._done
            or self._upgrade
            or pool is None
            or state is None
        ):
            self._end(failure, message, began=began)
            return
        if connection is not None and connection.uses > 1:
            pool.drop_idle()  # what killed one idle connection killed them all (a restart)
        else:
            if self._small:
                pool.observe(Observation.BAD_RESPONSE)
            self._tried.append(pool)
        following = self._following()
        if (
            following is None or not state.spend_retry()
        ):  # asked last: what nobody can take up costs nothing
            self._end(failure, message, began=began, observed=True)
        else:
            self._ask(following, replay)

    def _ask(self, pool: EndpointPool, data: bytes) -> None:
        self.pool = pool
        self.tries += 1
        connection = pool.take(self)
        if connection is None:
            self._pending = data
            self._connecting = pool.connect(self)
        else:
            self._begin(connection, data)

    def _begin(self, connection: UpstreamConnection, data: bytes) -> None:
        self._unpause()  # before the connection says what it thinks of so much data
        self.connection = connection
        connection.begin(
            self,
            self._method,
            data,
            done=self._done,
            relay_chunks=self._relay_chunks,
            upgrade=self._upgrade,
        )

    def _following(self) -> EndpointPool | None:
        state = self._state
        if state is None or self.tries >= self._upstreams.settings.max_tries:
            return None
        return state.following(self._tried)

    def _end(self, failure: Failure, message: str, *, began: bool, observed: bool = False) -> None:
        if not observed and (not began or failure is Failure.BAD_RESPONSE):
            self._blame(failure)
        self._give_up()
        self._asker.on_unanswered(_STATUS.get(failure, 502), failure.value, message)

    def _blame(self, failure: Failure) -> None:
        # What a client could bring about alone never counts against an endpoint: an endpoint that
        # ends a connection on which a body was still coming, or a large one, has perhaps refused it
        # (its own limit, its own time-out) and the answer was lost with the connection; a head that
        # is too large may repeat what the client has sent.
        pool = self.pool
        if pool is None or failure is Failure.OVERSIZED:
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
