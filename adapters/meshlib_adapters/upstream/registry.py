"""The upstreams that were used so far, each with its state at run time (`state`), and the endpoints
that sessions are bound to.

Run-time state lives there and in the pools and nowhere else, under the upstream's key, and survives
a new snapshot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshlib.balancing import (
    Machines,
    Observation,
    cookie_values,
    machine_of,
    set_cookie_value,
)
from meshlib.decision import Forward
from meshlib.http1 import KnownLines
from meshlib.mesh import Mesh
from meshlib.messages import FieldSection
from meshlib.model import Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.http import HTTPSettings, session_limits
from meshlib_adapters.fast_paths import ALL, FastPaths
from meshlib_adapters.mesh_changes import subscribe_in_loop
from meshlib_adapters.observe.debug_lines import wanted
from meshlib_adapters.sockets.write_batch import WriteBatch
from meshlib_adapters.upstream.choice.host_names import IDLE_REFRESH, REFRESH, HostNames
from meshlib_adapters.upstream.choice.sticky import LocalBindings, StickyBindings
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.pool import EndpointPool
from meshlib_adapters.upstream.state import UpstreamState

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings

__all__ = ["UpstreamRegistry"]


class UpstreamRegistry:
    """The state of every upstream that was used so far, and the sticky bindings of every sticky
    route.

    Follows `mesh`, in its own event loop, whoever's thread the mesh changes in: upstreams that are
    gone are closed. `http2`: limits of endpoints that speak it. `bindings`: those of this process
    alone, if None is given. `beside`: what an upstream that no route leads to is now (None: it is
    gone).
    """

    def __init__(
        self,
        mesh: Mesh,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        http2: HTTP2Settings | None = None,
        bindings: StickyBindings | None = None,
        fast_paths: FastPaths = ALL,
        beside: Callable[[UpstreamKey], Upstream | None] | None = None,
    ) -> None:
        self._beside = beside
        self.settings = settings
        self.http2 = http2
        self.loop = loop
        self.fast_paths = fast_paths
        self.debug = wanted()
        # Of responses, and of requests to the gateway.
        self.known_lines = KnownLines() if fast_paths.request_cache else None
        # Of requests, and of responses.
        self.write_batch = WriteBatch(loop, together=fast_paths.write_batch)
        # By name, also those of upstreams that are gone: whoever shows them forgets them.
        self.counters: dict[str, UpstreamCounters] = {}
        self.bindings = LocalBindings(session_limits(settings)) if bindings is None else bindings
        self._states: dict[UpstreamKey, UpstreamState] = {}
        self._names = HostNames(loop, self._renew)
        self._machines = Machines()
        self._swept = 0.0
        self.bindings.keep_upstreams(_names(mesh))
        self._unsubscribe = subscribe_in_loop(mesh, loop, self._follow)

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
                self.http2,
                self.fast_paths,
                self._on_silent,
                self._names,
            )
            self._states[upstream.key] = state
        elif state.upstream is not upstream:
            state.update(upstream)
        return state

    def forget(self, key: UpstreamKey) -> None:
        """Close an upstream that is not asked any more, counts included."""
        state = self._states.pop(key, None)
        if state is not None:
            state.close()
        self.counters.pop(key.name, None)

    def states(self) -> list[UpstreamState]:
        """Every upstream that was used so far."""
        return list(self._states.values())

    def bound_endpoint(self, decision: Forward, fields: FieldSection) -> EndpointPool | None:
        """The endpoint that one of the request's sessions is bound to, while it may be used; None
        to choose freely.
        """
        cookie = decision.route.options.sticky_cookie
        if cookie is None or b"cookie" not in fields.names:
            return None
        values = cookie_values(fields.get_all(b"cookie"), cookie.encode())
        if not values:
            return None
        upstream = decision.upstream
        for known in self.bindings.endpoint_ids(upstream.name, cookie, values, self.loop.time()):
            pool = self.state(upstream).by_id(known)
            if pool is not None:
                return pool
        return None

    def learn_binding(
        self, decision: Forward, request: FieldSection, response: FieldSection, pool: EndpointPool
    ) -> None:
        """Bind the session that the application has just begun, or that came with the request, to
        the endpoint that served it.

        A session that the application ends is forgotten, if it is the only one of its name in the
        request.
        """
        cookie = decision.route.options.sticky_cookie
        if cookie is None:
            return
        name, upstream, now = cookie.encode(), decision.upstream.name, self.loop.time()
        endpoint_id, bindings = pool.endpoint.id, self.bindings
        value = (
            set_cookie_value(response.get_all(b"set-cookie"), name, time.time())
            if b"set-cookie" in response.names
            else None
        )
        if value:
            bindings.bind(upstream, cookie, value, endpoint_id, now)
            return
        values = (
            cookie_values(request.get_all(b"cookie"), name) if b"cookie" in request.names else ()
        )
        if values and value is None:
            bindings.keep(upstream, cookie, values, endpoint_id, now)
        elif len(values) == 1:
            bindings.unbind(upstream, cookie, values[0])

    def sweep(self, now: float) -> None:
        """Close idle connections and forget old bindings, once a second at most."""
        if now - self._swept < 1.0:
            return
        self._swept = now
        for state in self._states.values():
            for pool in state.pools():
                if pool.idle:
                    pool.sweep(now)
            for host in state.hosts:
                self._names.refresh(host, REFRESH if state.busy else IDLE_REFRESH)
        self.bindings.forget_expired(now)

    def close(self) -> None:
        """Close everything that is idle and follow no more."""
        self._unsubscribe()
        self._names.close()
        for state in self._states.values():
            state.close()
        self._states = {}

    def _on_silent(self, silent: EndpointPool) -> None:
        # Of a machine with several silent endpoints the others are not waited for one by one.
        endpoint = silent.endpoint
        machine = machine_of(endpoint)
        if self._machines.note_silence(machine, endpoint.address, self.loop.time()):
            for state in self._states.values():
                for pool in state.pools():
                    if machine_of(pool.endpoint) == machine and pool is not silent:
                        pool.observe(Observation.SILENT)

    def _renew(self) -> None:
        # The addresses of some name have changed.
        for state in self._states.values():
            if state.hosts:
                state.update(state.upstream)

    def _follow(self, mesh: Mesh) -> None:
        known = mesh.table.upstreams
        for key, state in list(self._states.items()):
            upstream = known.get(key)
            if upstream is None and self._beside is not None:
                upstream = self._beside(key)
            if upstream is None:
                del self._states[key]
                state.close()
            elif upstream is not state.upstream:
                state.update(upstream)
        self.bindings.keep_upstreams(
            _names(mesh) | {state.upstream.name for state in self.states()}
        )


def _names(mesh: Mesh) -> frozenset[str]:
    # Bindings are kept by name.
    return frozenset(key.name for key in mesh.table.upstreams)
