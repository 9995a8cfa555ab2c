"""Requests, made and mutated, by meshlib.http1, h11 and httptools: whatever we accept the others
read the same.
"""

from __future__ import annotations

from random import Random

from tests.differential.compare import STREAMS, TIMEOUT, Census, compared_requests
from tests.differential.differences import DIFFERENCES, Difference
from tests.differential.grammar import SEEDS, mutated, request, stream

pytestmark = TIMEOUT


def test_streams_of_requests() -> None:
    """Several on a connection, half of the streams with something broken."""
    census = Census()
    messages = 0
    for seed in range(STREAMS // 2):
        random = Random(seed)
        messages += compared_requests(random, stream(random, request), census)
    # That the comparison compares something: much is accepted, much refused, and the others do take
    # some of the latter.
    assert messages == census["accepted"] + census["refused"]
    assert census["accepted"] > messages // 4 < census["refused"], census
    assert len([key for key in census if key.startswith("refused: ")]) > 15, census
    assert any(key.startswith("h11 takes: ") for key in census), census
    assert any(key.startswith("httptools takes: ") for key in census), census


def test_vectors_and_their_mutations() -> None:
    """What the unit tests read, as it is, behind a good request, and broken."""
    good = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    census = Census()
    for index, seed in enumerate(SEEDS):
        compared_requests(Random(index), seed, census)
        compared_requests(Random(index), good + seed + good, census)
        for change in range(max(STREAMS // 2000, 1)):
            random = Random(f"{index} {change}")
            compared_requests(random, mutated(random, mutated(random, seed)) + good, census)
    assert census["accepted"] > len(SEEDS) < census["refused"]


def test_each_known_difference_exists() -> None:
    """What is listed does happen, so that the list has nothing that the readers have changed
    since.
    """
    census = Census()
    expected: set[str] = set()
    for known in DIFFERENCES:
        if not _of_response(known):
            expected.add(f"known: {known.reason}")
            compared_requests(Random(0), known.example, census)
    assert expected == {key for key in census if key.startswith("known: ")}


def _of_response(known: Difference) -> bool:
    return known.example.startswith(b"HTTP/")
