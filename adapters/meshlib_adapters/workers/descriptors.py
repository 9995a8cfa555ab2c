"""The number of connections that the file descriptors of this process allow."""

from __future__ import annotations

import logging
import resource

__all__ = ["connections_that_fit", "raise_limit"]

logger = logging.getLogger("meshlib.workers")

# Kept for what must go on when clients take all they can: the admin listener, discovery, files, and
# connections to endpoints.
_LEAST_RESERVE = 64
_MOST_RESERVE = 1024
_RESERVED_SHARE = 8


def raise_limit() -> int:
    """Allow this process as many open files as the system permits; returns the number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_that_fit(
    wanted: int, descriptors: int, *, each: int, what: str, setting: str = "limits.max_connections"
) -> int:
    """`wanted` connections of `each` descriptors, or as many as there is room for, at least one;
    with a warning in the log when they are fewer.

    With more, a listener could neither connect to an endpoint nor respond to its operator.
    """
    if descriptors == resource.RLIM_INFINITY:
        return wanted
    reserve = min(max(_LEAST_RESERVE, descriptors // _RESERVED_SHARE), _MOST_RESERVE)
    room = max(1, (descriptors - reserve) // each)
    if wanted > room:
        message = (
            "%d open files are enough for %d %s connections, not for the %d of %s: raise nofile"
        )
        logger.warning(message, descriptors, room, what, wanted, setting)
    return min(wanted, room)
