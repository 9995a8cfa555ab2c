"""Metrics of one process that serves: its requests, upstreams, connections, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from meshlib_adapters.listeners.published_ports import PublishedPorts
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.log_output import held_back_lines, lost_lines
from meshlib_adapters.observe.metrics.changes import Change
from meshlib_adapters.observe.metrics.process import ProcessWatch
from meshlib_adapters.observe.metrics.readings import Readings
from meshlib_adapters.observe.request_counters import RequestCounters
from meshlib_adapters.workers.data_path import DataPath
from meshlib_adapters.workers.upstream_readings import UpstreamReader

if TYPE_CHECKING:
    from meshlib_adapters.observe.spans import SpanWriter

__all__ = ["Meter", "read_log"]

_EVERY: Final = 1.0

_HANDSHAKES: Final = (
    ("meshlib_tls_handshakes_total", "handshakes"),
    ("meshlib_tls_handshakes_resumed_total", "resumed"),
    ("meshlib_tls_handshakes_failed_total", "failed"),
)

# A round pauses for so many times what it took, so that measuring thousands of upstreams never
# costs more than 2 % of a core.
_PAUSE_FACTOR: Final = 50

# Changes: adding so many up takes half a millisecond, in which nobody is served.
_REPORTED_AT_ONCE: Final = 250


class Meter:
    """Meter that reads `data_path`, its `log` and the `counters` of the log's records once a second
    and passes the changes to `report`.

    `version` returns that of the routes which this process serves. While `may_report` returns
    False, changes accumulate; none is lost.
    """

    def __init__(
        self,
        data_path: DataPath,
        log: AccessLog,
        counters: RequestCounters,
        report: Callable[[list[Change]], None],
        *,
        spans: SpanWriter | None = None,
        version: Callable[[], int],
        may_report: Callable[[], bool] = lambda: True,
    ) -> None:
        self._data_path = data_path
        self._log = log
        self._counters = counters
        self._spans = spans
        self._report = report
        self._version = version
        self._may_report = may_report
        self._readings = Readings()
        self._upstreams = UpstreamReader(data_path.upstreams)
        self._process = ProcessWatch()
        self._unreported: Iterator[Change] = iter(())  # being taken

    async def run(self) -> None:
        """Measure until cancelled."""
        self._process.start()
        try:
            while True:
                began = time.monotonic()
                if self._may_report():
                    for _ in self._steps():
                        await anyio.lowlevel.checkpoint()
                    self._unreported = self._take()
                    while some := list(islice(self._unreported, _REPORTED_AT_ONCE)):
                        self._report(some)
                        await anyio.lowlevel.checkpoint()
                await anyio.sleep(max(_EVERY, _PAUSE_FACTOR * (time.monotonic() - began)))
        finally:
            self._process.stop()

    def finish(self) -> None:
        """Report what changed once more, at once: the last report of a process."""
        for _ in self._steps():
            pass
        self._report([*self._unreported, *self._take()])

    def _steps(self) -> Iterator[None]:
        self._readings.begin()
        yield from self._upstreams.read(self._readings)

    def _take(self) -> Iterator[Change]:
        readings, data_path, log = self._readings, self._data_path, self._log
        tls = data_path.tls_counters
        readings.measure("meshlib_http_connections", data_path.connections)
        readings.measure("meshlib_tls_connections", data_path.tunnels)
        readings.count("meshlib_tls_accepted_total", tls["accepted"])
        readings.count("meshlib_tls_tunnels_total", tls["tunnels"])
        readings.count("meshlib_tls_silent_total", tls["silent"])
        for reason, count in data_path.tls_refusals.items():
            readings.count("meshlib_tls_refused_total", count, reason)
        for name, counter in _HANDSHAKES:
            readings.count(name, data_path.handshakes.get(counter, 0))
        readings.count("meshlib_access_records_lost_total", log.dropped)
        if self._spans is not None:
            readings.count("meshlib_spans_lost_total", self._spans.lost)
        read_log(readings)
        if data_path.ports is not None:
            _read_ports(readings, data_path.ports)
        version = self._version()
        if version >= 0:
            readings.measure("meshlib_process_snapshot_version", version)
        log.format_records()  # counts them, too
        return chain(readings.take(), self._process.take(), self._counters.take())


def read_log(readings: Readings) -> None:
    """Count the lines of this process's log that were lost or held back."""
    readings.count("meshlib_log_lines_lost_total", lost_lines())
    readings.count("meshlib_log_lines_held_back_total", held_back_lines())


def _read_ports(readings: Readings, ports: PublishedPorts) -> None:
    counters = ports.counters()
    tcp, udp = counters["tcp"], counters["udp"]
    readings.measure("meshlib_tcp_connections", ports.connections)
    readings.measure("meshlib_udp_flows", ports.flows)
    for name in ("accepted", "refused", "tunnels", "silent"):
        readings.count(f"meshlib_tcp_{name}_total", tcp[name])
    readings.count("meshlib_udp_flows_begun_total", udp["flows"])
    for what in ("received", "sent", "dropped"):
        readings.count("meshlib_udp_datagrams_total", udp[what], what)
