"""What is measured of a TLS passthrough: much at once, small messages, new connections, idle
tunnels.
"""

from __future__ import annotations

import contextlib
import time

from tests.benchmarks.measure import measured, pinned, rss_bytes
from tests.benchmarks.processes import BenchmarkError
from tests.benchmarks.scenarios import SCENARIOS, Figures, Goal, Measure, Scenario, register
from tests.benchmarks.tcp_load import client_hello, opened
from tests.benchmarks.tls_configurations import TLS_NAME
from tests.benchmarks.tls_load import run_load

__all__ = ["IDLE_TUNNELS", "register_tls"]

# Two sockets each in the proxy; with a limit of 20,000 open files that is what goes in.
IDLE_TUNNELS = 9_000
_MESSAGE_CONNECTIONS = 64
_AT_ONCE = 32


def _load(measure: Measure, mode: str, connections: int) -> Figures:
    with measured(measure.pid, measure.proxy_cpu) as spent, pinned(measure.load_cpus):
        result = run_load(measure.port, TLS_NAME, mode, measure.seconds, connections)
    return {
        "cpu_us": spent.cpu / result.count * 1e6,
        "rate": result.count / result.seconds,
        "noise": spent.others / spent.elapsed,
    }


def bulk(measure: Measure) -> Figures:
    """100 MiB towards the client, again and again over one connection."""
    figures = _load(measure, "bulk", 1)
    return {"cpu_ms": figures.pop("cpu_us") / 1000, **figures}


def messages(measure: Measure) -> Figures:
    """100 bytes there and back: two messages for the proxy."""
    return _load(measure, "messages", _MESSAGE_CONNECTIONS)


def connections(measure: Measure) -> Figures:
    """New connections with a real hello and bytes as many as a handshake has."""
    return _load(measure, "connections", _AT_ONCE)


def tunnels(measure: Measure) -> Figures:
    """Memory for each of many open tunnels, and the CPU time that holding them takes."""
    hello = client_hello(TLS_NAME)
    with contextlib.ExitStack() as stack:
        for _ in range(100):  # memory that any tunnel needs is not that of these
            stack.enter_context(opened(measure.port, hello))
    time.sleep(1.0)
    before = rss_bytes(measure.pid)
    with contextlib.ExitStack() as stack:
        for number in range(IDLE_TUNNELS):
            try:
                stack.enter_context(opened(measure.port, hello))
            except OSError as error:
                raise BenchmarkError(f"tunnel {number + 1} of {IDLE_TUNNELS}: {error}") from error
        time.sleep(1.0)
        after = rss_bytes(measure.pid)
        with measured(measure.pid, measure.proxy_cpu) as spent:
            time.sleep(max(3.0, measure.seconds))
    return {
        "bytes_per_tunnel": (after - before) / IDLE_TUNNELS,
        "rss_mb": after / 1024**2,
        "idle_cpu_ms_per_s": spent.cpu / spent.elapsed * 1000,
    }


def register_tls() -> None:
    """Make the scenarios known; again does nothing."""
    if "tls-bulk" in SCENARIOS:
        return
    for scenario in (
        Scenario(
            "tls-bulk",
            "100 MiB through a passthrough connection",
            bulk,
            ("cpu_ms", "rate"),
            (Goal("cpu_ms", 0.6, "nginx"), Goal("cpu_ms", 1.0, "haproxy")),
            kind="passthrough",
        ),
        Scenario(
            "tls-messages",
            "100 bytes there and back over 64 passthrough connections",
            messages,
            ("cpu_us", "rate"),
            (Goal("cpu_us", 1.4, "nginx"),),
            kind="passthrough",
        ),
        Scenario(
            "tls-connections",
            "new passthrough connections, 32 at once",
            connections,
            ("cpu_us", "rate"),
            (Goal("cpu_us", 2.0, "nginx"),),
            kind="passthrough",
        ),
        Scenario(
            "tls-tunnels",
            f"{IDLE_TUNNELS:,} idle tunnels",
            tunnels,
            ("bytes_per_tunnel", "rss_mb", "idle_cpu_ms_per_s"),
            (Goal("idle_cpu_ms_per_s", 10.0),),
            fresh=True,
            kind="passthrough",
        ),
    ):
        register(scenario)
