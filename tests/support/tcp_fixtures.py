"""A certificate authority, both event loops, and the lab, as fixtures."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator

import pytest
import trustme

from tests.support.tcp_lab import Lab, MakeLab, Run


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on asyncio's own loop and on uvloop."""
    factory = None
    if request.param == "uvloop":
        factory = (importlib.import_module if os.environ.get("CI") else pytest.importorskip)(
            "uvloop"
        ).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:

        def run_it(awaitable: Awaitable[None]) -> None:
            async def main() -> None:
                async with asyncio.timeout(60):
                    await awaitable

            runner.run(main())

        yield run_it


@pytest.fixture
def lab(authority: trustme.CA) -> MakeLab:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[Lab]:
        async with contextlib.AsyncExitStack() as stack:
            yield Lab(authority, stack)

    return make
