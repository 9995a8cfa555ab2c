"""The fronts of every protocol, driven without sockets: the same requests through HTTP/1, a stream
of HTTP/2 and ASGI, to endpoints that do what a script says, with every state of their exchanges.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from h2.errors import ErrorCodes

from meshlib.client_claims import Peer
from meshlib.http2.sections import Pair, pair_section
from meshlib.mesh import Mesh
from meshlib.messages import FieldSection
from meshlib.model import Snapshot
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.asgi import MeshApp
from meshlib_adapters.asgi.departures import Departures
from meshlib_adapters.asgi.types import Message, Scope
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.http1.front import HTTP1Front
from meshlib_adapters.http2.response_budget import ResponseBudget
from meshlib_adapters.http2.stream import Stream
from meshlib_adapters.listeners.http_clients import HTTPClients
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.proxy.exchange import Exchange
from meshlib_adapters.proxy.exchange_state import State
from meshlib_adapters.proxy.front import TLSFacts
from meshlib_adapters.proxy.proxy import Proxy
from tests.support.wires import Wire

__all__ = [
    "CLOSE",
    "FRONTS",
    "EndpointLoop",
    "FrontClient",
    "FrontName",
    "Request",
    "Script",
    "Stand",
    "recorded",
]

FrontName = Literal["HTTP/1", "HTTP/2", "ASGI"]
# What an endpoint does with a request: it sends these bytes, and CLOSE closes the connection.
CLOSE = b""
Script = Callable[[bytes], Sequence[bytes]]
Transition = tuple[State, State]


@dataclass(frozen=True)
class Request:
    """`body`: one is to come, of `length` bytes or (None) of a size that nobody says before;
    `silent`: not even that there is one is known until it comes.
    """

    host: str = "a"
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    body: bool = False
    length: int | None = None
    silent: bool = False
    websocket: bool = False


class EndpointWire(Wire):
    """A connection to an endpoint: when a head has come, the script says what happens."""

    def __init__(self, loop: EndpointLoop, port: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._port = port
        self._protocol = protocol
        self._lost = False
        self._seen = 0

    def write(self, data: Any) -> None:
        super().write(data)
        head, end, _ = bytes(self.sent[self._seen :]).partition(b"\r\n\r\n")
        if end and not self.closed:
            self._seen = len(self.sent)
            self._loop.heads.append((self._port, head + end))
            self._loop.call_soon(self._do, self._loop.scripts[self._port](head + end))

    def say(self, data: bytes) -> None:
        """The endpoint sends so much, or CLOSE."""
        self._do([data])

    def _do(self, events: Sequence[bytes]) -> None:
        for event in events:
            if self.closed:
                return
            if event == CLOSE:
                if not self._protocol.eof_received():
                    self.close()
            else:
                self._protocol.data_received(event)

    def close(self) -> None:
        super().close()
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._end)

    abort = close

    def _end(self) -> None:
        self._protocol.connection_lost(None)


class EndpointLoop(asyncio.SelectorEventLoop):
    """Connects to the ports that have a script, refuses all others. `heads` are those that came to
    endpoints, with their ports; `wires` the connections.
    """

    def __init__(self) -> None:
        self.scripts: dict[int, Script] = {}
        self.heads: list[tuple[int, bytes]] = []
        self.wires: list[EndpointWire] = []
        super().__init__()

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        if port not in self.scripts:
            raise ConnectionRefusedError
        protocol = factory()
        wire = EndpointWire(self, port, protocol)
        self.wires.append(wire)
        protocol.connection_made(wire)
        return wire, protocol


class Stand:
    """One gateway, and what becomes of the requests of its `clients`."""

    def __init__(
        self,
        loop: EndpointLoop,
        snapshot: Snapshot,
        settings: HTTPSettings,
        *,
        secure: bool = False,
        tls: TLSFacts | None = None,
    ) -> None:
        self.loop = loop
        self.secure = secure
        self.tls = tls
        self._lines: list[str] = []
        self._made: list[FrontClient] = []

        async def make() -> tuple[Mesh, Proxy]:
            mesh = Mesh(snapshot)
            log = AccessLog(lambda text: self._lines.extend(text.splitlines()))
            return mesh, Proxy(mesh, settings, access_log=log)

        self.mesh, self.proxy = loop.run_until_complete(make())
        self.clients = HTTPClients(self.proxy)

    def client(self, name: FrontName) -> FrontClient:
        """A client of a front, which can make one request."""
        made = _KINDS[name](self)
        self._made.append(made)
        return made

    def settle(self) -> None:
        """Let everybody do what there is to do."""

        async def rounds() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        self.loop.run_until_complete(rounds())

    def records(self) -> list[dict[str, Any]]:
        """The access records of all requests; nobody may make more of them."""
        for client in self._made:
            client.leave()
        self.settle()
        self.clients.close()
        self.proxy.close()
        self.settle()
        return [json.loads(line) for line in self._lines]


class FrontClient(Protocol):
    """`status` and `fields` (names in lower case) are those of the final response; 0 and none
    before there is one.
    """

    @property
    def status(self) -> int: ...

    @property
    def fields(self) -> list[tuple[str, str]]: ...

    def begin(self, request: Request) -> None:
        """Send the request's head, and nothing of a body."""

    def body(self, data: bytes) -> None:
        """Send the body, and its end."""

    def leave(self) -> None:
        """Close the connection, or end the stream; harmless when that has happened."""

    def wait_too_long(self) -> None:
        """The time-out that runs has passed."""


