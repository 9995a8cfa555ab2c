"""What is measured: a registry of named scenarios, each a function from a running peer to figures.

A new scenario is one function and one `register` line here or in another module that `run` imports,
as `tls_scenarios` is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.benchmarks.backend import LARGE_SIZE
from tests.benchmarks.configurations import SMALL_HOST, STREAM_HOST
from tests.benchmarks.load import WrkResult, idle_connections, paced, request_head, wrk
from tests.benchmarks.measure import cpu_busy_seconds, measured, rss_bytes
from tests.benchmarks.processes import BenchmarkError

__all__ = ["SCENARIOS", "Goal", "Measure", "Scenario", "register"]

Figures = dict[str, float]

CONNECTIONS = 64
IDLE = 10_000
# Requests per second that our open-loop generator can do beside a backend on one CPU. A peer of
# which this is less than 90% of capacity is measured at this rate: less load than it was promised,
# so its latency looks better, not worse.
FASTEST = 45_000.0
_TRACE = "00-4bf92f3577b34da6a3ce92@-00f067aa0ba902b7-01"  # @: ten digits


@dataclass(frozen=True, slots=True)
class Measure:
    """What a scenario gets: the peer's process and port, where load runs, and how long one
    measurement lasts.
    """

    pid: int
    port: int
    proxy_cpu: int
    load_cpus: set[int]
    work: Path
    seconds: float
    routes: int

    def load(
        self, script: str, connections: int = CONNECTIONS, *, seconds: float | None = None
    ) -> Figures:
        """Closed-loop load, and its cost. `noise`: the share of the proxy's CPU that others took
        meanwhile.
        """
        with measured(self.pid, self.proxy_cpu) as spent:
            result = self.wrk(script, connections, seconds or self.seconds)
        return {
            "cpu_us": spent.cpu / result.requests * 1e6,
            "rate": result.rate,
            "p50_us": result.latency.get(50.0, 0.0),
            "p99_us": result.latency.get(99.0, 0.0),
            "errors": float(result.socket_errors),
            "noise": spent.others / spent.elapsed,
        }

    def wrk(self, script: str, connections: int, seconds: float) -> WrkResult:
        """Load only."""
        return wrk(
            self.port,
            script,
            work=self.work,
            cpus=self.load_cpus,
            connections=connections,
            seconds=seconds,
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """`metric` of meshlib is at most (or, with `least`, at least) `limit` times that of `peer`.

    Without a peer: an absolute limit. With `scenario`: our own figure there is the reference
    (growth).
    """

    metric: str
    limit: float
    peer: str | None = None
    scenario: str | None = None
    least: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """`run` measures one peer once. `metrics`: those shown, the main one first. `fresh`: start the
    peer anew each round.

    `kind`: what the peers do: HTTP, passing TLS through (`tls_peers`), ending it (`termination`),
    HTTP in a server for applications (`asgi_peers`, `wsgi_peers`). `peers`: those of such a kind
    that has others than the options name; a table's ratios are to the first of them.
    """

    name: str
    about: str
    run: Callable[[Measure], Figures]
    metrics: tuple[str, ...] = ("cpu_us", "rate", "p99_us")
    goals: tuple[Goal, ...] = ()
    routes: int = 10
    fresh: bool = False
    kind: Literal["http", "passthrough", "termination", "asgi", "wsgi"] = "http"
    peers: tuple[str, ...] = ()


SCENARIOS: dict[str, Scenario] = {}


def register(scenario: Scenario) -> None:
    """Make a scenario known by its name."""
    if scenario.name in SCENARIOS:
        raise ValueError(f"two scenarios are named {scenario.name}")
    SCENARIOS[scenario.name] = scenario


def _text(head: str) -> str:
    """A Lua string of these bytes."""
    return (
        '"'
        + head.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
        + '"'
    )


def always(head: str) -> str:
    """A wrk script that sends one request again and again."""
    return f"local text = {_text(head)}\nfunction request() return text end\n"


def numbered(head: str, start: int = 1_000_000_000, step: str = "n + 1") -> str:
    """A wrk script that puts another number for each @ in `head`, each time; built from parts, for
    it shall cost little.
    """
    parts = " .. id .. ".join(_text(part) for part in head.split("@"))
    return (
        f"local n = {start}\nfunction request()\n  n = {step}\n"
        f"  local id = string.format('%d', n)\n  return {parts}\nend\n"
    )


def keepalive(measure: Measure) -> Figures:
    """The same request again and again, as most benchmarks do it."""
    return measure.load(always(request_head(SMALL_HOST, "/catalogue/items?page=2")))


def varied(measure: Measure) -> Figures:
    """One field differs in each request, as it does in the world: a cache of whole heads gains
    nothing.
    """
    trace = {"Priority": "u=0", "traceparent": _TRACE}
    head = request_head(SMALL_HOST, "/catalogue/items?page=2", trace).replace(
        "Priority: u=0\r\n", ""
    )
    return measure.load(numbered(head))


def unique(measure: Measure) -> Figures:
    """Path, cookie and traceparent differ in each request."""
    fields = {"Priority": "u=0", "Cookie": "session=@; theme=dark", "traceparent": _TRACE}
    head = request_head(SMALL_HOST, "/items/@?page=2", fields).replace("Priority: u=0\r\n", "")
    return measure.load(numbered(head))


def many_connections(count: int) -> Callable[[Measure], Figures]:
    """The same load over `count` connections."""
    return lambda measure: measure.load(
        always(request_head(SMALL_HOST, "/catalogue/items?page=2")), count
    )


def download(measure: Measure) -> Figures:
    """1 MiB with a Content-Length."""
    return measure.load(always(request_head(SMALL_HOST, "/large")), 16)


def download_chunked(measure: Measure) -> Figures:
    """1 MiB in 16 chunks."""
    return measure.load(always(request_head(STREAM_HOST, "/chunked")), 16)


def upload(measure: Measure) -> Figures:
    """1 MiB with a Content-Length."""
    head = request_head(STREAM_HOST, "/upload", {"Content-Length": str(LARGE_SIZE)}, method="POST")
    script = (
        f"local text = {_text(head)} .. string.rep('u', {LARGE_SIZE})\n"
        "function request() return text end\n"
    )
    return measure.load(script, 16)


def upload_chunked(measure: Measure) -> Figures:
    """1 MiB in 16 chunks."""
    head = request_head(STREAM_HOST, "/upload", {"Transfer-Encoding": "chunked"}, method="POST")
    chunk = "'10000\\r\\n' .. string.rep('u', 65536) .. '\\r\\n'"
    script = (
        f"local text = {_text(head)} .. string.rep({chunk}, 16) .. '0\\r\\n\\r\\n'\n"
        "function request() return text end\n"
    )
    return measure.load(script, 16)


def close(measure: Measure) -> Figures:
    """A new connection for each request."""
    return measure.load(
        always(request_head(SMALL_HOST, "/catalogue/items?page=2", {"Connection": "close"}))
    )


def close_alone(measure: Measure) -> Figures:
    """The same, one at a time. Load and backend sleep in between and have to be woken for each,
    whoever the peer is; with many at a time only a slow peer pays for that (waking a process on
    another CPU is dear in a virtual machine), a fast one never sees them asleep.
    """
    return measure.load(
        always(request_head(SMALL_HOST, "/catalogue/items?page=2", {"Connection": "close"})), 1
    )


def latency(measure: Measure) -> Figures:
    """Latency at 50, 70 and 90 % of the peer's own capacity, which is found first; open loop.

    `load_busy`: how busy the load's CPU was. Near 1 the load and not the proxy made requests wait;
    hence `FASTEST`.
    """
    head = request_head(SMALL_HOST, "/catalogue/items?page=2")
    capacity = measure.wrk(always(head), CONNECTIONS, min(2.0, measure.seconds)).rate
    figures = {"rate": capacity}
    for share in (50, 70, 90):
        rate = min(capacity * share / 100, FASTEST)
        busy, start = sum(map(cpu_busy_seconds, measure.load_cpus)), time.perf_counter()
        with measured(measure.pid, measure.proxy_cpu) as spent:
            result = paced(
                measure.port,
                head,
                rate=rate,
                seconds=measure.seconds,
                connections=CONNECTIONS * 2,
                cpus=measure.load_cpus,
            )
        busy = (sum(map(cpu_busy_seconds, measure.load_cpus)) - busy) / (
            time.perf_counter() - start
        )
        if not result.requests:
            raise BenchmarkError(f"no response at {share}% load")
        figures |= {
            f"p50_at_{share}_us": result.p50,
            f"p99_at_{share}_us": result.p99,
            f"p999_at_{share}_us": result.p999,
            f"late_at_{share}_us": result.late,
            f"achieved_at_{share}": result.achieved / rate,
            f"rate_at_{share}": rate,
            f"load_busy_at_{share}": busy / len(measure.load_cpus),
            "noise": max(figures.get("noise", 0.0), spent.others / spent.elapsed),
            "errors": figures.get("errors", 0.0) + result.errors,
        }
    return figures


def idle(measure: Measure) -> Figures:
    """Memory for each of 10,000 kept connections, and the CPU time that holding them takes."""
    head = request_head(SMALL_HOST, "/catalogue/items?page=2")
    measure.wrk(
        always(head), CONNECTIONS, 1.0
    )  # memory that any load needs is not the connections'
    time.sleep(0.5)
    before = rss_bytes(measure.pid)
    with idle_connections(measure.port, head, IDLE):
        time.sleep(0.5)
        after = rss_bytes(measure.pid)
        with measured(measure.pid, measure.proxy_cpu) as spent:
            time.sleep(max(3.0, measure.seconds))
    return {
        "bytes_per_connection": (after - before) / IDLE,
        "rss_mb": after / 1024**2,
        "start_rss_mb": before / 1024**2,
        "idle_cpu_ms_per_s": spent.cpu / spent.elapsed * 1000,
    }


def routes(measure: Measure) -> Figures:
    """Requests to all routes, by chance: in turn, each of 64 connections would have one and the
    same of eight hosts for ever.
    """
    hosts = measure.routes - 2
    head = request_head("h@.bench.test", "/catalogue/items?page=2")
    figures = measure.load(numbered(head, 0, f"math.random(0, {hosts - 1})"))
    return {**figures, "rss_mb": rss_bytes(measure.pid) / 1024**2}


_REQUEST_GOALS = (
    Goal("cpu_us", 1.5, "nginx"),
    Goal("cpu_us", 0.8, "envoy"),
    Goal("cpu_us", 0.5, "traefik"),
    Goal("cpu_us", 0.4, "caddy"),
)
_BODY_GOALS = (Goal("cpu_us", 1.1, "envoy"),)

for _scenario in (
    Scenario(
        "keepalive",
        "100-byte responses, 13 fields, 64 connections",
        keepalive,
        goals=_REQUEST_GOALS,
    ),
    Scenario(
        "keepalive-varied",
        "the same, one field differs in each request",
        varied,
        goals=_REQUEST_GOALS,
    ),
    Scenario(
        "keepalive-unique",
        "the same, path and two fields differ in each request",
        unique,
        goals=_REQUEST_GOALS,
    ),
    Scenario("download", "1 MiB responses with a length", download, goals=_BODY_GOALS),
    Scenario("download-chunked", "1 MiB responses in chunks", download_chunked, goals=_BODY_GOALS),
    Scenario("upload", "1 MiB requests with a length", upload, goals=_BODY_GOALS),
    Scenario("upload-chunked", "1 MiB requests in chunks", upload_chunked, goals=_BODY_GOALS),
    Scenario(
        "close",
        "a new connection for each request",
        close,
        goals=(Goal("cpu_us", 2.0, "nginx"), Goal("rate", 0.5, "nginx", least=True)),
    ),
    Scenario(
        "close-alone",
        "a new connection for each request, one at a time",
        close_alone,
        goals=(Goal("cpu_us", 2.0, "nginx"), Goal("rate", 0.5, "nginx", least=True)),
    ),
    Scenario(
        "latency",
        "open-loop latency at 50%, 70% and 90% of own capacity",
        latency,
        (
            "p99_at_50_us",
            "p99_at_70_us",
            "p99_at_90_us",
            "p50_at_50_us",
            "p50_at_70_us",
            "p50_at_90_us",
            "rate",
            "rate_at_90",
            "load_busy_at_90",
        ),
        (
            Goal("p99_at_50_us", 1.5, "nginx"),
            Goal("p99_at_70_us", 1.5, "nginx"),
            Goal("p99_at_90_us", 1.5, "nginx"),
        ),
    ),
    Scenario(
        "idle",
        "10,000 idle kept connections",
        idle,
        ("bytes_per_connection", "rss_mb", "start_rss_mb", "idle_cpu_ms_per_s"),
        (Goal("bytes_per_connection", 10.0, "nginx"), Goal("idle_cpu_ms_per_s", 10.0)),
        fresh=True,
    ),
    Scenario("connections-16", "keepalive over 16 connections", many_connections(16)),
    Scenario("connections-256", "keepalive over 256 connections", many_connections(256)),
    Scenario(
        "connections-1024",
        "keepalive over 1,024 connections",
        many_connections(1024),
        goals=(Goal("cpu_us", 2.0, scenario="connections-16"),),
    ),
    Scenario("routes-10", "all of 10 routes by chance", routes, ("cpu_us", "rate", "rss_mb")),
    Scenario(
        "routes-1000",
        "all of 1,000 routes by chance",
        routes,
        ("cpu_us", "rate", "rss_mb"),
        (Goal("cpu_us", 1.15, scenario="routes-10"),),
        routes=1000,
    ),
    Scenario(
        "routes-100000",
        "all of 100,000 routes by chance",
        routes,
        ("cpu_us", "rate", "rss_mb"),
        (Goal("cpu_us", 1.3, scenario="routes-10"),),
        routes=100_000,
    ),
):
    register(_scenario)
