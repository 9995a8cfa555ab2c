"""A half-closed peer is gone when its reset says so, and not before."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from meshlib_adapters.sockets import half_closed
from meshlib_adapters.sockets.half_closed import has_departed, watch_for_departure
from tests.support.backend import reset


class Wire(asyncio.BaseTransport):
    """Has a socket, or anything in its place."""

    def __init__(self, sock: Any) -> None:
        super().__init__({"socket": sock})


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.settimeout(10)
    with ours, peer:
        yield ours, peer


@pytest.mark.parametrize("linux", [True, False])
def test_a_fin_is_no_departure_and_a_reset_is(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, linux: bool
) -> None:
    monkeypatch.setattr(half_closed, "_LINUX", linux and half_closed._LINUX)
    ours, peer = ends
    wire = Wire(ours)
    peer.shutdown(socket.SHUT_WR)
    assert ours.recv(1) == b""
    assert not has_departed(wire)
    reset(peer)
    for _ in range(10_000):
        if has_departed(wire):
            break
    else:
        pytest.fail("nobody noticed")


def test_the_kernel_asks_a_half_closed_peer(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    watch_for_departure(Wire(ours))
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    asked = [
        ours.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    ]
    assert asked == [10, 10, 3]


def test_what_is_no_tcp_or_closed_is_left_alone() -> None:
    assert not has_departed(Wire(None))
    watch_for_departure(Wire(None))
    one, other = socket.socketpair()
    with one, other:
        watch_for_departure(Wire(one))
        assert not has_departed(Wire(one))
    watch_for_departure(Wire(one))
    assert has_departed(Wire(one))
