"""Both event loops, a certificate authority, and what starts gateways that end TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import trustme

from tests.adapters.http.backend import Backend, Script
from tests.adapters.http.conftest import LoopFactory, loop_factory
from tests.adapters.tls.lab import TLSGateway

__all__ = ["LoopFactory", "loop_factory"]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


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
def start(stack: contextlib.ExitStack, authority: trustme.CA, loop_factory: LoopFactory) -> Callable[..., TLSGateway]:
    """Starts gateways; to be called after the backends were made. Arguments are those of `TLSGateway`."""

    def make(*hosts: object, **options: object) -> TLSGateway:
        running = TLSGateway(authority, *hosts, loop_factory=loop_factory, **options)  # type: ignore[arg-type]  # passed on
        stack.callback(running.stop)
        return running

    return make
