"""The fuzz targets work, on what the other tests have at hand; fuzzing itself is not a part of
`make test`.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.differential.grammar import mutated
from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_seeds_break_no_target(name: str) -> None:
    random = Random(name)
    for seed in seeds(name)[:50]:
        data = seed
        for _ in range(5):
            TARGETS[name](data)
            data = mutated(random, data)


# What fuzzing has found; each by its target.
FOUND = [
    (
        "responses",
        (
            b"FHTTP/1.1 103 a\r\nX: y\r\n\r\nHTTP/1.0 103 a\r\n\r\nHTTP/1.1 200 OK\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n8\rchunked\xb8"
        ),
    ),
]


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once_stays_mended(name: str, data: bytes) -> None:
    TARGETS[name](data)
