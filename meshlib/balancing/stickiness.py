"""One session, one endpoint: learn from the cookie that the application sets, and find it again.

HRM's way: the gateway sets, changes and removes no cookie. A table is bounded and forgets unused
sessions; it keeps the endpoint's stable identity, so a session survives the replacement of its
task.

Anybody can write a cookie, so sessions are kept in three parts, and a stranger's values in one part
do not affect the next: *met* are values that came with a request and that no application has set
here; *learned* are those that an application has set; *proven* are learned ones that a client has
brought back. Met values evict only met ones; new sessions evict new ones before they evict one that
is in use.
"""

from __future__ import annotations

import enum
import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

__all__ = ["MAX_VALUE", "LearnedTable", "Standing", "session_key"]

# A longer value is not remembered. RFC 6265 6.1 has clients keep 4096 bytes a cookie; some
# frameworks put a signed session into it.
MAX_VALUE: Final = 4096
# A longer value is kept as its digest: the table must not become a store for anybody's data.
_KEPT_AS_IT_IS: Final = 64
# Sessions that nobody has brought back yet keep this share of a full table, or nothing new could be
# learned in it.
_SHARE_OF_NEW: Final = 8
# A session in use is news again after this share of its time to live, or others would forget it.
_NEWS_AGAIN: Final = 0.25


class Standing(enum.IntEnum):
    """Standing of a session; see the module."""

    MET = 0
    LEARNED = 1
    PROVEN = 2


class _Entry:
    __slots__ = ("endpoint_id", "told", "told_as", "used")

    def __init__(self, endpoint_id: str, now: float) -> None:
        self.endpoint_id = endpoint_id
        self.used = now
        self.told = now
        self.told_as = -1


