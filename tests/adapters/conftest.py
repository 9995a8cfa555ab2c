"""The ports that `meshlib serve` takes when it is told none are taken while tests of I/O run."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from meshlib_adapters.config.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def _default_ports_are_taken() -> Iterator[None]:
    """A test that leaves a port to the defaults fails here and now, not on the day another program
    has it.

    They are bound, and nobody listens: who connects there is refused.
    """
    defaults = Settings()
    with contextlib.ExitStack() as held:
        for address in (*defaults.http, *defaults.https, *defaults.admin):
            sock = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # another program's already, or only root's
                sock.bind((address.host, address.port))
        yield
