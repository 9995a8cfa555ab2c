"""The way of one client to an endpoint: tries candidates, tells how it went, and learns which
sessions the endpoint gives out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from meshlib.balancing import Observation
from meshlib.messages import ClientHello
from meshlib.model import Endpoint, Upstream
from meshlib.tls import SessionReader, session_keys
from meshlib_adapters.relay.dialer import Dialer
from meshlib_adapters.relay.readiness import Readiness
from meshlib_adapters.upstream.choice import Targets

__all__ = ["Passage"]


class Passage:
    """Connects to the endpoint of `upstream` that `targets` prefers for `client` and its `hello`,
    or to the next one that takes it.

    After `start`, `on_attempt` is called before each attempt (`address` is then where to), and in
    the end `on_connected(sock)` or `on_failed()`. The endpoint counts as used until `close`, which
    is to be called in any case.
    """

    __slots__ = (
        "_dialer",
        "_hello",
        "_on_attempt",
        "_on_connected",
        "_on_failed",
        "_target",
        "_targets",
        "address",
        "upstream",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        targets: Targets,
        watch: Readiness,
        upstream: Upstream,
        client: str,
        hello: ClientHello,
        *,
        on_attempt: Callable[[], None],
        on_connected: Callable[[socket.socket], None],
        on_failed: Callable[[], None],
    ) -> None:
        self.upstream = upstream
        self.address = ""
        self._targets = targets
        self._hello: ClientHello | None = (
            hello  # until it is known what the endpoint is watched for
        )
        self._target: Endpoint | None = None
        self._on_attempt = on_attempt
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._dialer: Dialer | None = Dialer(
            loop,
            targets.candidates(upstream, client, hello),
            on_attempt=self._attempt,
            on_connected=self._connected,
            on_failed=self._failed,
            watch=watch,
        )

    def start(self) -> None:
        """Begin; any of the three may be called before this returns."""
        assert self._dialer is not None
        self._dialer.start()

    def give_up_attempt(self) -> None:
        """The current attempt takes too long: go on to the next."""
        if self._dialer is not None:
            self._dialer.give_up_attempt()

    def close(self) -> None:
        """The endpoint is not used, or tried, any more. May be called twice."""
        if self._dialer is not None:
            self._dialer.close()
            self._dialer = (
                None  # which knows us: who knows each other is left to the garbage collector
            )
        self._leave()

    def tap(self) -> Callable[[memoryview], bool] | None:
        """What the first bytes of the endpoint are to be shown to while it returns True; None when
        there is nothing to learn.
        """
        targets, upstream, target = self._targets, self.upstream, self._target
        hello, self._hello = self._hello, None
        if target is None or hello is None or not targets.learns or len(upstream.endpoints) < 2:
            return None
        reader = SessionReader()

        def look(data: memoryview) -> bool:
            for key in reader.receive_data(bytes(data)):
                targets.learn(upstream, target, key, offered=key in session_keys(hello))
            return not reader.done

        return look

    def _attempt(self, endpoint: Endpoint) -> None:
        if endpoint is not self._target:  # a name may have several addresses
            self._blame()
            self._target = endpoint
            self._targets.enter(self.upstream, endpoint)
        self.address = endpoint.address
        self._on_attempt()

    def _connected(self, sock: socket.socket, endpoint: Endpoint) -> None:
        self._targets.observe(self.upstream, endpoint, Observation.OK)
        self._on_connected(sock)

    def _failed(self) -> None:
        self._blame()
        self._on_failed()

    def _blame(self) -> None:
        if self._target is not None and self._dialer is not None and not self._dialer.starved:
            self._targets.observe(self.upstream, self._target, Observation.CONNECT_FAILED)
        self._leave()

    def _leave(self) -> None:
        if self._target is not None:
            self._targets.leave(self.upstream, self._target)
            self._target = None
