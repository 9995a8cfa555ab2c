"""What a request costs in the clients's own code: a client's and an endpoint's connection in one
process, without sockets.

    python -m tests.benchmarks.one_request [--rounds 5] [--requests 10000] [--without NAME]

Microseconds of CPU time a request, medians of the rounds. With `--compiled` the same is measured in
the compiled build.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, cast

from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.fast_paths import ALL, FastPaths
from meshlib_adapters.listeners.http_clients import HTTPClients
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.build_info import VERSION
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.upstream.http1 import HTTP1EndpointConnection
from tests.benchmarks.compiled import compiled_copy

__all__ = ["CASES", "main", "measured"]

_ROOT = Path(__file__).resolve().parents[2]
_REQUEST: Final = (
    b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    b"Chrome/120.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nReferer: http://shop.example.com/\r\n"
    b"Cookie: a=b; SESSION=abcdef0123456789\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-Site: same-origin\r\n"
    b"Cache-Control: max-age=0\r\n\r\n"
)
_RESPONSE: Final = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 01:44:10 GMT\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 100\r\nConnection: keep-alive\r\n\r\n" + b"0" * 100
)
_LAST: Final = _REQUEST[:-2] + b"Connection: close\r\n\r\n"
_VARIANTS: Final = 1000
_HOSTS: Final = 10


class _Nowhere(asyncio.Transport):
    """Takes everything at once, and counts the writes."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1234), "sockname": ("127.0.0.1", 80)})
        self.writes = 0
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is kept."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def pause_reading(self) -> None:
        """Nothing is read."""

    resume_reading = pause_reading


def _gateway(access_log: AccessLog | None, fast_paths: FastPaths) -> tuple[HTTPClients, Upstream]:
    upstream = Upstream(UpstreamKey("shop", 80), (Endpoint("s.1", "127.0.0.1", 7001),))
    names = ["shop.example.com", *(f"h{number}.example.com" for number in range(_HOSTS))]
    routes = tuple(
        Route(HostPath(name), ForwardTo(upstream), service="shop", label="label", schema="hrm")
        for name in names
    )
    mesh = Mesh(Snapshot.of([Contribution("bench/shop", "shop", routes=routes)]))
    return HTTPClients(
        Proxy(mesh, HTTPSettings(), access_log=access_log, fast_paths=fast_paths)
    ), upstream


def _client(clients: HTTPClients) -> asyncio.Protocol:
    connection = cast("asyncio.Protocol", clients.create_front("http", 80))
    connection.connection_made(_Nowhere())
    return connection


def _endpoint(clients: HTTPClients, upstream: Upstream) -> tuple[HTTP1EndpointConnection, _Nowhere]:
    """A connection to the endpoint, idle in its pool."""
    pool = clients.proxy.upstreams.state(upstream).ready[0]
    connection, transport = HTTP1EndpointConnection(pool), _Nowhere()
    connection.connection_made(transport)
    pool.lease(connection)
    pool.release(connection)
    return connection, transport


Load = Callable[[HTTPClients, HTTP1EndpointConnection, int], None]


def _same(clients: HTTPClients, endpoint: HTTP1EndpointConnection, requests: int) -> None:
    client, flush = (
        _client(clients),
        clients.proxy.write_batch.flush,
    )  # the loop would call it at the end of its round
    for _ in range(requests):
        client.data_received(_REQUEST)
        flush()
        endpoint.data_received(_RESPONSE)
        flush()
    client.connection_lost(None)


def _different(clients: HTTPClients, endpoint: HTTP1EndpointConnection, requests: int) -> None:
    client, flush = _client(clients), clients.proxy.write_batch.flush
    asked = [_REQUEST.replace(b"max-age=0", b"max-age=%d" % number) for number in range(_VARIANTS)]
    responses = [
        _RESPONSE.replace(b"text/plain", b"text/p%04d" % number) for number in range(_VARIANTS)
    ]
    for number in range(requests):
        client.data_received(asked[number % _VARIANTS])
        flush()
        endpoint.data_received(responses[number % _VARIANTS])
        flush()
    client.connection_lost(None)


def _hosts(clients: HTTPClients, endpoint: HTTP1EndpointConnection, requests: int) -> None:
    client, flush = _client(clients), clients.proxy.write_batch.flush
    asked = [_REQUEST.replace(b"Host: shop", b"Host: h%d" % number) for number in range(_HOSTS)]
    for number in range(requests):
        client.data_received(asked[number % _HOSTS])
        flush()
        endpoint.data_received(_RESPONSE)
        flush()
    client.connection_lost(None)


def _closing(clients: HTTPClients, endpoint: HTTP1EndpointConnection, requests: int) -> None:
    flush = clients.proxy.write_batch.flush
    for _ in range(requests):
        client = _client(clients)
        client.data_received(_LAST)
        flush()
        endpoint.data_received(_RESPONSE)
        flush()
        client.connection_lost(None)


# Name -> what is asked, and whether there is an access log.
CASES: Final[dict[str, tuple[Load, bool]]] = {
    "keep-alive": (_same, False),
    "keep-alive, with a record of each": (_same, True),
    "fields differ each time": (_different, False),
    "the host differs each time": (_hosts, False),
    "a new connection each time": (_closing, False),
    "a new connection each time, with a record": (_closing, True),
}


async def measured(case: str, rounds: int, requests: int, fast_paths: FastPaths = ALL) -> float:
    """The median of the rounds, in microseconds of CPU time a request."""
    load, recorded = CASES[case]
    with open(os.devnull, "a", encoding="utf-8") as nowhere:  # no disk is waited for  # noqa: ASYNC230
        log = (
            AccessLog(lambda lines: cast("None", nowhere.write(lines)), form="combined")
            if recorded
            else None
        )
        clients, upstream = _gateway(log, fast_paths)
        endpoint, transport = _endpoint(clients, upstream)
        load(clients, endpoint, _VARIANTS)
        seen = []
        for _ in range(rounds):
            before, began = transport.writes, time.process_time()
            load(clients, endpoint, requests)
            if log is not None:
                log.hand_over()
            seen.append((time.process_time() - began) / requests * 1e6)
            if transport.writes - before != requests:
                raise RuntimeError(
                    f"{case}: {transport.writes - before} requests of {requests} "
                    "reached the endpoint"
                )
        if log is not None:
            log.flush()
            if log.dropped:
                raise RuntimeError(f"{case}: {log.dropped} records were dropped")
    return statistics.median(seen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(prog="one_request", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="build a compiled copy of the checkout first and measure that",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=[field.name for field in fields(FastPaths)],
        help="switch a fast path off (may be repeated)",
    )
    options = parser.parse_args(arguments)
    if options.compiled:
        switched = [word for name in options.without for word in ("--without", name)]
        return _compiled(
            ["--rounds", str(options.rounds), "--requests", str(options.requests), *switched]
        )
    fast_paths = replace(ALL, **dict.fromkeys(options.without, False))
    print(f"meshlib {VERSION}")
    for case in CASES:
        microseconds = asyncio.run(measured(case, options.rounds, options.requests, fast_paths))
        print(f"{case:44s} {microseconds:6.1f} us")
    return 0


def _compiled(arguments: list[str]) -> int:
    environment: dict[str, Any] = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(compiled_copy()), str(_ROOT)]),
        "PYTHONSAFEPATH": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.one_request", *arguments],
        env=environment,
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
