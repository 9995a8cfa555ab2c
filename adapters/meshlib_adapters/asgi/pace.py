"""Turns for coroutines: an `await` that never has to wait gives nobody else a turn, however often
it is written.
"""

from __future__ import annotations

import asyncio

from meshlib_adapters.turns import WORK

__all__ = ["Pace"]


class Pace:
    """The budget of one coroutine that takes messages which may all be there already (see
    `http.turns`, whose units these are).
    """

    def __init__(self) -> None:
        self._left = WORK

    async def spend(self, work: int) -> None:
        """Count work that was done; when the turn is over, let everybody else have theirs first."""
        self._left -= work
        if self._left <= 0:
            self._left = WORK
            await asyncio.sleep(0)
