"""Tables on their way to workers: each is pickled in a thread, and then sent to those that want it.

Pickling 60,000 routes takes two seconds. In the event loop, reports, the admin page and signals
would wait for it. One table is made at a time, so that an older one never comes after a newer one.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable

from meshlib.mesh import Mesh
from meshlib_adapters.workers.messages import make_table

__all__ = ["TableSender"]

logger = logging.getLogger("meshlib_adapters.gateway.workers")


class TableSender:
    """Sends the newest table of `mesh` to workers, as `send(number, frame)`. To be made inside the
    event loop.
    """

    def __init__(self, mesh: Mesh, send: Callable[[int, bytes], None]) -> None:
        self._mesh = mesh
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._wanted: set[int] = set()
        self._making = False
        self._stopped = False

    def want(self, numbers: Iterable[int]) -> None:
        """Send the newest table to these workers, as soon as it is made.

        Each gets it once, however often it is wanted until then. While tables change faster than
        they are made, it gets those that are made, in their order, and the newest in the end.
        """
        self._wanted.update(numbers)
        if self._wanted and not self._making and not self._stopped:
            self._make()

    def stop(self) -> None:
        """Send nothing more. May be called twice."""
        self._stopped = True
        self._wanted.clear()

    def _make(self) -> None:
        version, snapshot = self._mesh.version, self._mesh.snapshot
        self._making = True
        made = self._loop.run_in_executor(None, make_table, version, snapshot)
        made.add_done_callback(functools.partial(self._made, version))

    def _made(self, version: int, made: asyncio.Future[bytes]) -> None:
        self._making = False
        if self._stopped or made.cancelled():
            return
        error = made.exception()
        if error is not None:
            logger.error("workers are not told version %d of the routes", version, exc_info=error)
        else:
            frame = made.result()
            for number in sorted(self._wanted):
                self._send(number, frame)
        if version != self._mesh.version:
            self._make()
        else:
            self._wanted.clear()
