"""`Turn`: a budget that ends, begins again in the loop's next round, and never runs for somebody
else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from meshlib_adapters.turns import BYTES, FRAME, MESSAGE, WORK, Turn
from tests.support.http_fixtures import LoopFactory, loop_factory

__all__ = ["loop_factory"]


async def rounds(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def on_loop(
    test: Callable[[asyncio.AbstractEventLoop], Coroutine[None, None, None]],
) -> Callable[[LoopFactory], None]:
    """The test, on each kind of loop."""

    def run(loop_factory: LoopFactory) -> None:
        loop = loop_factory()
        try:
            loop.run_until_complete(test(loop))
        finally:
            loop.close()

    return run


@on_loop
async def test_a_turn_ends_when_its_work_is_spent_and_the_next_one_has_a_full_budget(
    loop: asyncio.AbstractEventLoop,
) -> None:
    turn = Turn(loop)
    served = 0
    while turn.spend(MESSAGE):
        served += 1
    assert served == WORK // MESSAGE - 1
    seen: list[int] = []
    turn.end(lambda: seen.append(turn.left))
    assert (turn.over, seen) == (True, [])  # never inside the turn that is over
    await rounds()
    assert (turn.over, seen) == (False, [WORK])


@on_loop
async def test_a_turn_goes_on_once_however_often_it_was_ended(
    loop: asyncio.AbstractEventLoop,
) -> None:
    turn = Turn(loop)
    seen: list[str] = []
    turn.end(lambda: seen.append("first"))
    turn.end(lambda: seen.append("second"))
    await rounds()
    assert seen == ["first"]


@on_loop
async def test_what_was_cancelled_never_runs_and_leaves_a_full_budget_to_the_next_user(
    loop: asyncio.AbstractEventLoop,
) -> None:
    turn = Turn(loop)
    turn.spend(WORK)
    turn.end(lambda: pytest.fail("the connection is gone"))
    turn.cancel()
    assert (turn.over, turn.left) == (False, WORK)
    seen: list[str] = []
    turn.end(lambda: seen.append("the next connection's"))
    await rounds()
    assert seen == ["the next connection's"]
    turn.cancel()  # nothing to cancel is no error


@on_loop
async def test_others_are_served_between_two_turns(loop: asyncio.AbstractEventLoop) -> None:
    turn = Turn(loop)
    order: list[str] = []

    def work() -> None:
        order.append("greedy")
        if len(order) < 8:
            turn.end(work)

    work()
    loop.call_soon(order.append, "innocent")
    await rounds(12)
    assert (
        order.index("innocent") == 2
    )  # behind the turn that had begun, and the one that was already due


def test_the_costs_of_all_kinds_fit_a_turn_many_times() -> None:
    assert WORK // MESSAGE >= 8
    assert WORK // FRAME >= 32
    assert WORK * BYTES >= 2 * 256 * 1024  # a bulk transfer loses no read of the loop
