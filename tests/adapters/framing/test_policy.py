"""Frames of each kind have their bound, and their share of a turn."""

from __future__ import annotations

import contextlib

import pytest

from meshlib.errors import FrameError
from meshlib.http2 import Flag, Kind
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.framing.policy import FramePolicy
from meshlib_adapters.turns import FRAME, MESSAGE

LIMITS = HTTP2Settings(
    resets=3,
    resets_per_second=1,
    idle_frames=5,
    idle_frames_per_second=1,
    small_frames=4,
    small_frames_per_second=1,
)
ENHANCE_YOUR_CALM = 11
HEAD_SIZE = 1000


@pytest.fixture
def policy() -> FramePolicy:
    return FramePolicy(LIMITS, HEAD_SIZE, 0.0)


def admitted(
    policy: FramePolicy, kind: Kind, flags: int = 0, size: int = 0, *, live: bool = True
) -> int:
    """How many of 100 such frames are admitted at once."""
    count = 0
    with contextlib.suppress(FrameError):
        for _ in range(100):
            policy.admit(kind, flags, size, 0.0, live=live)
            count += 1
    return count


def test_too_many_are_an_error_of_the_connection(policy: FramePolicy) -> None:
    assert admitted(policy, Kind.PING) == 5
    with pytest.raises(FrameError) as caught:
        policy.admit(Kind.PING, 0, 8, 0.0, live=True)
    error = caught.value
    assert (error.reason, error.code, error.stream) == ("flood", ENHANCE_YOUR_CALM, 0)


@pytest.mark.parametrize(
    ("kind", "flags", "size", "live", "count"),
    [
        (Kind.DATA, 0, 9, True, 100),
        (Kind.DATA, Flag.END_STREAM, 1, True, 100),
        (Kind.DATA, Flag.END_STREAM, 0, True, 100),
        (Kind.DATA, 0, 1, True, 4),
        (Kind.DATA, 0, 0, True, 5),
        (Kind.DATA, 0, 9, False, 5),
        (Kind.HEADERS, 0, 9, True, 100),
        (Kind.HEADERS, 0, 9, False, 5),
        (Kind.CONTINUATION, 0, 9, True, 5),
        (Kind.RST_STREAM, 0, 4, True, 100),
        (Kind.RST_STREAM, 0, 4, False, 5),
        (Kind.PING, 0, 8, True, 5),
        (Kind.SETTINGS, 0, 0, True, 5),
        (Kind.WINDOW_UPDATE, 0, 4, True, 5),
        (Kind.PRIORITY, 0, 5, True, 5),
    ],
)
def test_so_many_at_once(
    policy: FramePolicy, kind: Kind, flags: int, size: int, live: bool, count: int
) -> None:
    assert admitted(policy, kind, flags, size, live=live) == count


def test_useful_work_lets_more_follow(policy: FramePolicy) -> None:
    for _ in range(5):
        policy.admit(Kind.PING, 0, 8, 0.0, live=True)
    policy.earn(2)
    assert admitted(policy, Kind.PING) == 2


def test_time_does_too(policy: FramePolicy) -> None:
    assert admitted(policy, Kind.PING) == 5
    policy.admit(Kind.PING, 0, 8, 3.0, live=True)


def test_a_header_block_has_an_end() -> None:
    policy = FramePolicy(HTTP2Settings(idle_frames=10_000), HEAD_SIZE, 0.0)
    policy.admit(Kind.HEADERS, 0, HEAD_SIZE, 0.0, live=True)
    policy.admit(Kind.CONTINUATION, 0, HEAD_SIZE, 0.0, live=True)
    with pytest.raises(FrameError) as caught:
        policy.admit(Kind.CONTINUATION, 0, 1, 0.0, live=True)
    assert caught.value.reason == "head_too_large"
    policy.admit(Kind.HEADERS, 0, HEAD_SIZE, 0.0, live=True)  # the next one begins anew
    for _ in range(64):
        policy.admit(Kind.CONTINUATION, 0, 0, 0.0, live=True)
    with pytest.raises(FrameError) as caught:
        policy.admit(Kind.CONTINUATION, 0, 0, 0.0, live=True)
    assert caught.value.reason == "head_too_large"


@pytest.mark.parametrize(
    ("kind", "size", "work"),
    [
        (Kind.DATA, 0, FRAME),
        (Kind.DATA, 16_384, FRAME + 16),
        (Kind.HEADERS, 80, 2 * MESSAGE + 10),
        (Kind.CONTINUATION, 80, FRAME + 10),
        (Kind.PING, 8, 4 * FRAME),
    ],
)
def test_each_has_its_share_of_a_turn(
    policy: FramePolicy, kind: Kind, size: int, work: int
) -> None:
    assert policy.admit(kind, 0, size, 0.0, live=True) == work


def test_requests_that_are_taken_back(policy: FramePolicy) -> None:
    for _ in range(3):
        policy.admit_reset(0.0)
    with pytest.raises(FrameError, match="taken back or malformed"):
        policy.admit_reset(0.0)


def test_an_endpoint_that_rests_sends_a_few_frames_and_no_response(policy: FramePolicy) -> None:
    with pytest.raises(FrameError, match="a response without a request"):
        policy.admit_resting(Kind.HEADERS, 0.0)
    for _ in range(32):
        policy.admit_resting(Kind.PING, 0.0)
    with pytest.raises(FrameError, match="idle connection"):
        policy.admit_resting(Kind.PING, 0.0)
    policy.earn_rest()
    policy.admit_resting(Kind.PING, 0.0)
