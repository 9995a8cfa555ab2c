"""The whole list of probes, of an HTTP listener. Most of it is looked at more closely elsewhere."""

from __future__ import annotations

import pytest

from tests.support.gateway_process import Process
from tests.support.http_fixtures import Start
from tests.support.probes import PROBES, Make, Place


@pytest.fixture
def place(start: Start, backend: Make) -> Place:
    return Place(start, backend, lambda upstream: Process(upstream, "asyncio"))


@pytest.mark.parametrize("name", PROBES)
def test_what_a_proxy_must_do(place: Place, name: str) -> None:
    PROBES[name](place)


def test_there_are_31() -> None:
    assert len(PROBES) == 31
