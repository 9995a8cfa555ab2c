from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing.slow_start import SlowStart


def test_the_first_pick_is_taken_and_then_few() -> None:
    start = SlowStart(100.0, 10.0)
    assert repr(start) == "<SlowStart of 10 s>"
    taken = [start.takes(100.0) for _ in range(17)]
    assert taken[0]
    assert sum(taken) == 3


def test_the_share_grows_to_the_whole() -> None:
    start = SlowStart(0.0, 10.0)
    counts = [sum(start.takes(second + step / 100) for step in range(100)) for second in range(10)]
    assert all(later >= earlier for earlier, later in pairwise(counts))
    assert counts[0] < 20
    assert counts[9] > 90
    assert not start.over(9.99)
    assert start.over(10.0)
    assert all(start.takes(10.0 + step) for step in range(20))


@given(st.floats(0.001, 1e6), st.lists(st.floats(0.0, 1e6), max_size=50))
def test_never_more_than_offered_and_never_long_without(seconds: float, ages: list[float]) -> None:
    start = SlowStart(0.0, seconds)
    waited = 0
    for now in sorted(ages):
        waited = 0 if start.takes(now) else waited + 1
        assert waited <= 10
