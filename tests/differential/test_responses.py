"""Responses, made and mutated, by meshlib.http1, h11 and httptools: whatever we accept the others
read the same.
"""

from __future__ import annotations

from random import Random

from tests.differential.compare import STREAMS, TIMEOUT, Census, compared_response
from tests.differential.differences import DIFFERENCES
from tests.differential.grammar import response, stream

pytestmark = TIMEOUT

_METHODS = (b"GET", b"GET", b"POST", b"HEAD")


def test_responses_read_as_others_read_them() -> None:
    """With interim ones before and surplus bytes behind them, half of them with something
    broken.
    """
    census = Census()
    count = STREAMS // 4
    for seed in range(count):
        random = Random(f"response {seed}")
        data = stream(random, response)
        if data:
            compared_response(random, data, random.choice(_METHODS), census)
    assert census["accepted"] > count // 4 < census["refused"] * 2, census
    assert len([key for key in census if key.startswith("refused: ")]) > 10, census
    assert any(key.startswith("h11 takes: ") for key in census), census


def test_each_known_difference_exists() -> None:
    """As with requests."""
    census = Census()
    expected: set[str] = set()
    for known in DIFFERENCES:
        if known.example.startswith(b"HTTP/"):
            expected.add(f"known: {known.reason}")
            compared_response(Random(0), known.example, b"GET", census)
    assert expected == {key for key in census if key.startswith("known: ")}
