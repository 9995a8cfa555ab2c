"""Every metric there is: its name, kind, labels and meaning. docs/operations.md lists the same,
which a test compares.

Names have the units and nouns of Prometheus' conventions; a counter ends in `_total`, times are
seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

__all__ = ["DROPPED", "FAMILIES", "PROCESS", "Family"]

# The label that says which process a value is of; written by whoever receives a change, never by
# who sends it.
PROCESS: Final = "process"

# What both ends of a worker's channel count that they leave out.
DROPPED: Final = "meshlib_worker_dropped_total"

_WAITS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PAUSES: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


class Family(NamedTuple):
    """One metric. `buckets`: upper bounds of a histogram's, without the infinite one."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def per_process(self) -> bool:
        """Whether processes are told apart (else they are summed)."""
        return self.labels[:1] == (PROCESS,)


def _counter(name: str, about: str, *labels: str) -> Family:
    return Family(f"meshlib_{name}", "counter", about, labels)


def _gauge(name: str, about: str, *labels: str) -> Family:
    return Family(f"meshlib_{name}", "gauge", about, labels)


_ALL: Final = (
    _counter(
        "http_requests_total",
        "Requests that ended; code is the class of the status (none: no answer)",
        "route",
        "code",
        "method",
    ),
    Family(
        "meshlib_http_request_duration_seconds",
        "histogram",
        "From a request's head to its end; no upgraded ones",
        ("route",),
        _WAITS,
    ),
    Family(
        "meshlib_http_first_byte_seconds",
        "histogram",
        "From a request's head to the answer's first byte",
        ("route",),
        _WAITS,
    ),
    _counter("http_response_bytes_total", "Bytes sent to clients, heads included", "route"),
    _counter(
        "http_endings_total",
        "Requests that ended otherwise than they should, as in the access log",
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
    _counter("upstream_failures_total", "Exchanges that ended without a proper answer", "upstream"),
    _counter("upstream_retries_total", "Requests sent once more", "upstream"),
    _counter(
        "upstream_ejections_total",
        "Times that an endpoint was put out because it failed",
        "upstream",
    ),
    _counter("upstream_queued_total", "Requests that had to wait for a turn", "upstream"),
    _counter(
        "upstream_turned_away_total",
        "Requests that had no turn: queue full, or waited too long",
        "upstream",
    ),
    _gauge(
        "upstream_connections",
        "Connections to endpoints now: active, idle, connecting",
        "upstream",
        "state",
    ),
    _gauge("upstream_queue_length", "Requests that wait for a turn now", "upstream"),
    _gauge(
        "endpoint_ejected",
        "Processes that keep this endpoint out now because it failed",
        "upstream",
        "endpoint",
    ),
    _gauge("tls_connections", "Connections of TLS clients open now"),
    _counter("tls_accepted_total", "TLS connections accepted"),
    _counter("tls_refused_total", "TLS connections refused", "reason"),
    _counter("tls_tunnels_total", "TLS connections brought to an endpoint"),
    _counter("tls_handshakes_total", "TLS handshakes that ended here as they should"),
    _counter("tls_handshakes_resumed_total", "Those of them that took up an earlier session"),
    _counter("tls_handshakes_failed_total", "TLS handshakes that failed here"),
    _gauge("tcp_connections", "Connections on TCP ports of services open now"),
    _counter("tcp_accepted_total", "Connections accepted there"),
    _counter("tcp_refused_total", "Connections refused there"),
    _counter("tcp_tunnels_total", "Connections brought to an endpoint there"),
    _gauge("udp_flows", "Flows on UDP ports of services now"),
    _counter("udp_flows_begun_total", "Flows that began there"),
    _counter(
        "udp_datagrams_total",
        "Datagrams there: received from clients, sent to them, dropped either way",
        "what",
    ),
    _counter(
        "access_records_lost_total",
        "Access records lost, because what takes them is too slow or fails",
    ),
    _counter("spans_lost_total", "Spans lost, because what takes them is too slow"),
    _counter(
        "log_lines_lost_total", "Log lines lost, because what takes them is too slow or fails"
    ),
    _counter(
        "log_lines_held_back_total",
        "Log lines that were counted and told in one, because many were of their kind",
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
    _gauge("upstreams", "Upstreams in the table"),
    _gauge("endpoints", "Endpoints of upstreams in the table", "state"),
    _gauge("diagnostics", "What is wrong with labels", "severity"),
    _gauge("provider_up", "1 while the provider's source can be read", "provider"),
    _gauge(
        "provider_last_success_age_seconds",
        "Since the provider's source was last read well",
        "provider",
    ),
    _counter("reloads_total", "Times that SIGHUP asked for a reload"),
    _gauge("workers", "Workers by state; none with one process", "state"),
    _counter("worker_restarts_total", "Workers that ended unasked and were started again", PROCESS),
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
