"""Sticky bindings of several workers: what one worker learns, all of them know.

The connections of one client go to different workers. A worker that has not seen the response which
began a session would choose any endpoint; so each new binding is reported to the supervisor, which
sends it to all workers, in one order. Until then, for some milliseconds, a session that goes on
over another connection may meet another endpoint: applications set their cookie well before it
matters.

Cookies that no application has set here are reported too, but only so many a second: anybody can
make them up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

from meshlib.balancing import Binding, SessionLimits, SessionTables, Standing

__all__ = ["BATCH", "MET_AT_ONCE", "MET_PER_SECOND", "BindingStore", "SharedBindings"]

# Bindings in one frame: few enough for the other side to take them between two requests.
BATCH: Final = 64
# Cookies of unknown origin that one worker reports: at once, and a second in the long run. After a
# restart of the gateway all cookies are unknown; for those in use that is enough, and a flood of
# forged ones costs each process less than a hundredth of its time.
MET_AT_ONCE: Final = 1000
MET_PER_SECOND: Final = 100

_GATHER: Final = 0.002  # seconds during which new bindings gather for one frame


class SharedBindings:
    """`StickyBindings` of a worker (`meshlib_adapters.upstream.choice.sticky`): those of all.

    New ones are passed to `share` in batches of at most `BATCH`; those of others come by `adopt`.
    """

    def __init__(
        self,
        limits: SessionLimits,
        loop: asyncio.AbstractEventLoop,
        share: Callable[[list[Binding]], None],
    ) -> None:
        self._tables = SessionTables(limits)
        self._loop = loop
        self._share = share
        self._upstreams: Container[str] = frozenset()
        self._new: list[Binding] = []
        self._allowed = float(MET_AT_ONCE)
        self._allowed_at = loop.time()

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return f"<SharedBindings {self._tables!r}>"

    def adopt(self, bindings: Iterable[Binding]) -> None:
        """Take over what other workers, or this one, have learned of upstreams that are here."""
        now = self._loop.time()
        for binding in bindings:
            if binding.upstream in self._upstreams:
                self._tables.adopt(binding, now)

    def endpoint_ids(
        self, upstream: str, cookie: str, values: Sequence[bytes], now: float
    ) -> list[str]:
        """The endpoints to which the values of one request are bound, the best known first."""
        return self._tables.find(upstream, cookie, values, now)

    def bind(self, upstream: str, cookie: str, value: bytes, endpoint_id: str, now: float) -> None:
        """Bind a session that the application has begun."""
        self._report(self._tables.learn(upstream, cookie, value, endpoint_id, now))

    def keep(
        self, upstream: str, cookie: str, values: Sequence[bytes], endpoint_id: str, now: float
    ) -> None:
        """Bind, or keep bound, the sessions of a request that was served."""
        self._report(self._tables.keep(upstream, cookie, values, endpoint_id, now))

    def unbind(self, upstream: str, cookie: str, value: bytes) -> None:
        """Forget a session that the application has ended."""
        self._report(self._tables.forget(upstream, cookie, value))

    def keep_upstreams(self, names: Container[str]) -> None:
        """Forget the bindings of all upstreams but these, and adopt no others."""
        self._upstreams = names
        self._tables.keep_upstreams(names)

    def forget_expired(self, now: float) -> None:
        """Forget some of the bindings that were not used in time."""
        self._tables.forget_expired(now)

    def _report(self, news: list[Binding]) -> None:
        for binding in news:
            if binding.standing is Standing.MET and not self._may_report_met():
                continue
            if not self._new:
                self._loop.call_later(_GATHER, self._hand_over)
            self._new.append(binding)

    def _may_report_met(self) -> bool:
        now = self._loop.time()
        self._allowed = min(self._allowed + (now - self._allowed_at) * MET_PER_SECOND, MET_AT_ONCE)
        self._allowed_at = now
        if self._allowed < 1.0:
            return False
        self._allowed -= 1.0
        return True

    def _hand_over(self) -> None:
        new, self._new = self._new, []
        for start in range(0, len(new), BATCH):
            self._share(new[start : start + BATCH])


class BindingStore:
    """The supervisor's copy of all bindings, for workers that start later, within the limits of one
    worker.
    """

    def __init__(self, limits: SessionLimits) -> None:
        self._tables = SessionTables(limits)
        self._swept = time.monotonic()

    def __len__(self) -> int:
        return len(self._tables)

    def add(self, bindings: Iterable[Binding]) -> None:
        """Keep these; what is missed least makes room."""
        now = time.monotonic()
        if now - self._swept >= 1.0:
            self._swept = now
            self._tables.forget_expired(now)
        for binding in bindings:
            self._tables.adopt(binding, now)

    def all(self) -> list[Binding]:
        """All that are kept; of each route the longest unused first."""
        return self._tables.all(time.monotonic())
