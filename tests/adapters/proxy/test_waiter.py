"""Wake-ups of one coroutine."""

from __future__ import annotations

import asyncio

from meshlib_adapters.proxy.waiter import Waiter


def test_who_waits_is_woken_once_and_may_wait_again() -> None:
    async def story() -> None:
        waiter = Waiter(asyncio.get_running_loop())
        waiter.wake()  # nobody is there
        for _ in range(2):
            task = asyncio.create_task(waiter.wait())
            await asyncio.sleep(0)
            assert not task.done()
            assert repr(waiter) == "<Waiter waiting>"
            waiter.wake()
            waiter.wake()
            await task
        assert repr(waiter) == "<Waiter idle>"

    asyncio.run(story())


def test_who_is_cancelled_waits_no_longer() -> None:
    async def story() -> None:
        waiter = Waiter(asyncio.get_running_loop())
        task = asyncio.create_task(waiter.wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        waiter.wake()
        assert repr(waiter) == "<Waiter idle>"

    asyncio.run(story())
