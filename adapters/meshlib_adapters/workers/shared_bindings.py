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
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from meshlib.balancing import Binding, SessionLimits, SessionTables, Standing
from meshlib.mesh import Mesh
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.upstream.registry import UpstreamRegistry

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings

__all__ = ["BATCH", "MET_AT_ONCE", "MET_PER_SECOND", "BindingStore", "SharingUpstreams"]

# Bindings in one frame: few enough for the other side to take them between two requests.
BATCH: Final = 64
# Cookies of unknown origin that one worker reports: at once, and a second in the long run. After a
# restart of the gateway all cookies are unknown; for those in use that is enough, and a flood of
# forged ones costs each process less than a hundredth of its time.
MET_AT_ONCE: Final = 1000
MET_PER_SECOND: Final = 100

_GATHER: Final = 0.002  # seconds during which new bindings gather for one frame


class SharingUpstreams(UpstreamRegistry):
    """Upstreams whose sticky bindings are those of all workers.

    New ones are handed to `share` in batches of at most `BATCH`; those of others come by `adopt`.
    """

    def __init__(
        self,
        mesh: Mesh,
        settings: HTTPSettings,
        loop: asyncio.AbstractEventLoop,
        share: Callable[[list[Binding]], None],
        *,
        http2: HTTP2Settings | None = None,
    ) -> None:
        super().__init__(mesh, settings, loop, http2=http2)
        self._share = share
        self._new: list[Binding] = []
        self._allowed = float(MET_AT_ONCE)
        self._allowed_at = loop.time()

    def adopt(self, bindings: Iterable[Binding]) -> None:
        """Take over what other workers, or this one, have learned."""
        now, known = self.loop.time(), self.names
        for binding in bindings:
            if binding.upstream in known:
                self.sessions.adopt(binding, now)

    def _tell(self, news: list[Binding]) -> None:
        for binding in news:
            if binding.standing is Standing.MET and not self._may_tell_met():
                continue
            if not self._new:
                self.loop.call_later(_GATHER, self._hand_over)
            self._new.append(binding)

    def _may_tell_met(self) -> bool:
        now = self.loop.time()
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
