"""The sticky bindings of all upstreams of one process, bounded for each upstream and in all.

Services and their clients determine which cookies are sticky and how many sessions there are, so
the largest table makes room first: no service can push out the sessions of another.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from meshlib.balancing.stickiness import MAX_VALUE, LearnedTable, Standing, session_key

__all__ = ["Binding", "SessionLimits", "SessionTables"]

# Values of one request that are remembered when none of them is known.
_MOST_MET: Final = 4


class Binding(NamedTuple):
    """A session as processes report it to each other. `value` is the key by `session_key`;
    `endpoint_id` "": it was forgotten.
    """

    upstream: str
    cookie: str
    value: bytes
    endpoint_id: str
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Numbers of sessions remembered, and seconds for which they are kept after their last use.

    Learned ones of one upstream and cookie (`table`), of one upstream, and in all; of those that no
    application has set here `unknown` of one upstream and cookie, `unknown_total` in all. Values of
    more than `value_size` bytes are not remembered.
    """

    table: int = 100_000
    upstream: int = 100_000
    total: int = 250_000
    unknown: int = 1000
    unknown_total: int = 10_000
    value_size: int = MAX_VALUE
    ttl: float = 1800.0


class _Shelf:
    # The tables of one upstream, by the cookie's name. Only non-empty tables stay.
    __slots__ = ("learned", "tables")

    def __init__(self) -> None:
        self.learned = 0
        self.tables: dict[str, LearnedTable] = {}


class _Change(NamedTuple):
    # A table, its place, and its former content.
    upstream: str
    cookie: str
    shelf: _Shelf
    table: LearnedTable
    learned: int
    met: int


