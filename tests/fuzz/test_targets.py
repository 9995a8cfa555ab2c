"""The fuzz targets work, on what the other tests have at hand; fuzzing itself is not a part of `make test`."""

from __future__ import annotations

from random import Random

import pytest

from tests.differential.grammar import mutated
from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    random = Random(name)
    for seed in seeds(name)[:50]:
        data = seed
        for _ in range(5):
            TARGETS[name](data)
            data = mutated(random, data)
