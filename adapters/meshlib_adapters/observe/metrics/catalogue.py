"""Catalogue of all metrics: name, kind, labels and meaning. docs/operations.md has the same list,
and a test compares the two.

Names follow Prometheus' conventions for units and nouns; counters end in `_total`, times are
seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

__all__ = ["DROPPED", "FAMILIES", "PROCESS", "Family"]

# Label for the process a value belongs to; set by the receiver of a change, never by its sender.
PROCESS: Final = "process"

# Counter of changes that either end of a worker's channel left out.
DROPPED: Final = "meshlib_worker_dropped_total"

_WAITS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PAUSES: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


class Family(NamedTuple):
    """One metric. `buckets`: a histogram's upper bounds, without the infinite one."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def per_process(self) -> bool:
        """Whether each process has a series of its own (otherwise they are summed)."""
        return self.labels[:1] == (PROCESS,)


def _counter(name: str, about: str, *labels: str) -> Family:
    return Family(f"meshlib_{name}", "counter", about, labels)


def _gauge(name: str, about: str, *labels: str) -> Family:
    return Family(f"meshlib_{name}", "gauge", about, labels)


_ALL: Final = (
    _counter(
        "http_requests_total",
        "Requests that ended; code is the class of the status (none: no response)",
        "route",
        "code",
        "method",
    ),
    Family(
        "meshlib_http_request_duration_seconds",
        "histogram",
        "From a request's head to its end; upgraded requests left out",
        ("route",),
        _WAITS,
    ),
    Family(
        "meshlib_http_first_byte_seconds",
        "histogram",
        "From a request's head to the response's first byte",
        ("route",),
        _WAITS,
    ),
    _counter("http_response_bytes_total", "Bytes sent to clients, heads included", "route"),
    _counter(
        "http_endings_total",
        "Requests with an end reason, as in the access log",
        "reason",
        "termination",
    ),
    _gauge("http_connections", "Connections of HTTP clients open now"),
    _counter("upstream_connects_total", "Connections made to endpoints", "upstream"),
    _counter(
        "upstream_connect_failures_total",
        "Connections to endpoints that could not be made",
        "upstream",
    ),
    _counter(
        "upstream_failures_total", "Exchanges that ended without a valid response", "upstream"
    ),
    _counter("upstream_retries_total", "Requests sent again", "upstream"),
    _counter(
        "upstream_ejections_total",
        "Times that an endpoint was ejected because it failed",
        "upstream",
    ),
    _counter(
        "upstream_strategy_failures_total",
        "Picks that a strategy of the program's own did not make, because it failed",
        "upstream",
    ),
    _counter("upstream_queued_total", "Requests that had to wait in the queue", "upstream"),
    _counter(
        "upstream_turned_away_total",
        "Requests that were rejected: queue full, or waited too long",
        "upstream",
    ),
    _gauge(
        "upstream_connections",
        "Connections to endpoints now: active, idle, connecting",
        "upstream",
        "state",
    ),
    _gauge("upstream_queue_length", "Requests in the queue now", "upstream"),
    _gauge(
        "endpoint_ejected",
        "Processes in which this endpoint is ejected now because it failed",
        "upstream",
        "endpoint",
    ),
    _gauge("tls_connections", "Connections of TLS clients open now"),
    _counter("tls_accepted_total", "TLS connections accepted"),
    _counter("tls_refused_total", "TLS connections refused", "reason"),
    _counter("tls_tunnels_total", "TLS connections passed through to an endpoint"),
    _counter("tls_silent_total", "TLS connections that ended before the client said anything"),
    _counter("tls_handshakes_total", "TLS handshakes completed by the gateway"),
    _counter("tls_handshakes_resumed_total", "Those of them that resumed an earlier session"),
    _counter("tls_handshakes_failed_total", "TLS handshakes with the gateway that failed"),
    _gauge("tcp_connections", "Connections on TCP ports of services open now"),
    _counter("tcp_accepted_total", "Connections accepted there"),
    _counter("tcp_refused_total", "Connections refused there"),
    _counter("tcp_tunnels_total", "Connections relayed to an endpoint there"),
    _counter("tcp_silent_total", "Connections there that ended without a byte either way"),
    _gauge("udp_flows", "Flows on UDP ports of services now"),
    _counter("udp_flows_begun_total", "Flows that began there"),
    _counter(
        "udp_datagrams_total",
        "Datagrams there: received from clients, sent to them, dropped either way",
        "what",
    ),
    _counter(
        "access_records_lost_total",
        "Access records lost, because their reader is too slow or fails",
    ),
    _counter("spans_lost_total", "Spans lost, because making or exporting them is too slow"),
    _counter("log_lines_lost_total", "Log lines lost, because their reader is too slow or fails"),
    _counter(
        "log_lines_held_back_total",
        "Log lines that were only counted, because many were of their kind",
    ),
    _counter("process_cpu_seconds_total", "Processor time", PROCESS),
    _gauge("process_resident_memory_bytes", "Resident memory", PROCESS),
    _gauge("process_open_fds", "Open descriptors", PROCESS),
    _gauge("process_max_fds", "Limit of open descriptors", PROCESS),
    Family(
        "meshlib_process_gc_pause_seconds",
        "histogram",
        "Pauses for the garbage collector",
        (PROCESS,),
        _PAUSES,
    ),
    _gauge("process_snapshot_version", "Version of the snapshot that this process serves", PROCESS),
    _gauge("build_info", "Always 1", "version", "python"),
    _gauge("ready", "1 when /-/ready says so"),
    _gauge("uptime_seconds", "Since the start"),
    _gauge("snapshot_version", "Grows with each change of the routes"),
    _gauge("snapshot_age_seconds", "Since the routes last changed"),
    _gauge("routes", "Routes in the table", "scheme"),
    _gauge("routes_degraded", "Routes kept as a label had them that is wrong now"),
    _gauge("upstreams", "Upstreams in the table"),
    _gauge("endpoints", "Endpoints of upstreams in the table", "state"),
    _gauge("diagnostics", "Mistakes found in labels", "severity"),
    _gauge("provider_up", "1 while the provider's source can be read", "provider"),
    _gauge(
        "provider_last_success_age_seconds",
        "Since the provider's source was last read successfully",
        "provider",
    ),
    _counter("reloads_total", "Reloads requested by SIGHUP"),
    _gauge("workers", "Workers by state; none with one process", "state"),
    _counter(
        "worker_restarts_total", "Workers that ended unexpectedly and were started again", PROCESS
    ),
    _counter(
        "worker_dropped_total",
        "Numbers, names and sessions of a worker left out because they are out of range",
        PROCESS,
    ),
    _gauge(
        "certificate_not_after_seconds", "When the certificate expires, in Unix seconds", "name"
    ),
    _gauge("metrics_series", "Series kept for this page"),
)

FAMILIES: Final = {family.name: family for family in _ALL}
