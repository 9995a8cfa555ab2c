"""The way of one client to an endpoint, of a TLS or a TCP port alike: tries candidates, reports how
each did, and learns which TLS sessions the endpoint gives out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from meshlib.balancing import Observation
from meshlib.messages import ClientHello
from meshlib.model import Endpoint, Upstream
from meshlib.tls import SessionReader, session_keys
from meshlib_adapters.relay.dialer import Dialer
from meshlib_adapters.relay.readiness import Readiness
from meshlib_adapters.upstream.choice.chooser import EndpointChooser

__all__ = ["UpstreamDial"]

_log = logging.getLogger("meshlib.tcp")


class UpstreamDial:
    """Connects to the endpoint of `upstream` that `chooser` prefers for `client` and its `hello`
    (None: it does not speak TLS, or is not read), or to the next one that takes it.

    After `start`, `on_attempt(address)` is called before each attempt, with the address of its
    endpoint, and in the end `on_connected(sock, address)` or `on_failed()`. An attempt takes
    `seconds`, and others begin beside it as `Dialer` says. The endpoint counts as used until
    `close`, which is to be called in any case.
    """

    __slots__ = (
        "_chooser",
        "_dialer",
        "_endpoint",
        "_entered",
        "_hello",
        "_on_attempt",
        "_on_connected",
        "_on_failed",
        "_upstream",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        chooser: EndpointChooser,
        readiness: Readiness,
        upstream: Upstream,
        client: str,
        hello: ClientHello | None,
        *,
        seconds: float,
        on_attempt: Callable[[str], None],
        on_connected: Callable[[socket.socket, str], None],
        on_failed: Callable[[], None],
    ) -> None:
        self._upstream = upstream
        self._chooser = chooser
        self._hello = hello  # until it is known what the endpoint is watched for
        self._endpoint: Endpoint | None = None  # connected to
        self._entered: list[Endpoint] = []  # being tried, or connected to
        self._on_attempt = on_attempt
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._dialer: Dialer | None = Dialer(
            loop,
            chooser.candidates(upstream, client, hello),
            seconds=seconds,
            on_attempt=self._attempt,
            on_silent=self._silent,
            on_refused=self._refused,
            on_connected=self._connected,
            on_failed=self._failed,
            watch=readiness,
        )

    def start(self) -> None:
        """Begin; any of the three may be called before this returns."""
        assert self._dialer is not None
        self._dialer.start()

    def give_up_attempts(self) -> None:
        """Go on to the next candidate: what is under way takes too long."""
        if self._dialer is not None:
            self._dialer.give_up_attempts()

    def close(self) -> None:
        """Stop trying, or using, the endpoint. May be called twice."""
        if self._dialer is not None:
            self._dialer.close()
            self._dialer = None  # a cycle that would wait for the garbage collector
        while self._entered:
            self._chooser.leave(self._upstream, self._entered.pop())

    def tap(self) -> Callable[[memoryview], bool] | None:
        """Function to show the first bytes of the endpoint to while it returns True; None when
        there is nothing to learn from them.
        """
        chooser, upstream, endpoint = self._chooser, self._upstream, self._endpoint
        hello, self._hello = self._hello, None
        if endpoint is None or hello is None or not chooser.learns:
            return None
        if len(upstream.endpoints) < 2 and len(chooser.ready(upstream)) < 2:
            return None
        reader = SessionReader()

        def read(data: memoryview) -> bool:
            for key in reader.receive_data(bytes(data)):
                chooser.learn(upstream, endpoint, key, offered=key in session_keys(hello))
            return not reader.done

        return read

    def _attempt(self, endpoint: Endpoint) -> None:
        if endpoint not in self._entered:
            self._entered.append(endpoint)
            self._chooser.enter(self._upstream, endpoint)
            _log.debug("%s: to %s (%s)", self._upstream.name, endpoint.address, endpoint.id)
        self._on_attempt(endpoint.address)

    def _silent(self, endpoint: Endpoint) -> None:
        self._chooser.observe(self._upstream, endpoint, Observation.SILENT)

    def _refused(self, endpoint: Endpoint, blamed: bool) -> None:
        # A want of descriptors here is not the endpoint's fault.
        if blamed:
            self._chooser.observe(self._upstream, endpoint, Observation.CONNECT_FAILED)
        self._leave(endpoint)

    def _connected(self, sock: socket.socket, endpoint: Endpoint) -> None:
        self._dialer = None
        self._endpoint = endpoint
        for other in [one for one in self._entered if one is not endpoint]:
            self._leave(other)
        if not self._entered:  # another address of its name has refused meanwhile
            self._entered.append(endpoint)
            self._chooser.enter(self._upstream, endpoint)
        self._chooser.observe(self._upstream, endpoint, Observation.OK)
        self._on_connected(sock, endpoint.address)

    def _failed(self) -> None:
        _log.debug("%s: no endpoint has taken the connection", self._upstream.name)
        self._on_failed()

    def _leave(self, endpoint: Endpoint) -> None:
        if endpoint in self._entered:  # a name may have several addresses
            self._entered.remove(endpoint)
            self._chooser.leave(self._upstream, endpoint)
