"""Fixtures for tests against a real engine; `tests/conftest.py` makes them known to all tests.

Without root, dockerd or the other parts the tests are skipped, naming what is missing. With CI=true
they fail instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.lab.node import missing_parts

if TYPE_CHECKING:
    from tests.lab.lab import Lab

__all__ = ["lab", "lab_engine"]


@pytest.fixture(scope="session")
def lab_engine() -> Iterator[Lab]:
    """One engine for the whole run; everything about it is gone at the end. Tests take `lab`."""
    missing = missing_parts()
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Docker engine can be started: {missing}")
        pytest.skip(f"no Docker engine can be started: {missing}")
    from tests.lab.lab import Lab

    engine = Lab.bring_up()
    try:
        yield engine
    finally:
        engine.close()


@pytest.fixture
def lab(lab_engine: Lab) -> Iterator[Lab]:
    """The engine, left without services, containers and networks of its own after the test."""
    try:
        yield lab_engine
    finally:
        lab_engine.reset()