class OverHTTP1:
    """A connection of HTTP/1."""

    def __init__(self, stand: Stand) -> None:
        scheme = "https" if stand.secure else "http"
        self._front = HTTP1Front(stand.proxy, stand.clients, scheme, 80, tls=stand.tls)
        self._wire = Wire()
        self._front.connection_made(self._wire)
        self._chunked = False
        self._left = False

    def begin(self, request: Request) -> None:
        lines = [f"{request.method} / HTTP/1.1", f"Host: {request.host}"]
        lines += [f"{name}: {value}" for name, value in request.fields]
        if request.websocket:
            lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: " + "a" * 22]
        if request.body:
            self._chunked = request.length is None
            chunked = "Transfer-Encoding: chunked"
            lines.append(chunked if self._chunked else f"Content-Length: {request.length}")
        self._front.data_received("\r\n".join([*lines, "", ""]).encode())

    def body(self, data: bytes) -> None:
        wire = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data) if self._chunked else data
        self._front.data_received(wire)

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self._wire.close()
            self._front.connection_lost(None)

    def wait_too_long(self) -> None:
        self._front.client.on_timeout()

    @property
    def _head(self) -> list[str]:
        return bytes(self._wire.sent).partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")

    @property
    def status(self) -> int:
        return int(self._head[0].split()[1]) if self._head[0] else 0

    @property
    def fields(self) -> list[tuple[str, str]]:
        pairs = [line.partition(": ") for line in self._head[1:]]
        return [(name.lower(), value) for name, _, value in pairs]


class OverHTTP2:
    """A stream of HTTP/2, on a connection whose windows are always open."""

    def __init__(self, stand: Stand) -> None:
        self.budget = ResponseBudget(65536, lambda: None)
        self.proxy = stand.proxy
        self.tls = stand.tls
        self.peer = Peer("127.0.0.1", "https" if stand.secure else "http", 80)
        self._pairs: list[Pair] = []
        self._stream = Stream(self, 1)

    def begin(self, request: Request) -> None:
        assert not request.websocket, "HTTP/2 has no upgrade"
        pairs = [(":method", request.method), (":scheme", self.peer.scheme), (":path", "/")]
        pairs.append((":authority", request.host))
        pairs += [(name.lower(), value) for name, value in request.fields]
        if request.length is not None:
            pairs.append(("content-length", str(request.length)))
        wire = [(name.encode(), value.encode()) for name, value in pairs]
        self._stream.begin(wire, ended=not request.body)

    def body(self, data: bytes) -> None:
        self._stream.receive(data, len(data), ended=True)

    def leave(self) -> None:
        self._stream.lost()

    def wait_too_long(self) -> None:
        self._stream.check_progress(self._stream.since + 1e6)

    @property
    def status(self) -> int:
        return int(self._pairs[0][1]) if self._pairs else 0

    @property
    def fields(self) -> list[tuple[str, str]]:
        return [(name.decode(), value.decode()) for name, value in self._pairs[1:]]

    # As a `FrameSender`.

    def keep_time(self) -> None:
        pass

    def addresses(self) -> tuple[ProxyAddress | None, ProxyAddress | None]:
        return None, None

    def section(self, pairs: list[Pair]) -> FieldSection:
        return pair_section(pairs, max_fields=self.proxy.settings.field_count)

    def acknowledge(self, number: int, size: int) -> None:
        pass

    def send_head(self, stream: Stream, pairs: list[Pair], *, end: bool) -> None:
        self._pairs = pairs

    def send_data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        pass

    def send_trailers(self, stream: Stream, fields: list[Pair]) -> None:
        pass

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        pass

    def ready(self, stream: Stream) -> None:
        while stream.has_something:
            stream.write(16384)

    def flush_soon(self) -> None:
        pass

    def malformed(self) -> None:
        pass

    def forget(self, stream: Stream) -> None:
        pass


