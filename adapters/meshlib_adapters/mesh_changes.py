"""Changes of a mesh, told to what belongs to an event loop, whatever thread they happen in."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

from meshlib.mesh import Mesh

__all__ = ["subscribe_in_loop"]


def subscribe_in_loop(
    mesh: Mesh, loop: asyncio.AbstractEventLoop, callback: Callable[[Mesh], None]
) -> Callable[[], None]:
    """Have `callback` called in `loop` after each change of `mesh`; returns a function that ends
    that.

    A change in the loop's own thread, or while the loop does not run, is told at once, any other
    in the loop's next round. A process that was forked hears nothing: what there is of connections
    is its parent's.
    """
    process = os.getpid()

    def on_change(mesh: Mesh) -> None:
        if process != os.getpid():
            unsubscribe()
        elif not loop.is_running() or _running_loop() is loop:
            callback(mesh)
        else:
            with contextlib.suppress(RuntimeError):  # it has been closed meanwhile
                loop.call_soon_threadsafe(callback, mesh)

    unsubscribe = mesh.subscribe(on_change)
    return unsubscribe


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
