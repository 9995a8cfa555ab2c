"""The attempts to connect for one request: to the endpoint that was chosen, and to others beside it
while it hangs. The first that comes up wins (after Happy Eyeballs, RFC 8305, which does so for the
addresses of one name).

No endpoint has seen a byte of the request, so nothing but time is lost by trying; the time-out for
one attempt is the time in which others begin beside it. Connections that come up too late are kept
for the next request.
"""

from __future__ import annotations

from time import monotonic
from typing import Final, Protocol

from meshlib_adapters.observe.debug_lines import tell_endpoint, wanted
from meshlib_adapters.upstream.choice.queue import PickAsker
from meshlib_adapters.upstream.connection import EndpointConnection, Requester
from meshlib_adapters.upstream.pool import EndpointPool
from meshlib_adapters.upstream.state import UpstreamState

__all__ = ["ConnectRace", "RaceRequester"]

# Endpoints of one request that cannot be connected to, at most: whatever is behind so many others
# is as dead as they are.
_MAX_TRIED: Final = 10


class RaceRequester(Requester, PickAsker, Protocol):
    """The part that wants a connection to one of several endpoints. `pool` is the one asked last,
    and in the end the one connected to.
    """

    pool: EndpointPool | None

    def on_further_endpoint(self) -> None:
        """Another endpoint is asked, too."""


class _Entrant:
    # One attempt of a race. An `AttemptWatcher`.

    __slots__ = ("_race", "attempt", "pool")

    def __init__(self, race: ConnectRace, pool: EndpointPool) -> None:
        self._race = race
        self.pool = pool
        self.attempt = pool.connect(race.requester, self)

    def on_connection(self, connection: EndpointConnection, seconds: float) -> None:
        self._race.won(self, connection)

    def on_connect_failed(self, reason: str) -> None:
        self._race.lost(self, reason)

    def on_connect_slow(self) -> None:
        self._race.slowed(self)


class ConnectRace:
    """Attempts for `requester`, first to `pool`, then to those that follow in `state` and are not
    among `tried`, to which each is added. `bound`: no other is tried while that one hangs, since a
    session would be lost. The requester hears `on_further_endpoint` for each other endpoint, and in
    the end `on_connection`, or `on_connect_failed` with the reason of the last attempt.
    """

    __slots__ = ("_began", "_bound", "_entrants", "_state", "_tried", "requester")

    def __init__(
        self,
        state: UpstreamState,
        requester: RaceRequester,
        pool: EndpointPool,
        tried: list[EndpointPool],
        *,
        bound: bool = False,
    ) -> None:
        self._state = state
        self.requester = requester
        self._tried = tried
        self._bound = bound
        # The clock of access records: uvloop's is a millisecond coarse.
        self._began = monotonic()
        self._entrants: list[_Entrant] = []
        self._enter(pool)

    def cancel(self) -> None:
        """End it; the requester hears nothing more."""
        entrants, self._entrants = self._entrants, []
        for entrant in entrants:
            entrant.attempt.cancel()

    def won(self, entrant: _Entrant, connection: EndpointConnection) -> None:
        """A connection is there; called by an entrant, like the next two."""
        self._entrants.remove(entrant)
        self._end(entrant.pool, connection)

    def lost(self, entrant: _Entrant, reason: str) -> None:
        """An attempt has failed."""
        newest = entrant is self._entrants[-1]
        self._entrants.remove(entrant)
        # Where nothing else is under way, one more has its whole time.
        patience = 1 if self._entrants else 2
        if newest and self._go_on(entrant.pool, patience):
            return
        if not self._entrants:
            self.requester.pool = entrant.pool
            self.requester.on_connect_failed(reason)

    def slowed(self, entrant: _Entrant) -> None:
        """An attempt takes long."""
        if not self._bound and entrant is self._entrants[-1]:
            self._go_on(entrant.pool, 1)

    def _go_on(self, last: EndpointPool, patience: int) -> bool:
        # With the next endpoint, if there is one, and no more than so many times the time for one
        # attempt have passed.
        limit = last.settings.connect * patience
        if len(self._tried) >= _MAX_TRIED or monotonic() - self._began >= limit:
            return False
        pool = self._state.following(self._tried, self.requester)
        if pool is None:
            return False
        if wanted():
            tell_endpoint(self._state.upstream, pool.endpoint, len(self._tried) + 1)
        self.requester.pool = pool
        self.requester.on_further_endpoint()
        connection = pool.take(self.requester)
        if connection is None:
            self._enter(pool)
        else:
            self._end(pool, connection)
        return True

    def _end(self, pool: EndpointPool, connection: EndpointConnection) -> None:
        self.cancel()
        self.requester.pool = pool
        self.requester.on_connection(connection, monotonic() - self._began)

    def _enter(self, pool: EndpointPool) -> None:
        self._tried.append(pool)
        self._entrants.append(_Entrant(self, pool))
