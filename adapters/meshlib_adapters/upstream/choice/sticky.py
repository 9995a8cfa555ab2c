"""Sticky bindings: which endpoint served the session that a cookie names.

`StickyBindings` is what the data path needs of them; `LocalBindings` are those of one process.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Protocol

from meshlib.balancing import SessionLimits, SessionTables

__all__ = ["LocalBindings", "StickyBindings"]


class StickyBindings(Protocol):
    """(upstream, cookie, value) -> endpoint id. `upstream` is the upstream's name, `cookie` the
    name of the cookie, `now` the event loop's time. `len()` is how many bindings there are.
    """

    def __len__(self) -> int: ...

    def endpoint_ids(
        self, upstream: str, cookie: str, values: Sequence[bytes], now: float
    ) -> list[str]:
        """The endpoints to which the values of one request are bound, the best known first; the
        time of each binding begins anew.
        """

    def bind(self, upstream: str, cookie: str, value: bytes, endpoint_id: str, now: float) -> None:
        """Bind a session that the application has begun."""

    def keep(
        self, upstream: str, cookie: str, values: Sequence[bytes], endpoint_id: str, now: float
    ) -> None:
        """Bind, or keep bound, the sessions of a request that the endpoint has served without a
        change to them (see `SessionTables.keep`).
        """

    def unbind(self, upstream: str, cookie: str, value: bytes) -> None:
        """Forget a session that the application has ended."""

    def keep_upstreams(self, names: Container[str]) -> None:
        """Forget the bindings of all upstreams but these, which are all there are."""

    def forget_expired(self, now: float) -> None:
        """Forget some of the bindings that were not used in time."""


class LocalBindings:
    """The `StickyBindings` of one process, which nobody else knows."""

    def __init__(self, limits: SessionLimits) -> None:
        self._tables = SessionTables(limits)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return f"<LocalBindings {self._tables!r}>"

    def endpoint_ids(
        self, upstream: str, cookie: str, values: Sequence[bytes], now: float
    ) -> list[str]:
        """The endpoints to which the values of one request are bound, the best known first."""
        return self._tables.find(upstream, cookie, values, now)

    def bind(self, upstream: str, cookie: str, value: bytes, endpoint_id: str, now: float) -> None:
        """Bind a session that the application has begun."""
        self._tables.learn(upstream, cookie, value, endpoint_id, now)

    def keep(
        self, upstream: str, cookie: str, values: Sequence[bytes], endpoint_id: str, now: float
    ) -> None:
        """Bind, or keep bound, the sessions of a request that was served."""
        self._tables.keep(upstream, cookie, values, endpoint_id, now)

    def unbind(self, upstream: str, cookie: str, value: bytes) -> None:
        """Forget a session that the application has ended."""
        self._tables.forget(upstream, cookie, value)

    def keep_upstreams(self, names: Container[str]) -> None:
        """Forget the bindings of all upstreams but these."""
        self._tables.keep_upstreams(names)

    def forget_expired(self, now: float) -> None:
        """Forget some of the bindings that were not used in time."""
        self._tables.forget_expired(now)
