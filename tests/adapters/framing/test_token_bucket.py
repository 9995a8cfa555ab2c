"""A bucket gives so many tokens at once, then as many as time and useful work bring."""

from __future__ import annotations

from meshlib_adapters.framing.token_bucket import TokenBucket


def taken(bucket: TokenBucket, now: float, most: int = 100) -> int:
    """How many tokens it gives at once."""
    return next(count for count in range(most) if not bucket.take(now))


def test_as_many_as_it_holds() -> None:
    assert taken(TokenBucket(5, 1, 0.0), 0.0) == 5


def test_time_refills_it_up_to_its_size() -> None:
    bucket = TokenBucket(5, 2, 0.0)
    assert [bucket.take(0.0) for _ in range(5)] == [True] * 5
    assert taken(bucket, 1.0) == 2
    bucket = TokenBucket(5, 2, 0.0)
    assert taken(bucket, 1000.0) == 5


def test_so_does_useful_work() -> None:
    bucket = TokenBucket(5, 0, 0.0)
    for _ in range(5):
        bucket.take(0.0)
    bucket.refill(3)
    assert taken(bucket, 0.0) == 3
    bucket = TokenBucket(5, 0, 0.0)
    bucket.refill(100)
    assert taken(bucket, 0.0) == 5


def test_who_takes_too_many_waits_for_those_as_well() -> None:
    bucket = TokenBucket(1, 1, 0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, False, False]
    assert not bucket.take(2.0)
    assert bucket.take(4.0)
