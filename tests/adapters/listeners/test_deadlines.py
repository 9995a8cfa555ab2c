"""The time-outs of three listeners: one that fails stops no other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlib.model import Endpoint, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.transport import TCPSettings, TLSSettings, UDPSettings
from meshlib_adapters.listeners.tcp import TCPListener
from meshlib_adapters.listeners.tcp_connection import TCPConnection
from meshlib_adapters.listeners.tls import TLSListener
from meshlib_adapters.listeners.tls_connection import TLSConnection
from meshlib_adapters.listeners.udp.flow import Flow
from meshlib_adapters.listeners.udp.listener import UDPListener
from tests.support.tcp_lab import LOOPBACK, Run, Table


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def problems_of(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    return problems


@contextlib.contextmanager
def clients(port: int, kind: socket.SocketKind, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(socket.AF_INET, kind)) for _ in range(count)]
        for sock in socks:
            sock.connect((LOOPBACK, port))
            if kind is socket.SOCK_DGRAM:
                sock.send(b"x")
        yield socks


Served = TCPListener | TLSListener | UDPListener


def served(what: str, upstream: Upstream) -> Served:
    if what == "tls":
        return TLSListener(Table(), TLSSettings(head_read=0.2, sweep_interval=0.05))
    if what == "tcp":
        return TCPListener(lambda: upstream, TCPSettings(tunnel_idle=0.2, sweep_interval=0.05))
    return UDPListener(lambda: upstream, UDPSettings(flow_timeout=0.2, sweep_interval=0.05))


@pytest.mark.parametrize(
    ("what", "method"), [("tls", "_close"), ("tcp", "abort"), ("udp", "abort")]
)
def test_one_that_fails_stops_no_other_time_out(
    run: Run, what: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first to time out breaks each time; the others go, and so does who comes later."""
    owner = {"tls": TLSConnection, "tcp": TCPConnection, "udp": Flow}[what]
    original = getattr(owner, method)
    broken: list[object] = []

    def breaks(self: object, *args: object) -> None:
        if not broken:
            broken.append(self)
        if self is broken[0] and not mended:
            raise LookupError("broken")
        original(self, *args)

    mended: list[bool] = []

    async def scenario() -> None:
        problems = problems_of(asyncio.get_running_loop())
        kind = socket.SOCK_DGRAM if what == "udp" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as server:
            server.bind((LOOPBACK, 0))
            if kind is socket.SOCK_STREAM:
                server.listen()
            listener = served(
                what,
                Upstream(
                    UpstreamKey("e", 1), (Endpoint("e.1", LOOPBACK, server.getsockname()[1]),)
                ),
            )
            _, port = await listener.listen(LOOPBACK, 0)
            for total in (5, 10):
                with clients(port, kind, 5):
                    # On a busy machine the first may have timed out before the last is there.
                    await until(
                        lambda: listener.counters["flows" if what == "udp" else "accepted"] >= total  # noqa: B023
                    )
                    await until(lambda: len(listener) == 1)
            mended.append(True)
            await until(lambda: not len(listener))
            listener.close()
        assert {type(problem["exception"]) for problem in problems} == {LookupError}

    monkeypatch.setattr(owner, method, breaks)
    run(scenario())
