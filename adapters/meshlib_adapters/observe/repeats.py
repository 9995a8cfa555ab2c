"""A limit on log lines of one kind, so that nobody fills a disk by causing the same line again and
again.

Clients, endpoints and services cause most lines that a gateway logs. A token bucket for each kind
lets the first ones through; the others are counted, and a line tells how many they were.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["RepeatLimit", "Repeats"]

_Kind: TypeAlias = tuple[str, int, str, str]

# Seconds for which lines are counted before a line tells their number.
_TELL_AFTER: Final = 10.0

# Kinds are places in the source, so there are far fewer; a library that logs without templates must
# not fill the memory.
_MAX_KINDS: Final = 500
_EXAMPLE: Final = 300  # characters
# Whoever asks for debug lines wants those of each request; a disk they still must not fill.
_WIDE_DEBUG: Final = 50


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float
    wide: int
    level: int
    logger: str
    held_back: int = 0
    since: float = 0.0
    example: str = ""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Lines that were held back: how many in how many seconds, with the first one's text, level and
    logger.
    """

    count: int
    seconds: float
    example: str
    level: int
    logger: str


class RepeatLimit:
    """Limits each kind to `burst` lines at once and `per_minute` in the long run; None: no limit.

    A kind is a logger, a level, the record's attribute `kind` if it has one and, for loggers of
    meshlib, the message template. Other libraries may format addresses into their messages, so
    theirs do not count. A record's attribute `wide` multiplies the limit for its kind; debug lines
    have fifty times as much. Thread-safe.
    """

    def __init__(self, burst: int | None = 20, per_minute: float = 12.0) -> None:
        self._burst = burst
        self._per_second = per_minute / 60.0
        self._buckets: dict[_Kind, _Bucket] = {}
        self._lock = threading.Lock()
        self.held_back = 0  # in all
        self.waiting = False  # whether lines are waiting to be reported

    def admit(self, record: logging.LogRecord, now: float) -> bool:
        """Return whether to write the record; one that is held back is counted."""
        burst = self._burst
        if burst is None:
            return True
        with self._lock:
            bucket = self._find(record, now, burst)
            limit = burst * bucket.wide
            bucket.tokens = min(
                limit, bucket.tokens + (now - bucket.filled) * self._per_second * bucket.wide
            )
            bucket.filled = now
            if bucket.tokens >= 1.0:
                bucket.tokens -= 1.0
                return True
            self.held_back += 1
            if not bucket.held_back:
                bucket.since = now
                bucket.example = _text(record)
                self.waiting = True
            bucket.held_back += 1
            return False

    def take(self, now: float, *, everything: bool = False) -> list[Repeats]:
        """Take out what was held back for long enough to be told, or all of it."""
        found: list[Repeats] = []
        with self._lock:
            waiting = False
            for bucket in self._buckets.values():
                if bucket.held_back and (everything or now - bucket.since >= _TELL_AFTER):
                    found.append(
                        Repeats(
                            bucket.held_back,
                            now - bucket.since,
                            bucket.example,
                            bucket.level,
                            bucket.logger,
                        )
                    )
                    bucket.held_back, bucket.example = 0, ""
                waiting = waiting or bucket.held_back > 0
            self.waiting = waiting
        return found

    def _find(self, record: logging.LogRecord, now: float, burst: int) -> _Bucket:
        ours = record.name.startswith("meshlib")
        kind = (
            record.name,
            record.levelno,
            str(getattr(record, "kind", "")),
            str(record.msg) if ours else "",
        )
        bucket = self._buckets.get(kind)
        if bucket is None:
            if len(self._buckets) >= _MAX_KINDS:
                kind = ("", record.levelno, "", "")
                bucket = self._buckets.get(kind)
            if bucket is None:
                wide = int(getattr(record, "wide", 1))
                if record.levelno <= logging.DEBUG:
                    wide *= _WIDE_DEBUG
                bucket = _Bucket(float(burst * wide), now, wide, record.levelno, record.name)
                self._buckets[kind] = bucket
        return bucket


def _text(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001
        text = str(record.msg)
    return text if len(text) <= _EXAMPLE else text[:_EXAMPLE] + "..."
