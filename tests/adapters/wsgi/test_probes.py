"""The probes, through gunicorn. What is not passed is WSGI's own doing, and named here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.backend import Backend, Script
from tests.support.client import Client, get
from tests.support.probes import MEGABYTE, PROBES, Place
from tests.support.wsgi_servers import RunningSite, gunicorn

_OPTIONS: Final = ("-k", "gthread", "--threads", "4", "--forwarded-allow-ips", "")
# Those that begin with "-" would only wait for a time-out.
LIMITS: Final = {
    "repeated request field kept": "fields of one name are joined",
    "request body streamed": "- less than a piece waits for the rest of it",
    "early 413 delivered while the client uploads": "- and nothing else is looked at meanwhile",
    "WebSocket echo": "there are no upgrades",
    "trailers of the response": "there are none",
}


@pytest.fixture(scope="module")
def site() -> Iterator[RunningSite]:
    with gunicorn(*_OPTIONS, variables={"SITE": "alone"}) as running:
        yield running


class OwnProcess:
    """A site whose memory is looked at."""

    def __init__(self, site: RunningSite) -> None:
        self._site = site
        self.address = site.address

    def warm(self) -> int:
        client = self._site.client()
        assert client.ask(get("/warm")).status == 200
        client.close()
        return self.memory()

    def memory(self, name: str = "VmHWM") -> int:
        return int(self._site.facts()["peak"])

    def stop(self) -> None:
        """Nothing: it is also for the other probes."""


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def place(site: RunningSite, stack: contextlib.ExitStack) -> Place:
    class Closing:
        def client(self) -> Client:
            client = site.client()
            stack.callback(client.close)
            return client

    def make(*scripts: Script) -> Backend:
        made = Backend(*scripts)
        stack.callback(made.stop)
        return made

    def start(upstream: Backend) -> Closing:
        stack.enter_context(site.routing(upstream, host="*"))
        return Closing()

    def own(upstream: Backend) -> OwnProcess:
        stack.enter_context(site.routing(upstream, host="*"))
        return OwnProcess(site)

    return Place(start, make, own, 5 * MEGABYTE)


def _marks(name: str) -> list[pytest.MarkDecorator]:
    why = LIMITS.get(name)
    return [] if why is None else [pytest.mark.xfail(reason=why, run=not why.startswith("-"))]


@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in PROBES])
def test_what_a_proxy_must_do(place: Place, name: str) -> None:
    PROBES[name](place)


def test_most_of_them_pass() -> None:
    assert len(PROBES) - len(LIMITS) == 26
