"""The queue of requests to an upstream whose endpoints all have enough to do already.

Bounded in length and in time: a request that waits costs memory and its client's patience, and one
that has waited too long gets an error while somebody still listens (HAProxy's `maxconn` and
`timeout queue`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from meshlib.balancing import StrategyRequest
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.pool import EndpointPool

__all__ = ["PickAsker", "QueuedRequest", "RequestQueue"]


class PickAsker(Protocol):
    """A request that an endpoint is to be picked for."""

    def strategy_request(self) -> StrategyRequest:
        """The view of it that a strategy of the program's own gets."""


class QueuedRequest(PickAsker, Protocol):
    """A request in the queue. Only one of these methods is called, and the request is out then."""

    def on_admitted(self, pool: EndpointPool) -> None:
        """The endpoint has room now."""

    def on_rejected(self, reason: str) -> None:
        """No endpoint will take it: "queue_timeout", or "no_endpoint" when the upstream is gone."""


class RequestQueue:
    """First come, first served. `choose` returns an endpoint with room for a request, or None; it
    also gets the endpoint that the request is bound to, if it is.

    A bound request whose endpoint is busy does not hold up those behind it.
    """

    __slots__ = ("_choose", "_counters", "_entries", "_loop", "_scheduled", "_settings", "_timer")

    def __init__(
        self,
        choose: Callable[[EndpointPool | None, QueuedRequest], EndpointPool | None],
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        counters: UpstreamCounters,
    ) -> None:
        self._choose = choose
        self._settings = settings
        self._loop = loop
        self._counters = counters
        self._entries: deque[tuple[float, QueuedRequest, EndpointPool | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, request: QueuedRequest, preferred: EndpointPool | None) -> bool:
        """Let a request wait; False when the queue is full."""
        if len(self._entries) >= self._settings.queue_size:
            self._counters.rejected += 1
            return False
        self._counters.queued += 1
        self._entries.append((self._loop.time() + self._settings.queue, request, preferred))
        if self._timer is None:
            self._timer = self._loop.call_later(self._settings.queue, self._expire)
        return True

    def remove(self, request: QueuedRequest) -> None:
        """Take a request out, without a call."""
        self._entries = deque(entry for entry in self._entries if entry[1] is not request)

    def wake(self) -> None:
        """Look for room, in the loop's next round: whoever has made some is not finished yet."""
        if self._entries and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._serve)

    def close(self) -> None:
        """Reject all: the upstream is gone."""
        entries, self._entries = self._entries, deque()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for _, request, _ in entries:
            request.on_rejected("no_endpoint")

    def _serve(self) -> None:
        self._scheduled = False
        left: deque[tuple[float, QueuedRequest, EndpointPool | None]] = deque()
        while self._entries:
            entry = self._entries.popleft()
            _, request, preferred = entry
            pool = self._choose(preferred, request)
            if pool is not None:
                request.on_admitted(pool)
            else:
                left.append(entry)
                if preferred is None:
                    break  # no room anywhere
        self._entries = left + self._entries

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._entries and self._entries[0][0] <= now:
            request = self._entries.popleft()[1]
            self._counters.rejected += 1
            request.on_rejected("queue_timeout")
        if self._entries:
            self._timer = self._loop.call_at(self._entries[0][0], self._expire)
