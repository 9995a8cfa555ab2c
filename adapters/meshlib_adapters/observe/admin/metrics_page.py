"""The page `/metrics`: the sums of what processes have reported, and the gateway's own state at
this moment.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

import anyio
import anyio.lowlevel

import meshlib
from meshlib.mesh import Mesh
from meshlib.model import EndpointState, Scheme, Severity
from meshlib_adapters.observe.admin.pages import table_lists
from meshlib_adapters.observe.admin.view import GatewayView, WorkersView, provider_status
from meshlib_adapters.observe.metrics.catalogue import Family
from meshlib_adapters.observe.metrics.exposition import render_text
from meshlib_adapters.observe.metrics.totals import Series, Totals

__all__ = ["MetricsPage"]


# Objects of the table that are read before requests get a turn.
_SLICE: Final = 500
_TEND_EVERY: Final = 60.0


class _TableFacts:
    """Size of the table and the names in it; computed once per version."""

    def __init__(self) -> None:
        self.version = -1
        self.routes: Counter[str] = Counter()
        self.degraded = 0
        self.endpoints: Counter[str] = Counter()
        self.diagnostics: Counter[str] = Counter()
        self.names: dict[str, set[str]] = {"route": set(), "upstream": set(), "endpoint": set()}

    @classmethod
    async def read(cls, mesh: Mesh) -> _TableFacts:
        facts = cls()
        table, facts.version = mesh.table, mesh.version
        names, seen = facts.names, 0
        routes, diagnostics = await table_lists(table)
        for route in routes:
            facts.routes[route.scheme] += 1
            facts.degraded += route.degraded
            names["route"].add(route.name)
            seen = await _pause_after(seen + 1)
        for upstream in table.upstreams.values():
            names["upstream"].add(upstream.name)
            for endpoint in upstream.endpoints:
                facts.endpoints[endpoint.state] += 1
                names["endpoint"].add(endpoint.address)
                seen = await _pause_after(seen + 1)
        for diagnostic in diagnostics:
            facts.diagnostics[diagnostic.severity] += 1
            seen = await _pause_after(seen + 1)
        return facts


async def _pause_after(seen: int) -> int:
    if seen % _SLICE == 0:
        await anyio.lowlevel.checkpoint()
    return seen


class MetricsPage:
    """Renders `totals`, and the state of `view` and `workers` (None: one process serves)."""

    def __init__(self, view: GatewayView, totals: Totals, workers: WorkersView | None) -> None:
        self.reloads = 0
        self._view = view
        self._totals = totals
        self._workers = workers
        self._facts = _TableFacts()
        self._changed = time.monotonic()

    async def tend(self, every: float = _TEND_EVERY) -> None:
        """Forget, each `every` seconds, what left the table long ago; until cancelled."""
        unsubscribe = self._view.mesh.subscribe(self._note_change)
        try:
            while True:
                await anyio.sleep(every)
                facts = await self._table_facts()
                for label, names in facts.names.items():
                    self._totals.retain(label, names, time.monotonic())
        finally:
            unsubscribe()

    async def render(self) -> AsyncIterator[bytes]:
        """Render the page in pieces, with a turn for others after each."""
        own = self._own(await self._table_facts(), time.monotonic())

        def series(family: Family) -> Iterable[Series]:
            found = own.get(family.name)
            return found if found is not None else self._totals.series(family)

        for piece in render_text(series):
            yield piece.encode()
            await anyio.lowlevel.checkpoint()

    def _note_change(self, mesh: Mesh) -> None:
        self._changed = time.monotonic()

    async def _table_facts(self) -> _TableFacts:
        mesh = self._view.mesh
        if self._facts.version != mesh.version:
            self._facts = await _TableFacts.read(mesh)
        return self._facts

    def _own(self, facts: _TableFacts, now: float) -> dict[str, list[Series]]:
        view = self._view
        providers = [(one.name, provider_status(view, one)) for one in view.providers]
        own = {
            "build_info": [Series((meshlib.__version__, platform.python_version()), 1)],
            "ready": _single(int(not view.not_ready)),
            "uptime_seconds": _single(round(now - view.started_at, 3)),
            "snapshot_version": _single(view.mesh.version),
            "snapshot_age_seconds": _single(round(now - self._changed, 3)),
            "routes": _each(Scheme, facts.routes),
            "routes_degraded": _single(facts.degraded),
            "upstreams": _single(len(facts.names["upstream"])),
            "endpoints": _each(EndpointState, facts.endpoints),
            "diagnostics": _each(Severity, facts.diagnostics),
            "provider_up": [
                Series((name,), int(status.state == "ok")) for name, status in providers
            ],
            "provider_last_success_age_seconds": [
                Series((name,), round(now - status.last_success, 3))
                for name, status in providers
                if status.last_success is not None
            ],
            "reloads_total": _single(self.reloads),
            "metrics_series": _single(len(self._totals)),
        }
        certificates = view.certificates
        if certificates is not None:
            own["certificate_not_after_seconds"] = [
                Series((name,), end) for name, end in certificates.not_after.items()
            ]
        if self._workers is not None:
            own["workers"] = [
                Series((state,), count) for state, count in self._workers.states().items()
            ]
            own["worker_restarts_total"] = [
                Series((name,), count) for name, count in self._workers.restarts().items()
            ]
        return {f"meshlib_{name}": found for name, found in own.items()}


def _single(value: float) -> list[Series]:
    return [Series((), value)]


def _each(values: Iterable[str], counts: Mapping[str, int]) -> list[Series]:
    # All states, so that the first worker to reach one is a change from 0.
    return [Series((str(value),), counts.get(value, 0)) for value in values]