class LearnedTable:
    """Cookie value -> endpoint id: at most `limit` sessions that were learned and `unknown` that
    were only met.

    Each is forgotten `ttl` seconds after its last use; values of more than `value_size` bytes are
    not remembered. One table for each upstream and cookie name: a session of one service means
    nothing to another. When the endpoint that `get` names is gone, choose another and `meet` that.

    `learn` and `meet` return the news for others who keep the same sessions: the standing of a
    session that is new, has moved, has improved, or was last reported a quarter of `ttl` ago; else
    None.
    """

    __slots__ = ("_again", "_limit", "_parts", "_proven", "_ttl", "_unknown", "_value_size")

    def __init__(
        self,
        *,
        limit: int = 100_000,
        unknown: int = 1000,
        ttl: float = 1800.0,
        value_size: int = MAX_VALUE,
    ) -> None:
        self._parts: tuple[OrderedDict[bytes, _Entry], ...] = (
            OrderedDict(),
            OrderedDict(),
            OrderedDict(),
        )  # by standing
        self._proven = self._parts[Standing.PROVEN]
        self._limit = limit
        self._unknown = unknown
        self._ttl = ttl
        self._again = ttl * _NEWS_AGAIN
        self._value_size = value_size

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def learned(self) -> int:
        """Number of sessions that an application has begun."""
        return len(self._parts[Standing.LEARNED]) + len(self._parts[Standing.PROVEN])

    @property
    def met(self) -> int:
        """Number of sessions only met."""
        return len(self._parts[Standing.MET])

    def get(self, value: bytes, now: float) -> str | None:
        """The endpoint id of a session, which is then as fresh as a new one; None when it is
        unknown or forgotten.
        """
        key = self._key(value)
        entry = self._proven.get(key)
        if entry is not None and now - entry.used <= self._ttl:  # nearly every request of a session
            entry.used = now
            self._proven.move_to_end(key)
            return entry.endpoint_id
        found = self.find((value,), now)
        return found[0][1] if found else None

    def find(self, values: Iterable[bytes], now: float) -> list[tuple[bytes, str]]:
        """(value, endpoint id) of the known ones of `values`, whose times begin anew: learned ones
        first, else in order.
        """
        learned: list[tuple[bytes, str]] = []
        met: list[tuple[bytes, str]] = []
        for value in values:
            key = self._key(value)
            standing, entry = self._find(key, now)
            if entry is None:
                continue
            entry.used = now
            if standing is Standing.LEARNED:
                self._parts[Standing.PROVEN][key] = self._parts[Standing.LEARNED].pop(key)
            else:
                self._parts[standing].move_to_end(key)
            (met if standing is Standing.MET else learned).append((value, entry.endpoint_id))
        return learned + met

    def is_settled(self, value: bytes, endpoint_id: str, now: float) -> bool:
        """Return whether a session in use is bound to this endpoint, and was reported lately: then
        to `meet` it is no news.
        """
        entry = self._proven.get(self._key(value))
        return (
            entry is not None
            and entry.endpoint_id == endpoint_id
            and now - entry.used <= self._ttl
            and entry.told_as == Standing.PROVEN
            and now - entry.told <= self._again
        )

    def learn(self, value: bytes, endpoint_id: str, now: float) -> Standing | None:
        """Bind a session that an application has begun. An empty or overlong value is not
        learned.
        """
        return self._bind(value, endpoint_id, now, Standing.LEARNED)

    def meet(self, value: bytes, endpoint_id: str, now: float) -> Standing | None:
        """Bind a session that came with a request: one that was learned moves, any other joins the
        met ones.
        """
        return self._bind(value, endpoint_id, now, Standing.MET)

    def adopt(self, value: bytes, endpoint_id: str, standing: Standing, now: float) -> None:
        """Bind a session that another process reported; it is not reported again."""
        self._bind(value, endpoint_id, now, standing)

    def forget(self, value: bytes) -> bool:
        """Forget one session; return whether it was known."""
        key = self._key(value)
        return any(part.pop(key, None) is not None for part in self._parts)

    def evict(self) -> None:
        """Forget the learned session that is missed least: the longest unused of the new ones,
        while they have their share.
        """
        new, proven = self._parts[Standing.LEARNED], self._parts[Standing.PROVEN]
        if len(new) > max(1, self.learned // _SHARE_OF_NEW) or not proven:
            new.popitem(last=False)
        else:
            proven.popitem(last=False)

    def evict_met(self) -> None:
        """Forget the longest unused of those that were only met."""
        self._parts[Standing.MET].popitem(last=False)

    def sessions(self, now: float) -> list[tuple[bytes, str, Standing]]:
        """Key, endpoint id and standing of each kept session, the longest unused first within each
        standing.
        """
        return [
            (key, entry.endpoint_id, standing)
            for standing in Standing
            for key, entry in self._parts[standing].items()
            if now - entry.used <= self._ttl
        ]

    def forget_expired(self, now: float, *, most: int = 1000) -> None:
        """Drop up to `most` entries of each part whose time is over (they come first)."""
        for part in self._parts:
            for _ in range(most):
                first = next(iter(part.items()), None)
                if first is None or now - first[1].used <= self._ttl:
                    break
                del part[first[0]]

    def _key(self, value: bytes) -> bytes:
        return session_key(value) if len(value) <= self._value_size else b""

    def _find(self, key: bytes, now: float) -> tuple[Standing, _Entry | None]:
        for standing in (Standing.PROVEN, Standing.LEARNED, Standing.MET):
            entry = self._parts[standing].get(key)
            if entry is not None and now - entry.used <= self._ttl:
                return standing, entry
        return Standing.MET, None

    def _bind(
        self, value: bytes, endpoint_id: str, now: float, standing: Standing
    ) -> Standing | None:
        key = self._key(value)
        if not key:
            return None
        before, entry = self._find(key, now)
        if entry is None:
            self.forget(value)  # its time is over
            entry = _Entry(endpoint_id, now)
        else:
            del self._parts[before][key]
            standing = max(standing, before)
        self._parts[standing][key] = entry
        moved = entry.endpoint_id != endpoint_id
        entry.endpoint_id, entry.used = endpoint_id, now
        if self.learned > self._limit:
            self.evict()
        if self.met > self._unknown:
            self.evict_met()
            if key not in self._parts[standing]:
                return None
        if moved or standing > entry.told_as or now - entry.told > self._again:
            entry.told, entry.told_as = now, standing
            return standing
        return None


def session_key(value: bytes) -> bytes:
    """The key that a table keeps for a cookie's value: a short value itself, else a digest. A key
    is its own key and may be learned in its place.
    """
    # No cookie value has a NUL, so no value is another one's digest.
    return (
        value
        if len(value) <= _KEPT_AS_IT_IS
        else b"\0" + hashlib.blake2b(value, digest_size=32).digest()
    )
