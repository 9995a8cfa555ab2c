"""Turns: how much work one connection may cause before everybody else is served.

A read of the event loop may hold thousands of messages, frames or chunks, and uvloop reads one
socket up to 32 times in a row while each read fills its buffer. So each connection, of clients and
of endpoints alike, has a `Turn`: it spends what its bytes cost, and when the turn is over it keeps
what is left, stops reading, and goes on in the loop's next round.

How to use it, for any protocol:

    def data_received(self, data):
        self._unread += data             # or keep (data, position) and go on by offset
        if not self._turn.over:          # else `_work_on` is scheduled and finds the bytes
            self._work()

    def _work(self):
        while there is a whole frame, and this connection is open:
            take it out and serve it
            if not self._turn.spend(FRAME):
                break
        if self._turn.left <= 0:         # also for bytes alone: `spend(len(data) // BYTES)`
            self.transport.pause_reading()  # inside `data_received`: ends uvloop's row of reads
            self._turn.end(self._work_on)

    def _work_on(self):                  # the next round of the loop; the budget is full again
        self._work()
        if not self._turn.over and nothing else wants it paused:
            self.transport.resume_reading()

    def connection_lost(self, exc):
        self._turn.cancel()              # nothing runs any more, whoever uses the object next

Pausing for a turn and pausing for back-pressure are two reasons to pause: keep them apart, and read
only when neither holds. A connection that is paused hears of no end of its peer's (EOF) until it
reads again; `connection_lost` may come at any time.

What is spent is not given back when a turn passes without `end`: a connection that does little in
each of many turns ends one of them now and then, which costs one call of the loop. So the bound
needs no clock and no count of turns, whatever the loop does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["BYTES", "CHUNK", "FRAME", "MESSAGE", "WORK", "Turn"]

# Units of work are about a microsecond of one core. A turn of half a millisecond serves a
# bystander, whose exchange takes some five turns of the loop, within 50 ms beside twenty
# connections that all use theirs up.
WORK: Final = 512
# Reading a head, and responding to it or passing it on.
MESSAGE: Final = 32
# Reading and counting a frame or a TLS record; its payload is spent separately.
FRAME: Final = 8
# A chunk of the chunked coding.
CHUNK: Final = 2
# Bytes that only pass through, per unit: two reads of 256 KiB are a turn.
BYTES: Final = 1024


class Turn:
    """Budget of one connection; `left` is what it may still spend before it has to `end`."""

    __slots__ = ("_handle", "_loop", "left")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.Handle | None = None
        self.left = WORK

    def __repr__(self) -> str:
        return f"<Turn {'over' if self._handle is not None else f'left={self.left}'}>"

    @property
    def over(self) -> bool:
        """Whether the connection waits for its next turn."""
        return self._handle is not None

    def spend(self, work: int) -> bool:
        """Count work done; False when the turn has to end now."""
        self.left = left = self.left - work
        return left > 0

    def end(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` in the loop's next round, with a full budget. Once per turn: a second call
        changes nothing.
        """
        if self._handle is None:
            self._handle = self._loop.call_soon(self._begin, go_on)

    def cancel(self) -> None:
        """Cancel the pending call: the connection is gone."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()
        self.left = WORK

    def _begin(self, go_on: Callable[[], None]) -> None:
        self._handle = None
        self.left = WORK
        go_on()
