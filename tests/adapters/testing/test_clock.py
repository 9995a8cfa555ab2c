"""Time that a test moves, with what takes times."""

from __future__ import annotations

import math

import pytest

import meshlib
from meshlib.balancing.slow_start import SlowStart
from meshlib_adapters.testing import FakeClock


def test_it_stands_until_it_is_moved() -> None:
    clock = FakeClock(100)
    assert (clock(), clock(), clock.advanced) == (100, 100, 0)
    assert clock.advance(2.5) == 102.5
    assert (clock(), clock.now, clock.advanced) == (102.5, 102.5, 2.5)
    assert "2.5 s behind its start" in repr(clock)


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
def test_it_does_not_go_back(seconds: float) -> None:
    with pytest.raises(ValueError, match="no time that can go by"):
        FakeClock().advance(seconds)


def test_what_takes_times_takes_its() -> None:
    clock = FakeClock()
    warming = SlowStart(clock(), 30)
    assert not warming.over(clock())
    clock.advance(30)
    assert warming.over(clock())
    mesh = meshlib.Mesh()
    assert mesh.replace({"a.example.com": ["10.0.0.5:80"]}, now=clock())
