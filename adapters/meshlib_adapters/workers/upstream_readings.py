"""Readings of what the pools of upstreams count and hold, in steps between which requests go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshlib.balancing import HealthState
from meshlib_adapters.observe.metrics.readings import Readings
from meshlib_adapters.observe.metrics.totals import FORGET_AFTER, OTHER
from meshlib_adapters.upstream.counters import UpstreamCounters
from meshlib_adapters.upstream.registry import UpstreamRegistry
from meshlib_adapters.upstream.state import UpstreamState

__all__ = ["UpstreamReader"]

# Upstreams read in one step.
_SLICE: Final = 50

# Upstreams that are told by name, as many as their names are shown of; the others are one.
_MAX_NAMED: Final = 1000

_LOOK_EVERY: Final = 60.0  # seconds between two looks for upstreams that are gone

_COUNTS: Final = (
    ("meshlib_upstream_connects_total", "connects"),
    ("meshlib_upstream_connect_failures_total", "connect_failures"),
    ("meshlib_upstream_failures_total", "failures"),
    ("meshlib_upstream_retries_total", "retries"),
    ("meshlib_upstream_ejections_total", "ejections"),
    ("meshlib_upstream_strategy_failures_total", "strategy_failures"),
    ("meshlib_upstream_queued_total", "queued"),
    ("meshlib_upstream_turned_away_total", "rejected"),
)


class UpstreamReader:
    """Reads `upstreams`; forgets the counts of those that are gone, `FORGET_AFTER` seconds
    later.
    """

    def __init__(self, upstreams: UpstreamRegistry) -> None:
        self._upstreams = upstreams
        self._named: dict[str, None] = {}
        self._gone_since: dict[str, float] = {}
        self._looked = 0.0

    def read(self, readings: Readings) -> Iterator[None]:
        """One round, in steps that each take well under a millisecond."""
        upstreams = self._upstreams
        self._forget(upstreams.loop.time())
        for number, (name, counters) in enumerate(list(upstreams.counters.items())):
            _count(readings, self._name(name), counters)
            if number % _SLICE == _SLICE - 1:
                yield
        for number, state in enumerate(upstreams.states()):
            _measure(readings, self._name(state.upstream.name), state, upstreams.loop.time())
            if number % _SLICE == _SLICE - 1:
                yield

    def _name(self, name: str) -> str:
        if name not in self._named:
            if len(self._named) >= _MAX_NAMED:
                return OTHER
            self._named[name] = None
        return name

    def _forget(self, now: float) -> None:
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        kept = self._upstreams.counters
        here = {state.upstream.name for state in self._upstreams.states()}
        for name in [name for name in kept if name not in here]:
            since = self._gone_since.setdefault(name, now)
            # What is under way at an upstream that has gone still counts there; no request lasts so
            # long without an end.
            if now - since >= FORGET_AFTER:
                del kept[name], self._gone_since[name]
                self._named.pop(name, None)
        for name in [name for name in self._gone_since if name in here]:
            del self._gone_since[name]


def _count(readings: Readings, name: str, counters: UpstreamCounters) -> None:
    for family, attribute in _COUNTS:
        value = getattr(counters, attribute)
        if value:
            readings.count(family, value, name)


def _measure(readings: Readings, name: str, state: UpstreamState, now: float) -> None:
    active = idle = connecting = 0
    for pool in state.pools():
        active += pool.active
        idle += len(pool.idle)
        connecting += pool.connecting
        if (
            pool.health.state is HealthState.EJECTED
            and not pool.health.available(now)
            and name != OTHER
        ):
            readings.measure("meshlib_endpoint_ejected", 1, name, pool.endpoint.address)
    readings.measure("meshlib_upstream_connections", active, name, "active")
    readings.measure("meshlib_upstream_connections", idle, name, "idle")
    readings.measure("meshlib_upstream_connections", connecting, name, "connecting")
    if state.queue is not None:
        readings.measure("meshlib_upstream_queue_length", len(state.queue), name)
