"""Gateways and backends as fixtures; at the end of every test nothing may be left of what it
did.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from meshlib.client_claims import ForwardingPolicy
from meshlib.model import Snapshot
from meshlib_adapters.config.http import HTTPSettings
from tests.support.backend import Backend, Script
from tests.support.running import RunningGateway, snapshot_of

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class Start(Protocol):
    def __call__(
        self,
        over: Backend | Snapshot,
        settings: HTTPSettings | None = None,
        *,
        policy: ForwardingPolicy | None = None,
        form: str = "json",
        sink: Callable[[str], None] | None = None,
    ) -> RunningGateway: ...


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    if request.param == "uvloop":
        factory: LoopFactory = (
            importlib.import_module if os.environ.get("CI") else pytest.importorskip
        )("uvloop").new_event_loop
        return factory
    return asyncio.new_event_loop


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def backend(stack: contextlib.ExitStack) -> Callable[..., Backend]:
    """Makes backends of scripts."""

    def make(*scripts: Script) -> Backend:
        made = Backend(*scripts)
        stack.callback(made.stop)
        return made

    return make


@pytest.fixture
def start(stack: contextlib.ExitStack, backend: object, loop_factory: LoopFactory) -> Start:
    """Starts gateways, over one backend for every host or over a snapshot. To be called after the
    backends were made.
    """

    def make(
        over: Backend | Snapshot,
        settings: HTTPSettings | None = None,
        *,
        policy: ForwardingPolicy | None = None,
        form: str = "json",
        sink: Callable[[str], None] | None = None,
    ) -> RunningGateway:
        snapshot = snapshot_of({"": [over]}) if isinstance(over, Backend) else over
        running = RunningGateway(
            snapshot,
            settings,
            policy=policy,
            form="combined" if form == "combined" else "json",
            sink=sink,
            loop_factory=loop_factory,
        )
        stack.callback(running.stop)
        return running

    return make
