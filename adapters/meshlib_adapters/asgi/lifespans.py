"""Lifespans of several applications behind the one that a server gives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from meshlib_adapters.asgi.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["Lifespans"]

_logger = logging.getLogger("meshlib.asgi")


class Lifespans:
    """Lifespans of `apps`: each application gets one, however often it is among them, and a state
    of its own. One that raises or returns before it has responded has no lifespan.
    """

    def __init__(self, apps: Iterable[ASGIApplication]) -> None:
        self._apps = list({id(app): app for app in apps}.values())
        self._states: dict[int, dict[str, Any]] = {}

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin all in their order, and end them in the reverse one at the server's shutdown. Where
        one fails to begin, those before it are ended, and the server is told why.
        """
        await receive()  # lifespan.startup
        begun: list[_Lifespan] = []
        failure = ""
        try:
            for app in self._apps:
                state = self._states[id(app)] = {}
                lifespan = _Lifespan(app, {**scope, "state": state})
                failure = await lifespan.ask("startup")
                if failure:
                    break
                begun.append(lifespan)
            else:
                await send({"type": "lifespan.startup.complete"})
                await receive()  # lifespan.shutdown
        finally:
            failures = [failure, *[await one.ask("shutdown") for one in reversed(begun)]]
        message = "\n".join(filter(None, failures))
        if failure:
            await send({"type": "lifespan.startup.failed", "message": message})
        elif message:
            await send({"type": "lifespan.shutdown.failed", "message": message})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    def state_of(self, app: ASGIApplication, scope: Scope) -> dict[str, Any]:
        """State for a request to `app`: the server's, and the application's own over it."""
        return {**scope.get("state", {}), **self._states.get(id(app), {})}


class _Lifespan:
    # That of one application, which has a task of its own from its beginning to its end.

    def __init__(self, app: ASGIApplication, scope: Scope) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._response: asyncio.Future[Message] | None = None
        self._task = asyncio.create_task(self._run(app, scope))
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _run(self, app: ASGIApplication, scope: Scope) -> None:
        await app(scope, self._messages.get, self._send)

    async def _send(self, message: Message) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_result(message)

    async def ask(self, phase: str) -> str:
        """Have the application begin or end; the reason why it could not, else ""."""
        if self._task.done():
            return ""  # it has no lifespan
        self._response = response = asyncio.get_running_loop().create_future()
        self._messages.put_nowait({"type": f"lifespan.{phase}"})
        await asyncio.wait({self._task, response}, return_when=asyncio.FIRST_COMPLETED)
        if not response.done():
            error = self._task.exception()
            if phase == "shutdown":
                return repr(error) if error is not None else ""
            _logger.debug("an application has no lifespan: %r", error)
            return ""
        message = response.result()
        if not message["type"].endswith(".failed"):
            return ""
        return str(message.get("message") or f"the {phase} of an application failed")
