"""Endpoints that a test scripts: `FakeUpstream`, on a loopback address of its own."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Final, Self, TypeVar

from meshlib_adapters.asgi.types import ASGIApplication
from meshlib_adapters.sockets.closing import reset
from meshlib_adapters.testing.asgi_server import Lifespan, respond
from meshlib_adapters.testing.connection import (
    ReceivedRequest,
    RequestStream,
    Serve,
    ServerConnection,
)
from meshlib_adapters.testing.script import Headers, ScriptedResponses

__all__ = ["FakeUpstream"]

T = TypeVar("T")
_PATIENCE: Final = 10.0  # seconds for what takes milliseconds
_numbers = itertools.count(1)
_addresses = itertools.count(2)
# Addresses tried for a port; others may have some of them.
_TRIES: Final = 50


class FakeUpstream(ScriptedResponses):
    """An HTTP/1.1 server on loopback, in a thread of its own, that responds with its `name` until
    it is told otherwise.

        with FakeUpstream("shop-1", port=8080) as upstream:
            mesh = meshlib.Mesh({"shop.example.com": [upstream.address]})

    `async with` does the same. Several may have one `port`, as the tasks of a service have: without
    a `host` each listens on a loopback address of its own (127.0.0.0/8; on systems other than Linux
    say host="127.0.0.1"). Without a `port` it takes a free one. `status`, `body` (None: the name)
    and `headers` are its response; with an ASGI `app`, that responds, in this thread, to requests
    that no script is for. `tls` is the context of a server that speaks TLS. Raises OSError on entry
    when it cannot listen.

    `respond`, `fail`, `slow`, `hang`, `reset`, `cut` and `echo` script what becomes of the next
    `times` requests, one script after the other; without `times` that of all others, until `heal`
    or another script without. `refuse` is an endpoint that is gone. `requests` are those that came
    whole, in order; those for an `app` come without their bodies.
    """

    def __init__(
        self,
        name: str = "",
        *,
        host: str = "",
        port: int = 0,
        status: int = 200,
        body: bytes | str | None = None,
        headers: Headers = (),
        app: ASGIApplication | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(name or f"upstream-{next(_numbers)}", status, body, headers)
        self.host = host
        self.port = port
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self._app = app
        self._tls = tls
        self._lifespan = Lifespan(app) if app is not None else None
        self._changed = threading.Condition()
        self._open: set[ServerConnection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<FakeUpstream {self.name} {self.address} requests={len(self.requests)}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """ "HOST:PORT", for routes in code."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """ "http://HOST:PORT", or https."""
        return f"http{'s' if self._tls else ''}://{self.address}"

    # Start and end.

    def start(self) -> None:
        """Listen; nothing happens where it does already."""
        if self._loop is not None:
            return
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"FakeUpstream {self.name}", daemon=True
        )
        self._thread.start()
        try:
            self._run(self._listen)
            if self._lifespan is not None:
                self._run(self._lifespan.start)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every connection, and listen no more; nothing happens where it does not."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self.heal()
        self._run(self._end)
        if self._lifespan is not None:
            self._run(self._lifespan.stop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE)
        loop.close()
        self._loop = self._thread = None

    def refuse(self) -> None:
        """Die: connections are reset, and new ones refused, until `listen`."""
        self._run(self._end)

    def listen(self) -> None:
        """Be there again, at the same address."""
        if self._server is None:
            self._run(self._listen)

    # What became of it.

    @property
    def count(self) -> int:
        """Number of requests that came whole."""
        return len(self.requests)

    @property
    def last(self) -> ReceivedRequest:
        """The last request. Raises LookupError before the first."""
        if not self.requests:
            raise LookupError(f"{self.name} has got no request")
        return self.requests[-1]

    def wait_for(self, count: int = 1, seconds: float = _PATIENCE) -> None:
        """Wait until so many requests have come. Raises AssertionError when that takes too long.
        To be called from another thread than the one that makes them.
        """
        end = time.monotonic() + seconds
        with self._changed:
            while len(self.requests) < count:
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
        if len(self.requests) < count:
            raise AssertionError(
                f"{self.name} was to get {count} requests, and has got {len(self.requests)}"
            )

    def clear(self) -> None:
        """Forget the requests so far."""
        self.requests.clear()

    # In the thread.

    def _lift(self, event: asyncio.Event) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(event.set)

    def _run(self, work: Callable[[], Coroutine[None, None, T]]) -> T:
        loop = self._loop
        if loop is None:
            raise RuntimeError(f"{self.name} does not run; write: with FakeUpstream() as upstream")
        return asyncio.run_coroutine_threadsafe(work(), loop).result(_PATIENCE * 4)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for host in [self.host] if self.host else _loopback_addresses():
            try:
                server = await loop.create_server(
                    self._connection, host, self.port, backlog=128, ssl=self._tls
                )
            except PermissionError as error:
                message = f"only root may listen on port {self.port}; choose one above 1023"
                raise PermissionError(error.errno, message) from None
            except OSError as error:
                if self.host or error.errno != errno.EADDRINUSE:
                    raise
                continue
            self._server = server
            self.host, self.port = server.sockets[0].getsockname()[:2]
            return
        raise OSError(errno.EADDRINUSE, f"no loopback address has its port {self.port} free")

    async def _end(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = []
        for connection in list(self._open):
            reset(connection.transport)
            if connection.task is not None:
                connection.task.cancel()
                tasks.append(connection.task)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next round of the loop

    def _connection(self) -> ServerConnection:
        number = self.connections
        self.connections += 1
        serve = self._serving(number)

        async def serve_counted(connection: ServerConnection) -> None:
            self._open.add(connection)
            try:
                await serve(connection)
            finally:
                self._open.discard(connection)

        return ServerConnection(serve_counted)

    def _serving(self, number: int) -> Serve:
        async def serve(connection: ServerConnection) -> None:
            while raw := await connection.head():
                stream = RequestStream(connection, raw)
                act = self.next_act()
                if act is None and self._app is not None and self._lifespan is not None:
                    self._note(await stream.received(number, body=False))
                    state, place = self._lifespan.state, (self.host, self.port)
                    if not await respond(self._app, connection, stream, place, state):
                        return
                    continue
                request = await stream.received(number)
                self._note(request)
                await self.play(connection, request, act)
                if b"close" in stream.head.fields.connection:
                    return

        return serve

    def _note(self, request: ReceivedRequest) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()


def _loopback_addresses() -> Iterable[str]:
    # The first ones by the process, so that tests that run side by side rarely meet.
    for _ in range(_TRIES):
        number = (os.getpid() * 251 + next(_addresses)) % 0xFE_FFFF
        yield f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255 or 1}"
