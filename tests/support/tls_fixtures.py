"""Both event loops, a certificate authority, and what starts gateways that end TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import trustme

from tests.support.http_fixtures import LoopFactory, backend, loop_factory, stack
from tests.support.tls_lab import TLSGateway

__all__ = ["LoopFactory", "backend", "loop_factory", "stack"]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def start(
    stack: contextlib.ExitStack, authority: trustme.CA, loop_factory: LoopFactory
) -> Callable[..., TLSGateway]:
    """Starts gateways; to be called after the backends were made. Arguments are those of
    `TLSGateway`.
    """

    def make(*hosts: object, **options: object) -> TLSGateway:
        running = TLSGateway(authority, *hosts, loop_factory=loop_factory, **options)  # type: ignore[arg-type]  # passed on
        stack.callback(running.stop)
        return running

    return make
