"""Fixtures of the test kit for pytest, which finds them by the entry point of this distribution.

Nothing of the kit is imported before a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from meshlib_adapters.testing import FakeClock, FakeEngine, FakeUpstream, MeshClient

__all__ = ["fake_clock", "fake_engine", "fake_upstream", "mesh_client"]


@pytest.fixture
def fake_clock() -> FakeClock:
    """A `FakeClock`."""
    from meshlib_adapters.testing import FakeClock

    return FakeClock()


@pytest.fixture
def fake_engine() -> Iterator[FakeEngine]:
    """A `FakeEngine` that runs until the end of the test."""
    from meshlib_adapters.testing import FakeEngine

    with FakeEngine() as engine:
        yield engine


@pytest.fixture
def fake_upstream() -> Iterator[Callable[..., FakeUpstream]]:
    """A function that makes `FakeUpstream`s of its arguments; they run until the end of the
    test.
    """
    from meshlib_adapters.testing import FakeUpstream

    with ExitStack() as stack:

        def make(*args: Any, **options: Any) -> FakeUpstream:
            return stack.enter_context(FakeUpstream(*args, **options))

        yield make


@pytest.fixture
def mesh_client(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., MeshClient]]:
    """A function that makes clients as `mesh_client` of the kit does; they are closed at the end of
    the test, before upstreams and engines of it.
    """
    from meshlib_adapters.testing import mesh_client

    for name in ("fake_engine", "fake_upstream"):
        if name in request.fixturenames:  # so that it ends behind the clients
            request.getfixturevalue(name)
    with ExitStack() as stack:

        def make(*args: Any, **options: Any) -> MeshClient:
            return stack.enter_context(mesh_client(*args, **options))

        yield make