class SessionTables:
    """(upstream, cookie name, value) -> endpoint id, within `limits`. `len()` is the number of
    sessions.

    Changes return the news for other processes that keep the same sessions; those take it by
    `adopt`.
    """

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self._limits = limits or SessionLimits()
        self._shelves: dict[str, _Shelf] = {}
        self._tables = 0
        self._learned = 0
        self._met = 0

    def __len__(self) -> int:
        return self._learned + self._met

    def __repr__(self) -> str:
        return f"<SessionTables {self._learned} learned, {self._met} met, in {self._tables} tables>"

    def find(self, upstream: str, cookie: str, values: Sequence[bytes], now: float) -> list[str]:
        """The endpoint ids to which `values` of one request are bound, the best known first; their
        times begin anew.
        """
        shelf = self._shelves.get(upstream)
        table = shelf.tables.get(cookie) if shelf is not None else None
        if table is None:
            return []
        if len(values) == 1:
            known = table.get(values[0], now)
            return [] if known is None else [known]
        return [endpoint_id for _, endpoint_id in table.find(values, now)]

    def learn(
        self, upstream: str, cookie: str, value: bytes, endpoint_id: str, now: float
    ) -> list[Binding]:
        """Bind a session that the application has begun."""
        change = self._begin(upstream, cookie)
        standing = change.table.learn(value, endpoint_id, now)
        self._end(change)
        return (
            [Binding(upstream, cookie, session_key(value), endpoint_id, standing)]
            if standing is not None
            else []
        )

    def keep(
        self, upstream: str, cookie: str, values: Sequence[bytes], endpoint_id: str, now: float
    ) -> list[Binding]:
        """Note that an endpoint has served a request with these `values`, none of which the
        application has changed.

        The sessions that are bound to it stay; when none of them is, the best known moves there;
        when none is known, the first few are met.
        """
        shelf = self._shelves.get(upstream)
        table = shelf.tables.get(cookie) if shelf is not None else None
        if table is not None and len(values) == 1 and table.is_settled(values[0], endpoint_id, now):
            table.get(values[0], now)
            return []
        change = self._begin(upstream, cookie)
        found = change.table.find(values, now)
        bound = [value for value, known in found if known == endpoint_id]
        chosen = bound or [value for value, _ in found[:1]] or values[:_MOST_MET]
        told = [(value, change.table.meet(value, endpoint_id, now)) for value in chosen]
        self._end(change)
        return [
            Binding(upstream, cookie, session_key(value), endpoint_id, new)
            for value, new in told
            if new is not None
        ]

    def forget(self, upstream: str, cookie: str, value: bytes) -> list[Binding]:
        """Forget a session that the application has ended."""
        change = self._begin(upstream, cookie)
        known = change.table.forget(value)
        self._end(change)
        return (
            [Binding(upstream, cookie, session_key(value), "", Standing.LEARNED)] if known else []
        )

    def adopt(self, told: Binding, now: float) -> None:
        """Apply a change that another process has reported."""
        change = self._begin(told.upstream, told.cookie)
        if told.endpoint_id:
            change.table.adopt(told.value, told.endpoint_id, told.standing, now)
        else:
            change.table.forget(told.value)
        self._end(change)

    def all(self, now: float) -> list[Binding]:
        """All sessions that are not forgotten."""
        return [
            Binding(upstream, cookie, value, endpoint_id, standing)
            for upstream, shelf in self._shelves.items()
            for cookie, table in shelf.tables.items()
            for value, endpoint_id, standing in table.sessions(now)
        ]

    def keep_upstreams(self, known: Container[str]) -> None:
        """Forget the sessions of all upstreams but these."""
        for upstream in [name for name in self._shelves if name not in known]:
            shelf = self._shelves.pop(upstream)
            self._tables -= len(shelf.tables)
            self._learned -= shelf.learned
            self._met -= sum(table.met for table in shelf.tables.values())

    def forget_expired(self, now: float, *, most: int = 1000) -> None:
        """Drop sessions whose time is over, at most `most` of each standing in each table."""
        for upstream, cookie in [
            (upstream, cookie)
            for upstream, shelf in self._shelves.items()
            for cookie in shelf.tables
        ]:
            change = self._begin(upstream, cookie)
            change.table.forget_expired(now, most=most)
            self._end(change)

    def _begin(self, upstream: str, cookie: str) -> _Change:
        # A table that is about to change, made if there is none; `_end` counts it.
        shelf = self._shelves.get(upstream) or _Shelf()
        table = shelf.tables.get(cookie)
        if table is None:
            limits = self._limits
            table = LearnedTable(
                limit=limits.table,
                unknown=limits.unknown,
                ttl=limits.ttl,
                value_size=limits.value_size,
            )
        return _Change(upstream, cookie, shelf, table, table.learned, table.met)

    def _end(self, change: _Change) -> None:
        # The table over a limit makes room, and no table is kept empty.
        upstream, cookie, shelf, table, learned, met = change
        self._shelves[upstream] = shelf
        if cookie not in shelf.tables:
            shelf.tables[cookie] = table
            self._tables += 1
        shelf.learned += table.learned - learned
        self._learned += table.learned - learned
        self._met += table.met - met
        while shelf.learned > self._limits.upstream:
            self._evict(upstream)
        while self._learned > self._limits.total:
            self._evict(self._largest(upstream))
        while self._met > self._limits.unknown_total:
            self._evict_met(upstream, cookie)
        self._drop_if_empty(upstream, cookie)

    def _largest(self, upstream: str) -> str:
        # A table with at least the average is large enough: at the limit that saves a walk through
        # all upstreams each time.
        own = self._shelves.get(upstream)
        if own is not None and own.learned * len(self._shelves) >= self._learned:
            return upstream
        return max(self._shelves, key=lambda name: self._shelves[name].learned)

    def _evict(self, upstream: str) -> None:
        shelf = self._shelves[upstream]
        cookie = max(shelf.tables, key=lambda name: shelf.tables[name].learned)
        shelf.tables[cookie].evict()
        shelf.learned -= 1
        self._learned -= 1
        self._drop_if_empty(upstream, cookie)

    def _evict_met(self, upstream: str, cookie: str) -> None:
        own = self._shelves.get(upstream)
        if (
            own is None
            or cookie not in own.tables
            or own.tables[cookie].met * self._tables < self._met
        ):
            places = ((name, key) for name, shelf in self._shelves.items() for key in shelf.tables)
            upstream, cookie = max(
                places, key=lambda place: self._shelves[place[0]].tables[place[1]].met
            )
        self._shelves[upstream].tables[cookie].evict_met()
        self._met -= 1
        self._drop_if_empty(upstream, cookie)

    def _drop_if_empty(self, upstream: str, cookie: str) -> None:
        shelf = self._shelves.get(upstream)
        if shelf is not None and cookie in shelf.tables and not len(shelf.tables[cookie]):
            del shelf.tables[cookie]
            self._tables -= 1
            if not shelf.tables:
                del self._shelves[upstream]
