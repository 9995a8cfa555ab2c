"""Clients that leave: noticed, and at no cost for a request that is over soon."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from meshlib_adapters.asgi.departures import Departures
from meshlib_adapters.proxy.awaited import AwaitedExchange

pytestmark = pytest.mark.anyio

_PATIENCE = 0.02


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Exchange:
    left = False

    def leave(self) -> None:
        self.left = True

    def watch(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            self.leave()


def made() -> tuple[Exchange, AwaitedExchange]:
    exchange = Exchange()
    return exchange, cast("AwaitedExchange", exchange)


async def test_a_quick_request_starts_no_task() -> None:
    departures = Departures(asyncio.get_running_loop(), _PATIENCE)
    asked = 0

    async def receive() -> Any:
        nonlocal asked
        asked += 1

    before = asyncio.all_tasks()
    for _ in range(10):
        _, exchange = made()
        departures.watch(exchange, receive)
        assert departures.unwatch(exchange) is None
    assert asyncio.all_tasks() == before
    await asyncio.sleep(3 * _PATIENCE)
    assert not asked
    assert asyncio.all_tasks() == before


async def test_a_client_that_goes_in_the_course_of_a_long_one_is_noticed() -> None:
    departures = Departures(asyncio.get_running_loop(), _PATIENCE)
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "http.request"})
    seen, exchange = made()
    departures.watch(exchange, messages.get)
    await asyncio.sleep(3 * _PATIENCE)
    assert messages.empty()
    assert not seen.left
    messages.put_nowait({"type": "http.disconnect"})
    await asyncio.sleep(0.01)
    assert seen.left
    task = departures.unwatch(exchange)
    assert task is not None
    assert task.done()


async def test_a_server_that_fails_is_a_client_that_has_gone() -> None:
    departures = Departures(asyncio.get_running_loop(), _PATIENCE)

    async def receive() -> Any:
        raise OSError("the server's own")

    seen, exchange = made()
    departures.watch(exchange, receive)
    await asyncio.sleep(3 * _PATIENCE)
    assert seen.left
    task = departures.unwatch(exchange)
    assert task is not None
    with pytest.raises(OSError, match="the server's own"):
        task.result()
