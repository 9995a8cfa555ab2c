"""`splice`: bytes between two connections of a program's own, both ways, until both have ended.

    upstream = await asyncio.open_connection(endpoint.host, endpoint.port)
    result = await splice((reader, writer), upstream, first=found.bytes)

Between plain sockets it is the relay of the gateway (`meshlib_adapters.relay.relay`), where on
Linux the kernel moves what is much; where TLS stands in between, the bytes are copied.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Final, Literal, cast
from weakref import WeakKeyDictionary

from meshlib_adapters.relay.relay import Relay, RelayResources
from meshlib_adapters.sockets.closing import half_close
from meshlib_adapters.streams.copying import End, Spliced, abort, copy

__all__ = ["splice"]

_READ: Final = 64 * 1024


async def splice(a: End, b: End, *, first: bytes = b"", idle: float | None = None) -> Spliced:
    """Pass on what comes from `a` to `b` and from `b` to `a`, until both have ended.

    Each is a connected, non-blocking socket (`ValueError` for one that blocks), or a pair of
    asyncio's StreamReader and StreamWriter. `first` are bytes already read from `a`: they go to `b`
    before anything else. The end of one direction is passed on (half-close) and the other goes on,
    except to TLS, which knows no half-closed connection: there it is the end of both. `idle`:
    seconds without a byte delivered in either direction, after which to stop (None: never).

    Both ends stay the caller's, who closes them afterwards; nobody else may use them meanwhile.
    Where a connection has broken or been idle, or the caller is cancelled, that closing resets
    both, so that nobody takes what was cut off for the whole.
    """
    for end in (a, b):
        if isinstance(end, socket.socket) and end.gettimeout() != 0:
            raise ValueError("a socket that blocks would block the event loop: setblocking(False)")
    try:
        if not (_is_plain(a) and _is_plain(b)):
            return await copy(a, b, first, idle)
        from_a, from_b = await _unread(a), await _unread(b)
        with _duplicate(a) as left, _duplicate(b) as right:
            result = await _relay(left, right, first + from_a, from_b, idle)
        if result.outcome == "closed":
            for end in (a, b):
                _send_end(end)
        return result
    except BaseException:
        abort(a)
        abort(b)
        raise


def _is_plain(end: End) -> bool:
    """Whether the socket of an end can be used in its place: no TLS is in between, nothing that was
    written waits outside the kernel, and it has not broken yet.
    """
    if not isinstance(end, tuple):
        return True
    reader, writer = end
    transport = writer.transport
    return (
        reader.exception() is None
        and transport.get_extra_info("ssl_object") is None
        and transport.get_extra_info("socket") is not None
        and not transport.is_closing()
        and not transport.get_write_buffer_size()
    )


async def _unread(end: End) -> bytes:
    # What asyncio has read already; from here on it reads nothing more.
    if not isinstance(end, tuple):
        return b""
    reader, transport = end[0], cast("asyncio.Transport", end[1].transport)
    pieces: list[bytes] = []
    while True:
        # Each time, because a reader that was full resumes when it is read.
        transport.pause_reading()
        try:
            async with asyncio.timeout(0):
                data = await reader.read(_READ)
        except TimeoutError:
            return b"".join(pieces)
        if not data:
            return b"".join(pieces)
        pieces.append(data)


def _duplicate(end: End) -> socket.socket:
    # A relay closes what it is given, and the end stays the caller's.
    sock = end[1].get_extra_info("socket") if isinstance(end, tuple) else end
    return socket.socket(fileno=os.dup(sock.fileno()))


def _send_end(end: End) -> None:
    # The relay has closed its duplicate, and the end itself is still open.
    if isinstance(end, tuple):
        half_close(end[1].transport)
    else:
        with contextlib.suppress(OSError):  # the peer was quicker
            end.shutdown(socket.SHUT_WR)


class _Shared:
    """Resources of the relays of one event loop, while there are any."""

    def __init__(self) -> None:
        self.resources = RelayResources()
        self.users = 0


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()


async def _relay(
    left: socket.socket, right: socket.socket, first: bytes, first_left: bytes, idle: float | None
) -> Spliced:
    loop = asyncio.get_running_loop()
    shared = _shared.get(loop)
    if shared is None:
        shared = _shared[loop] = _Shared()
    shared.users += 1
    ended: asyncio.Future[bool] = loop.create_future()
    try:
        relay = Relay(
            loop,
            left,
            right,
            shared.resources,
            ended.set_result,
            first=first,
            first_left=first_left,
        )
        try:
            return await _end_of(relay, ended, idle)
        finally:
            relay.abort()  # which does nothing to one that has ended
    finally:
        shared.users -= 1
        if not shared.users:
            del _shared[loop]
            shared.resources.close()


async def _end_of(relay: Relay, ended: asyncio.Future[bool], idle: float | None) -> Spliced:
    now = asyncio.get_running_loop().time
    while not ended.done():
        left = None if idle is None else relay.last_active + idle - now()
        if left is not None and left <= 0:
            return Spliced(relay.bytes_right, relay.bytes_left, "idle_timeout")
        await asyncio.wait({ended}, timeout=left)
    outcome: Literal["closed", "reset"] = "reset" if ended.result() else "closed"
    return Spliced(relay.bytes_right, relay.bytes_left, outcome)
