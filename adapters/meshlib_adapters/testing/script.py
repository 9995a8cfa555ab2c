"""Scripts of an endpoint: what becomes of the next requests."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from meshlib_adapters.sockets.closing import reset
from meshlib_adapters.testing.connection import ReceivedRequest, ServerConnection, status_line

__all__ = ["Act", "Headers", "ScriptedResponses"]

# Header fields of a response: names with values, or pairs where a name occurs more than once.
Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

_NO_BODY: Final = (204, 304)


@dataclass(slots=True)
class Act:
    """A scripted end of requests: of the next `times` (None: of all from now on). `status` None:
    the response that the endpoint begins with.
    """

    times: int | None = None
    status: int | None = None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    cut: int | None = None
    reset: bool = False
    echo: bool = False
    hang: bool = False
    lifted: asyncio.Event = field(default_factory=asyncio.Event)


class ScriptedResponses:
    """The script of one endpoint; its methods may be called from any thread, `next_act` and `play`
    belong to the event loop of the endpoint.

    A request gets the first act that has `times` left; behind those, the last one without `times`;
    behind that the response that the endpoint begins with.
    """

    def __init__(self, name: str, status: int, body: bytes | str | None, headers: Headers) -> None:
        self.name = name
        self._first = Act(
            status=status, body=_bytes(name if body is None else body), headers=_pairs(headers)
        )
        self._acts: list[Act] = []
        self._lock = threading.Lock()

    def respond(
        self,
        status: int = 200,
        body: bytes | str | None = None,
        headers: Headers = (),
        *,
        times: int | None = None,
    ) -> None:
        """Respond with this (`body` None: the name)."""
        kept = self._first.body if body is None else _bytes(body)
        self._add(Act(times, status=status, body=kept, headers=_pairs(headers)))

    def fail(self, status: int = 503, *, times: int | None = None) -> None:
        """Respond with an error status."""
        self.respond(status, f"{self.name} fails", times=times)

    def echo(self, *, times: int | None = None) -> None:
        """Respond with what came, as JSON: `method`, `target`, `headers` (a list of pairs), `body`
        (as text), and `name`.
        """
        self._add(Act(times, echo=True))

    def slow(self, seconds: float, *, times: int | None = None) -> None:
        """Wait so long before a response."""
        self._add(Act(times, delay=seconds))

    def hang(self, *, times: int | None = None) -> None:
        """Say nothing to a request until `heal`."""
        self._add(Act(times, hang=True))

    def reset(self, *, times: int | None = None) -> None:
        """Reset the connection (RST) in place of a response."""
        self._add(Act(times, reset=True))

    def cut(self, size: int = 0, *, times: int | None = None) -> None:
        """Send only so many bytes of the body, and reset the connection although more was
        announced.
        """
        self._add(Act(times, cut=size))

    def heal(self) -> None:
        """Respond as at first; requests that hang get their responses."""
        with self._lock:
            acts, self._acts = self._acts, []
        for act in acts:
            self._lift(act.lifted)

    def _add(self, act: Act) -> None:
        with self._lock:
            self._acts.append(act)

    def _lift(self, event: asyncio.Event) -> None:
        raise NotImplementedError

    def next_act(self) -> Act | None:
        """The act for the next request, one of its times counted; None: no script is for it."""
        with self._lock:
            for act in self._acts:
                if act.times:
                    act.times -= 1
                    return act
            return next((act for act in reversed(self._acts) if act.times is None), None)

    async def play(
        self, connection: ServerConnection, request: ReceivedRequest, act: Act | None
    ) -> None:
        """Do to the client what the act says. Raises ConnectionError when the client is gone."""
        act = act or self._first
        if act.hang or act.delay:
            await _wait(connection, act)
        if act.reset:
            reset(connection.transport)
            return
        told = self._first if act.status is None else act
        status, body, headers = told.status or 200, told.body, told.headers
        if act.echo:
            body, headers = _echoed(self.name, request), (("Content-Type", "application/json"),)
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
        names = {name.lower() for name, _ in headers}
        if status not in _NO_BODY and not names & {"content-length", "transfer-encoding"}:
            fields += b"Content-Length: %d\r\n" % len(body)
        if request.method == "HEAD" or status in _NO_BODY:
            body = b""
        head = status_line(status) + fields + b"\r\n"
        if act.cut is not None:
            await connection.write(head + body[: act.cut])
            await asyncio.sleep(0.01)  # so that the reset does not take away what was sent
            reset(connection.transport)
            return
        await connection.write(head + body)


async def _wait(connection: ServerConnection, act: Act) -> None:
    # Until its time is over, the test lifts it, or the client gives up.
    waits = [asyncio.create_task(event.wait()) for event in (act.lifted, connection.ended)]
    done, left = await asyncio.wait(
        waits, timeout=None if act.hang else act.delay, return_when=asyncio.FIRST_COMPLETED
    )
    for wait in left:
        wait.cancel()
    if waits[1] in done:
        raise ConnectionResetError("the client is gone")


def _echoed(name: str, request: ReceivedRequest) -> bytes:
    told = {
        "name": name,
        "method": request.method,
        "target": request.target,
        "headers": [list(pair) for pair in request.headers],
        "body": request.body.decode("utf-8", "replace"),
    }
    return json.dumps(told).encode()


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _pairs(headers: Headers) -> tuple[tuple[str, str], ...]:
    return tuple(headers.items() if isinstance(headers, Mapping) else headers)
