"""Fields that a server adds to every response, whatever the application sends."""

from __future__ import annotations

from typing import Final

from meshlib_adapters.asgi.types import Receive, Send

__all__ = ["added_by_server"]

# A response has one of each.
_SINGLE: Final = frozenset({b"date", b"server"})
_NONE: Final[frozenset[bytes]] = frozenset()
_KINDS: Final = {
    (date, server): frozenset(
        name for name, added in ((b"date", date), (b"server", server)) if added
    )
    for date in (False, True)
    for server in (False, True)
}

# The last list of uvicorn's, and what came of it.
_last: tuple[object, frozenset[bytes]] = (None, _NONE)


def added_by_server(receive: Receive, send: Send) -> frozenset[bytes]:
    """Which of Date and Server the server is going to add beside those of an endpoint, as far as
    that can be seen.

    Uvicorn and hypercorn add theirs in front of an application's, unless they are told not to, and
    no message says so. Their `receive` or `send`, where no middleware has wrapped it, is a method
    of an object that knows.
    """
    global _last
    cycle = getattr(receive, "__self__", None)
    pairs = getattr(cycle, "default_headers", None)  # uvicorn, which makes a new list every second
    if pairs is not None and pairs is _last[0]:
        return _last[1]
    if pairs is None:
        pairs = getattr(getattr(cycle, "server_state", None), "default_headers", None)
    if type(pairs) is list:
        _last = pairs, _SINGLE.intersection([name for name, _ in pairs])
        return _last[1]
    config = getattr(getattr(send, "__self__", None), "config", None)
    date = getattr(config, "include_date_header", None)  # hypercorn
    server = getattr(config, "include_server_header", None)
    if isinstance(date, bool) and isinstance(server, bool):
        return _KINDS[date, server]
    return _NONE
