"""One session, one endpoint: learn from the cookie that the application sets, and find it again.

HRM's way: the gateway sets, changes and removes no cookie. The table is bounded and forgets what is not used; what it
keeps is the endpoint's stable identity, so a session survives the replacement of its task.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

__all__ = ["LearnedTable", "cookie_value", "session_key", "set_cookie_value"]

# A longer value is not learned. RFC 6265 6.1 has clients keep 4096 bytes a cookie; some frameworks put a signed session into it.
MAX_VALUE: Final = 4096
# What is longer is kept as its digest: the table must not become a store for anybody's data.
_KEPT_AS_IT_IS: Final = 64


class LearnedTable:
    """Cookie value -> endpoint id: at most `limit` entries, each forgotten `ttl` seconds after its last use.

    One table for each upstream and cookie name: a session of one service says nothing to another. When the endpoint that `get`
    names is gone, choose another and `learn` that.
    """

    __slots__ = ("_entries", "_limit", "_ttl")

    def __init__(self, *, limit: int = 100_000, ttl: float = 1800.0) -> None:
        self._entries: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._limit = limit
        self._ttl = ttl

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, value: bytes, now: float) -> str | None:
        """The endpoint id of a session, whose time begins anew; None when it is unknown or forgotten."""
        value = session_key(value)
        entry = self._entries.get(value)
        if entry is None:
            return None
        if now - entry[1] > self._ttl:
            del self._entries[value]
            return None
        self._entries[value] = (entry[0], now)
        self._entries.move_to_end(value)
        return entry[0]

    def learn(self, value: bytes, endpoint_id: str, now: float) -> None:
        """Bind a session. The longest unused one makes room; an empty or overlong value is not learned."""
        if not value or len(value) > MAX_VALUE:
            return
        value = session_key(value)
        self._entries[value] = (endpoint_id, now)
        self._entries.move_to_end(value)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def forget_expired(self, now: float, *, most: int = 1000) -> None:
        """Drop up to `most` entries whose time is over (they stand first)."""
        for _ in range(most):
            first = next(iter(self._entries.items()), None)
            if first is None or now - first[1][1] <= self._ttl:
                return
            del self._entries[first[0]]


def session_key(value: bytes) -> bytes:
    """What a table keeps of a cookie's value: a short one itself, else a digest. A key is its own key and may be learned in its place."""
    # No cookie value has a NUL, so no value is another one's digest.
    return value if len(value) <= _KEPT_AS_IT_IS else b"\0" + hashlib.blake2b(value, digest_size=32).digest()


def cookie_value(fields: Iterable[bytes], name: bytes) -> bytes | None:
    """The value of the cookie `name` in Cookie field values (RFC 6265 4.2), the first one; None when absent."""
    for value in fields:
        for pair in value.split(b";"):
            key, equals, content = pair.partition(b"=")
            if equals and key.strip(b" \t") == name:
                return _unquoted(content.strip(b" \t"))
    return None


def set_cookie_value(fields: Iterable[bytes], name: bytes) -> bytes | None:
    """The value that Set-Cookie field values give the cookie `name` (RFC 6265 4.1), the last one; None when they do not.

    A cookie that is being removed (an empty value) is b"".
    """
    found = None
    for value in fields:
        key, equals, content = value.partition(b";")[0].partition(b"=")
        if equals and key.strip(b" \t") == name:
            found = _unquoted(content.strip(b" \t"))
    return found


def _unquoted(value: bytes) -> bytes:
    return value[1:-1] if len(value) >= 2 and value[:1] == value[-1:] == b'"' else value
