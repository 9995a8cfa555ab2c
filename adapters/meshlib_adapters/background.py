"""`BackgroundLoop`: an event loop in a thread of its own, for code that has none: WSGI
applications, synchronous clients.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, TypeVarTuple

__all__ = ["BackgroundLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_Last: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

_Started: TypeAlias = "Future[tuple[asyncio.AbstractEventLoop, asyncio.Future[_Last | None]]]"

# Held for a moment by the first call in a forked process.
_forked: Final = threading.Lock()
# Loops of a process that this one was forked from. Their sockets and their epoll are the parent's,
# too, so nothing of them may be closed, and so they must not be collected either.
_left_behind: Final[list[_Running]] = []


class _Running(NamedTuple):
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Future[_Last | None]
    thread: threading.Thread


class BackgroundLoop:
    """An event loop of asyncio in a thread of its own, which the first `call` starts, and the first
    one in a process that was forked, which has no threads, starts again.

    Any thread may call any method. Nothing is started by making one, and the thread does not keep
    the interpreter from ending. `name` is the thread's.
    """

    def __init__(self, name: str = "meshlib") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._running: _Running | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not closed since."""
        return self._running is not None and self._process == os.getpid()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, started if it was not."""
        self._notice_fork()
        with self._lock:
            return self._started().loop

    def call(
        self,
        function: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> T:
        """Run `function(*args)` in the loop, and return or raise what it does. `loop`: only in this
        one, and not in another that was started since.

        A caller that is interrupted (KeyboardInterrupt) cancels it. `RuntimeError` when called in
        the loop's own thread, which would wait for itself; `concurrent.futures.CancelledError` when
        `close` ends it, or has ended `loop`.
        """
        future = self.begin(function, *args, loop=loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def begin(
        self,
        function: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Future[T]:
        """Begin what `call` does, and return its future, whose `cancel` cancels it."""
        self._notice_fork()
        with self._lock:  # so that `close` finds it begun, and cancels it, or not at all
            if loop is not None and (self._running is None or self._running.loop is not loop):
                raise CancelledError
            running = self._started()
            if running.thread is threading.current_thread():
                raise RuntimeError("this is the background loop's own thread: await instead")
            return asyncio.run_coroutine_threadsafe(function(*args), running.loop)

    def close(self, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Cancel what still runs, run `last`, and end the thread. Harmless when there is none; the
        next `call` starts another.
        """
        self._notice_fork()
        with self._lock:
            running, self._running = self._running, None
            if running is not None:
                running.loop.call_soon_threadsafe(running.stop.set_result, last)
        if running is not None:
            running.thread.join()

    def _started(self) -> _Running:
        running = self._running
        if running is None:
            started: _Started = Future()
            thread = threading.Thread(target=_run, args=(started,), name=self._name, daemon=True)
            thread.start()
            self._running = running = _Running(*started.result(), thread)
        return running

    def _notice_fork(self) -> None:
        if self._process == os.getpid():
            return
        with _forked:
            if self._process != os.getpid():
                if self._running is not None:
                    _left_behind.append(self._running)
                self._running = None
                self._lock = threading.Lock()  # nobody may be left to release the other one
                self._process = os.getpid()


def _run(started: _Started) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        stop: asyncio.Future[_Last | None] = loop.create_future()
        started.set_result((loop, stop))
        last = await stop
        if last is not None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await last()

    try:
        with asyncio.Runner() as runner:
            runner.run(serve())
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