class OverASGI:
    """A request that an ASGI server hands over. The server has terminated TLS, if there is any."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._gateway = MeshApp(stand.mesh, settings=stand.proxy.settings)
        self._gateway.proxy = stand.proxy  # the one with an access log
        self._sent: list[Message] = []
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._websocket = False
        self._task: asyncio.Task[None] | None = None

    def begin(self, request: Request) -> None:
        self._websocket = request.websocket
        scheme = ("ws" if request.websocket else "http") + ("s" if self._stand.secure else "")
        fields = [("host", request.host), *request.fields]
        if request.length is not None:
            fields.append(("content-length", str(request.length)))
        scope: Scope = {
            "type": "websocket" if request.websocket else "http",
            "http_version": "1.1" if request.websocket else "2",
            "method": request.method,
            "scheme": scheme,
            "path": "/",
            "headers": [(name.lower().encode(), value.encode()) for name, value in fields],
            "client": ("127.0.0.1", 1234),
            "server": ("127.0.0.1", 80),
            "extensions": {"websocket.http.response": {}},
        }
        if request.websocket:
            self._messages.put_nowait({"type": "websocket.connect"})
        elif not request.body:
            self._messages.put_nowait({"type": "http.request"})
        elif request.length is None and not request.silent:
            self._messages.put_nowait({"type": "http.request", "more_body": True})

        async def send(message: Message) -> None:
            self._sent.append(message)

        gateway = self._gateway(scope, self._messages.get, send)
        self._task = self._stand.loop.create_task(gateway)

    def body(self, data: bytes) -> None:
        self._messages.put_nowait({"type": "http.request", "body": data})

    def leave(self) -> None:
        kind = "websocket" if self._websocket else "http"
        self._messages.put_nowait({"type": f"{kind}.disconnect"})
        self._stand.loop.run_until_complete(asyncio.sleep(3 * Departures.PATIENCE))

    def wait_too_long(self) -> None:
        for exchange in self._gateway.exchanges:
            exchange.check_progress(self._stand.loop.time() + 1e6)

    @property
    def _start(self) -> Message:
        return next((message for message in self._sent if "status" in message), {})

    @property
    def status(self) -> int:
        accepted = any(message["type"] == "websocket.accept" for message in self._sent)
        return 101 if accepted else int(self._start.get("status", 0))

    @property
    def fields(self) -> list[tuple[str, str]]:
        return [(name.decode(), value.decode()) for name, value in self._start.get("headers", ())]


_KINDS: dict[FrontName, Callable[[Stand], FrontClient]] = {
    "HTTP/1": OverHTTP1,
    "HTTP/2": OverHTTP2,
    "ASGI": OverASGI,
}
FRONTS: tuple[FrontName, ...] = tuple(_KINDS)


def recorded(taken: list[Transition]) -> type[Exchange]:
    """An `Exchange` that adds every change of its state to `taken`."""

    class Recorded(Exchange):
        __slots__ = ("_now",)
        _now: State

        @property
        def state(self) -> State:
            return self._now

        @state.setter
        def state(self, state: State) -> None:
            before = getattr(self, "_now", State.IDLE)
            if state is not before:
                taken.append((before, state))
            self._now = state

    return Recorded
