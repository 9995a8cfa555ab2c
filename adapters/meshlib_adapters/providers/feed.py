"""From a provider's snapshot to the mesh: published in a thread of its own where that takes long, and failures logged."""

from __future__ import annotations

import logging
import time
from typing import Final

import anyio.to_thread

from meshlib.mesh import Mesh
from meshlib.model import Snapshot

__all__ = ["log_failure", "publish_apart"]

_logger = logging.getLogger(__name__)

# Routes that are compiled at once, in some milliseconds; more are compiled while requests go on. Contributions that are
# known cost little, but are looked at.
_AT_ONCE: Final = 300
_KNOWN_FOR_A_NEW: Final = 20
_TRIES: Final = 3


async def publish_apart(mesh: Mesh, name: str, snapshot: Snapshot) -> bool:
    """Do as `mesh.publish` for the event loop's thread, which goes on meanwhile: what takes long is computed in another one.

    What else is published meanwhile is not lost: then it is computed once more, at last here.
    """
    for _ in range(_TRIES if _takes_long(mesh, name, snapshot) else 0):
        draft = await anyio.to_thread.run_sync(lambda: mesh.draft(name, snapshot, now=time.time()))
        if mesh.is_fresh(draft):
            return mesh.commit(draft)
    return mesh.publish(name, snapshot, now=time.time())


def log_failure(error: Exception) -> None:
    """Log what a subscriber of the mesh raised; for `Mesh.on_error`."""
    _logger.error("a subscriber of the mesh failed on a change of routes", exc_info=error)


def _takes_long(mesh: Mesh, name: str, snapshot: Snapshot) -> bool:
    before = mesh.parts.get(name)
    known = set(map(id, before.contributions)) if before is not None else set()
    new = sum(1 + len(item.routes) for item in snapshot.contributions if id(item) not in known)
    return new + len(snapshot.contributions) // _KNOWN_FOR_A_NEW > _AT_ONCE
