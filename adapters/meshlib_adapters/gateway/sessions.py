"""Sticky sessions of several workers: what one has learned, all know.

The connections of one client go to different workers. A worker that has not seen the answer which began a session would send it anywhere;
so each new binding is told to the supervisor, which tells all workers, in one order. Until then, some milliseconds, a
session that goes on over another connection may meet another endpoint: the application sets its cookie well before it counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from meshlib.balancing.stickiness import MAX_VALUE, LearnedTable, session_key
from meshlib.decision import Forward
from meshlib.messages import FieldSection
from meshlib_adapters.gateway.reports import Session
from meshlib_adapters.http import HTTPSettings, Upstreams
from meshlib_adapters.publish import CurrentSnapshot

if TYPE_CHECKING:
    from meshlib_adapters.http.pools import EndpointPool

__all__ = ["BATCH", "SessionStore", "SharingUpstreams"]

# Sessions in one frame: few enough for the other side to take them between two requests.
BATCH = 64

_GATHER = 0.002  # seconds in which new sessions come together in one frame
_AGAIN = 0.25  # a used session is told again after this share of its time to live, or the others would forget it


class _SharedTable(LearnedTable):
    """Tells what it learns, unless others know it already."""

    __slots__ = ("_again", "_share", "_told")

    def __init__(self, share: Callable[[bytes, str], None], settings: HTTPSettings) -> None:
        super().__init__(limit=settings.sticky_sessions, ttl=settings.sticky_ttl)
        self._share = share
        self._again = settings.sticky_ttl * _AGAIN
        self._told: OrderedDict[bytes, float] = OrderedDict()

    def learn(self, value: bytes, endpoint_id: str, now: float) -> None:
        if len(value) > MAX_VALUE:
            return
        value = session_key(value)
        told = self._told.get(value)
        if told is None or now - told > self._again or self.get(value, now) != endpoint_id:
            self._note(value, now)
            self._share(value, endpoint_id)
        super().learn(value, endpoint_id, now)

    def adopt(self, value: bytes, endpoint_id: str, now: float) -> None:
        """What another worker has learned."""
        self._note(value, now)
        super().learn(value, endpoint_id, now)

    def forget_expired(self, now: float, *, most: int = 1000) -> None:
        super().forget_expired(now, most=most)
        while self._told and (len(self._told) > len(self) or now - next(iter(self._told.values())) > self._again):
            self._told.popitem(last=False)

    def _note(self, value: bytes, now: float) -> None:
        self._told[value] = now
        self._told.move_to_end(value)


class SharingUpstreams(Upstreams):
    """Upstreams whose sticky sessions are those of all workers.

    New ones are handed to `share` in batches of at most `BATCH`; those of others come by `adopt`.
    """

    def __init__(
        self,
        current: CurrentSnapshot,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        share: Callable[[list[Session]], None],
    ) -> None:
        super().__init__(current, settings, loop)
        self._current = current
        self._share = share
        self._new: list[Session] = []

    def sticky_learn(self, decision: Forward, asked: FieldSection, answer: FieldSection, pool: EndpointPool) -> None:
        cookie = decision.route.sticky_cookie
        if cookie is not None:
            self._table(decision.upstream.name, cookie)
            super().sticky_learn(decision, asked, answer, pool)

    def adopt(self, sessions: Iterable[Session]) -> None:
        """Take over what other workers, or this one, have learned."""
        now = self.loop.time()
        for name, cookie, value, endpoint_id in sessions:
            if (table := self._table(name, cookie)) is not None:
                table.adopt(value, endpoint_id, now)

    def _table(self, name: str, cookie: str) -> _SharedTable | None:
        upstream = self._current.table.upstreams.get(name)
        if upstream is None:
            return None
        sticky = self.state(upstream).sticky
        table = sticky.get(cookie)
        if table is None:
            sticky[cookie] = table = _SharedTable(lambda value, endpoint_id: self._add((name, cookie, value, endpoint_id)), self.settings)
        assert isinstance(table, _SharedTable)
        return table

    def _add(self, session: Session) -> None:
        if not self._new:
            self.loop.call_later(_GATHER, self._hand_over)
        self._new.append(session)

    def _hand_over(self) -> None:
        new, self._new = self._new, []
        for start in range(0, len(new), BATCH):
            self._share(new[start : start + BATCH])


class SessionStore:
    """The supervisor's memory of sessions, for workers that begin later: at most `limit`, each for `ttl` seconds."""

    def __init__(self, limit: int, ttl: float) -> None:
        self._limit = limit
        self._ttl = ttl
        self._sessions: OrderedDict[tuple[str, str, bytes], tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, sessions: Iterable[Session]) -> None:
        """Remember; what was longest unused makes room."""
        now = time.monotonic()
        for upstream, cookie, value, endpoint_id in sessions:
            key = (upstream, cookie, value)
            self._sessions[key] = (endpoint_id, now)
            self._sessions.move_to_end(key)
        while len(self._sessions) > self._limit:
            self._sessions.popitem(last=False)

    def all(self) -> list[Session]:
        """What is not forgotten, oldest first."""
        oldest = time.monotonic() - self._ttl
        return [(*key, endpoint_id) for key, (endpoint_id, told) in self._sessions.items() if told >= oldest]
