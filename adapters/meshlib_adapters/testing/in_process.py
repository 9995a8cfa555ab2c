"""Endpoints without the network: `InProcess`, which connects a data path to applications."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias

from meshlib.errors import ConfigurationError
from meshlib_adapters.asgi.types import ASGIApplication
from meshlib_adapters.testing.asgi_server import Lifespan, serve_application
from meshlib_adapters.testing.connection import ServerConnection
from meshlib_adapters.testing.memory import connect
from meshlib_adapters.testing.objects import Listening, split_address

__all__ = ["EndpointInTest", "InProcess", "place_of"]

_logger = logging.getLogger("meshlib.testing")

# An endpoint in a test: an ASGI application, or what listens elsewhere (`FakeUpstream`).
EndpointInTest: TypeAlias = ASGIApplication | Listening


class InProcess:
    """Connections to endpoints of a test, by the addresses that its routes have.

        settings = HTTPSettings(dial=InProcess({"10.0.0.5:8080": app, "10.0.0.6:8080": upstream}))

    An ASGI application is spoken to in HTTP/1.1 through memory, in the event loop of whoever asks,
    without WebSockets, TLS or HTTP/2; a `FakeUpstream` where it listens. Loopback addresses that
    are not among `endpoints` are reached by the network; all others refuse connections, which the
    log tells, so that no test reaches out by mistake, unless `network` is true. Raises
    `ConfigurationError` for an address that is none.

    Lifespans of applications run between `start` and `stop`.
    """

    def __init__(
        self, endpoints: Mapping[str, EndpointInTest] | None = None, *, network: bool = False
    ) -> None:
        self._endpoints: dict[tuple[str, int], EndpointInTest] = {}
        for address, target in (endpoints or {}).items():
            self._endpoints[place_of(address)] = target
        self._network = network
        # An application may be several endpoints; it has one lifespan.
        self._lifespans = {
            id(target): Lifespan(target) for target in self._endpoints.values() if callable(target)
        }

    async def start(self) -> None:
        """Start the applications; RuntimeError when one says that it cannot."""
        for lifespan in self._lifespans.values():
            await lifespan.start()

    async def stop(self) -> None:
        """Stop the applications."""
        for lifespan in self._lifespans.values():
            await lifespan.stop()

    async def __call__(
        self, protocol: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> asyncio.Transport | None:
        """A connection to an endpoint, as `HTTPSettings.dial` makes them."""
        loop = asyncio.get_running_loop()
        target = self._endpoints.get((host, port))
        if target is None:
            if self._network or _is_loopback(host):
                return None
            _logger.warning(
                "%s:%d is no endpoint of this test, and is not asked; name it in endpoints=, "
                "or say network=True",
                host,
                port,
            )
            raise ConnectionRefusedError(errno.ECONNREFUSED, "not an endpoint of this test")
        if not callable(target):
            transport, _ = await loop.create_connection(protocol, *place_of(target.address))
            return transport
        serve = serve_application(target, (host, port), self._lifespans[id(target)].state)
        return connect(loop, protocol(), ServerConnection(serve), (host, port))


def place_of(address: str) -> tuple[str, int]:
    """Host and port of an address. Raises `ConfigurationError` when it has no port."""
    try:
        host, port = split_address(address)
    except ValueError:
        port = None
    if port is None:
        hint = 'write "10.0.0.5:8080"'
        raise ConfigurationError("not an address", where=repr(address), hint=hint)
    return host, port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
