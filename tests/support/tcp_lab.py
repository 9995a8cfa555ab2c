"""TLS servers, a table and a listener, for tests with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trustme

from meshlib.decision import Passthrough, Reject, TLSDecision
from meshlib.messages import ClientHello
from meshlib.model import Endpoint, ForwardTo, Route, ServerName, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.transport import TLSSettings
from meshlib_adapters.listeners.tls import TLSListener
from meshlib_adapters.observe.records import ConnectionRecord

__all__ = ["LOOPBACK", "Lab", "MakeLab", "Respond", "Run", "Table", "closed_port", "quick", "until"]

LOOPBACK = "127.0.0.1"


@dataclass
class Table:
    """Server name to addresses; a name that is not here gets the alert."""

    ports: dict[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    strategy: str = "round_robin"

    @property
    def table(self) -> Table:
        return self

    def route_tls(
        self, hello: ClientHello, terminates: Callable[[str], bool] | None = None
    ) -> TLSDecision:
        name = hello.server_name or ""
        if not hello.server_name_valid:
            return Reject(112, "bad_server_name")
        addresses = self.ports.get(name, self.ports.get("*"))
        if addresses is None:
            return Reject(112, "no_route")
        upstream = Upstream(
            UpstreamKey(name),
            tuple(Endpoint(f"{name}.{n}", host, port) for n, (host, port) in enumerate(addresses)),
            self.strategy,
        )
        route = Route(ServerName(name), ForwardTo(upstream), service=name, label="", schema="test")
        return Passthrough(route, upstream)


Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Lab:
    """Starts backends and listeners; everything is closed at the end of the test."""

    authority: trustme.CA
    stack: contextlib.AsyncExitStack
    table: Table = field(default_factory=Table)
    records: list[ConnectionRecord] = field(default_factory=list)

    async def backend(self, name: str | None, respond: Respond, *, into: str | None = None) -> int:
        """A server on a free port, with TLS for `name` (None: plain TCP); routed under `into` or
        `name`.
        """
        context = None
        if name is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert(name).configure_cert(context)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await respond(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                with contextlib.suppress(OSError, RuntimeError):
                    writer.close()

        server = await asyncio.start_server(serve, LOOPBACK, 0, ssl=context, limit=1 << 20)
        self.stack.callback(server.close)
        port: int = server.sockets[0].getsockname()[1]
        route = into or name
        if route is not None:
            self.table.ports[route] = [*self.table.ports.get(route, ()), (LOOPBACK, port)]
        return port

    async def listener(self, settings: TLSSettings | None = None) -> tuple[TLSListener, int]:
        listener = TLSListener(self.table, settings, on_end=self.records.append)
        self.stack.callback(listener.close)
        _, port = await listener.listen(LOOPBACK, 0)
        return listener, port


MakeLab = Callable[[], contextlib.AbstractAsyncContextManager[Lab]]
Run = Callable[[Awaitable[None]], None]


def quick(**changes: object) -> TLSSettings:
    return TLSSettings(
        **{"sweep_interval": 0.05, "lingering_close": 0.5, "tunnel_idle": 30.0, **changes}  # type: ignore[arg-type]
    )


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that other parts make true."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])
