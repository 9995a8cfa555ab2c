"""Time that a test moves: `FakeClock`."""

from __future__ import annotations

import math

__all__ = ["FakeClock"]


class FakeClock:
    """A clock that stands still until it is moved, in seconds; calling it tells the time.

        clock = FakeClock()
        health.observe(Observation.CONNECT_FAILED, clock())
        clock.advance(30)
        assert health.available(clock())

    For whatever takes times as arguments (`now=` of a mesh, `EndpointHealth`, `SlowStart`), or a
    clock (`clock=` of providers). `start` is the first time; the default is in 2023, so that it
    can stand for seconds since the epoch, too. `mesh_client(clock=)` says what it means there.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.start = start
        self.now = start

    def __repr__(self) -> str:
        return f"<FakeClock {self.now:.3f}, {self.advanced:g} s behind its start>"

    def __call__(self) -> float:
        return self.now

    @property
    def advanced(self) -> float:
        """The seconds since the start."""
        return self.now - self.start

    def advance(self, seconds: float) -> float:
        """Let so many seconds go by, and return the time then. Raises ValueError for a step
        back.
        """
        if not (seconds >= 0 and math.isfinite(seconds)):
            raise ValueError(f"{seconds!r} is no time that can go by")
        self.now += seconds
        return self.now
