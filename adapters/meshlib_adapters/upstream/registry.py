"""The upstreams that have been asked so far, each with its state at run time (`state`), and their
sticky sessions.

Run-time state lives there and in the pools and nowhere else, under the upstream's key, and
survives a new snapshot.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from meshlib.balancing import (
    Binding,
    SessionTables,
    cookie_values,
    set_cookie_value,
)
from meshlib.decision import Forward
from meshlib.http1 import KnownLines
from meshlib.mesh import Mesh
from meshlib.messages import FieldSection
from meshlib.model import Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.http import HTTPSettings, session_limits
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.pool import EndpointPool
from meshlib_adapters.upstream.state import UpstreamState
from meshlib_adapters.upstream.write_batch import WriteBatch

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings

__all__ = ["UpstreamRegistry"]


class UpstreamRegistry:
    """The state of every upstream that was asked so far, and the sticky sessions of every sticky
    route.

    Follows `mesh`: upstreams that are gone are closed. To be used inside one event loop. `http2`:
    limits of endpoints that speak it.
    """

    def __init__(
        self,
        mesh: Mesh,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        http2: HTTP2Settings | None = None,
    ) -> None:
        self.settings = settings
        self._http2 = http2
        self.loop = loop
        self.known_lines = KnownLines()  # of answers, and of a gateway's requests
        self.write_batch = WriteBatch(loop)  # of requests to endpoints, and of a gateway's answers
        # By name, also those of upstreams that are gone: whoever shows them forgets them.
        self.counters: dict[str, UpstreamCounters] = {}
        self.sessions = SessionTables(session_limits(settings))
        self._states: dict[UpstreamKey, UpstreamState] = {}
        self._swept = 0.0
        self.names = frozenset(
            key.name for key in mesh.table.upstreams
        )  # sessions are kept by name
        self._unsubscribe = mesh.subscribe(self._follow)

    def state(self, upstream: Upstream) -> UpstreamState:
        """The state kept for an upstream, brought up to the one given."""
        state = self._states.get(upstream.key)
        if state is None:
            state = UpstreamState(
                upstream,
                self.settings,
                self.loop,
                self.counters.setdefault(upstream.name, UpstreamCounters()),
                self.known_lines,
                self.write_batch,
                self._http2,
            )
            self._states[upstream.key] = state
        elif state.upstream is not upstream:
            state.update(upstream)
        return state

    def states(self) -> list[UpstreamState]:
        """Every upstream that was asked so far."""
        return list(self._states.values())

    def bound_endpoint(self, decision: Forward, fields: FieldSection) -> EndpointPool | None:
        """The endpoint to which one of the request's sessions belongs, while it is there; None to
        choose freely.
        """
        cookie = decision.route.sticky_cookie
        if cookie is None or b"cookie" not in fields.names:
            return None
        values = cookie_values(fields.get_all(b"cookie"), cookie.encode())
        if not values:
            return None
        for known in self.sessions.find(decision.upstream.name, cookie, values, self.loop.time()):
            pool = self.state(decision.upstream).by_id(known)
            if pool is not None:
                return pool
        return None

    def learn_binding(
        self, decision: Forward, asked: FieldSection, answer: FieldSection, pool: EndpointPool
    ) -> None:
        """Bind the session that the application has just begun, or that came with the request, to
        the endpoint that served it.

        A session that the application ends is forgotten, if it is the only one of its name in the
        request.
        """
        cookie = decision.route.sticky_cookie
        if cookie is None:
            return
        name, upstream, now = cookie.encode(), decision.upstream.name, self.loop.time()
        value = (
            set_cookie_value(answer.get_all(b"set-cookie"), name, time.time())
            if b"set-cookie" in answer.names
            else None
        )
        if value:
            self._tell(self.sessions.learn(upstream, cookie, value, pool.endpoint.id, now))
            return
        values = cookie_values(asked.get_all(b"cookie"), name) if b"cookie" in asked.names else ()
        if values and value is None:
            self._tell(self.sessions.keep(upstream, cookie, values, pool.endpoint.id, now))
        elif len(values) == 1:
            self._tell(self.sessions.forget(upstream, cookie, values[0]))

    def _tell(self, news: list[Binding]) -> None:
        """Sessions have changed. Nobody else keeps them here."""

    def sweep(self, now: float) -> None:
        """Close idle connections and forget old sessions, once a second at most."""
        if now - self._swept < 1.0:
            return
        self._swept = now
        for state in self._states.values():
            for pool in state.pools():
                if pool.idle:
                    pool.sweep(now)
        self.sessions.forget_expired(now)

    def close(self) -> None:
        """Close everything that is idle and follow no more."""
        self._unsubscribe()
        for state in self._states.values():
            state.close()
        self._states = {}

    def _follow(self, mesh: Mesh) -> None:
        known = mesh.table.upstreams
        for key, state in list(self._states.items()):
            upstream = known.get(key)
            if upstream is None:
                del self._states[key]
                state.close()
            elif upstream is not state.upstream:
                state.update(upstream)
        self.names = frozenset(key.name for key in known)
        self.sessions.keep_upstreams(self.names)
