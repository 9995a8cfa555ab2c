"""The probes, through every ASGI server. What one of them does not pass is the server's own doing,
and named here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.asgi_process import SERVERS, ASGIProcess
from tests.support.backend import OK, Backend, Peer
from tests.support.client import get
from tests.support.probes import MEGABYTE, PROBES, Make, Place

_TRAILERS: Final = {"trailers of the response": "it has no message for those of HTTP/1.1"}
# What a server does not pass. Those that begin with "-" would only wait for a time-out.
LIMITS: Final[dict[str, dict[str, str]]] = {
    "uvicorn-httptools": _TRAILERS,
    "uvicorn-h11": _TRAILERS,
    "hypercorn": _TRAILERS,
    "granian": {
        **_TRAILERS,
        "CL and TE together refused": "it drops Content-Length itself",
    },
    "daphne": {
        **_TRAILERS,
        "request body streamed": "- it collects bodies before it calls an application",
        "early 413 delivered while the client uploads": "- the same",
        "bounded growth for an upload of 200 MB": "- the same",
        "missing Host refused": "- it keeps the connection open",
        "two Host refused": "- the same",
        "truncated response neither complete nor hanging": "- it cannot cut a response",
        "WebSocket echo": "it does not send the code of an application's close",
    },
}
PLACES: Final = [
    pytest.param(
        kind,
        name,
        marks=[pytest.mark.xfail(reason=why, run=not why.startswith("-"))]
        if (why := LIMITS[kind].get(name, ""))
        else [],
    )
    for kind in SERVERS
    for name in PROBES
]


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, ASGIProcess]]:
    with contextlib.ExitStack() as stack:
        started: dict[str, ASGIProcess] = {}
        yield started
        for process in started.values():
            stack.callback(process.stop)


@pytest.fixture
def place(
    kind: str,
    processes: dict[str, ASGIProcess],
    backend: Make,
    stack: contextlib.ExitStack,
) -> Place:
    server = processes.get(kind)
    if server is None:
        server = processes[kind] = ASGIProcess(kind)

    def start(upstream: Backend) -> ASGIProcess:
        stack.callback(server.serve, None)
        return server.serve(upstream)

    def own(upstream: Backend) -> ASGIProcess:
        return ASGIProcess(kind).serve(upstream)

    return Place(start, backend, own, 5 * MEGABYTE)


@pytest.mark.parametrize(("kind", "name"), PLACES)
def test_what_a_proxy_must_do(place: Place, kind: str, name: str) -> None:
    PROBES[name](place)


def test_at_least_29_pass_but_for_daphne() -> None:
    passed = {kind: len(PROBES) - len(limits) for kind, limits in LIMITS.items()}
    assert passed.pop("daphne") == 23
    assert set(passed.values()) == {29, 30}


@pytest.mark.parametrize("kind", ["uvicorn-httptools", "granian"])
def test_a_download_of_200_mb_adds_under_5_mb(kind: str, backend: Make) -> None:
    size = 200 * MEGABYTE

    def script(peer: Peer) -> None:
        while b"/warm" in peer.read_head():
            peer.send(OK)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        block = b"x" * MEGABYTE
        for _ in range(200):
            peer.send(block)
        peer.read_rest()

    process = ASGIProcess(kind).serve(backend(script))
    try:
        before = process.warm()
        client = process.client()
        client.send(get())
        client.read_head()
        left = size
        while left:
            left -= len(client.more(1 << 18))
        assert process.memory("VmHWM") - before < 5 * MEGABYTE
    finally:
        process.stop()
