"""A host name with several addresses is as many endpoints: balanced, tried one after another, and
looked up anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from meshlib.balancing import HealthState
from meshlib.model import Contribution, Endpoint, ForwardTo, HostPath, Route, Snapshot, Upstream
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.upstream import registry
from meshlib_adapters.upstream.choice import host_names
from meshlib_adapters.upstream.choice.host_names import HostNames
from tests.support.backend import Backend, beginning_sessions, blackhole, responding
from tests.support.client import get
from tests.support.host_names import KnownNames, names
from tests.support.running import RunningGateway, quick

__all__ = ["names"]

NAME = "shop.test"
ONE, TWO, THREE = "127.0.0.2", "127.0.0.3", "127.0.0.4"


def saying(name: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()


def snapshot(port: int, *hosts: str, sticky: str | None = None) -> Snapshot:
    endpoints = tuple(Endpoint(f"shop.{n}", host, port) for n, host in enumerate(hosts or (NAME,)))
    upstream = Upstream(UpstreamKey("shop", 80), endpoints)
    options = RouteOptions(sticky_cookie=sticky)
    route = Route(HostPath(""), ForwardTo(upstream), options, service="shop")
    return Snapshot.of([Contribution("test/shop", "shop", routes=(route,))])


class Site:
    """Backends at several addresses and one port, and a gateway in front of the name."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.port = 0

    def backend(self, host: str, *scripts: object) -> Backend:
        made = Backend(*(scripts or (responding(saying(host)),)), host=host, port=self.port)  # type: ignore[arg-type]
        self.port = made.port
        self._stack.callback(made.stop)
        return made

    def gateway(
        self, *hosts: str, sticky: str | None = None, settings: HTTPSettings | None = None
    ) -> RunningGateway:
        made = RunningGateway(snapshot(self.port, *hosts, sticky=sticky), settings or quick())
        self._stack.callback(made.stop)
        return made


@pytest.fixture
def site() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(stack)


def asked(gateway: RunningGateway, times: int) -> Counter[tuple[int, str]]:
    """Statuses and bodies."""
    client = gateway.client()
    found: Counter[tuple[int, str]] = Counter()
    for _ in range(times):
        response = client.ask(get("/"))
        found[response.status, response.body.decode()] += 1
    return found


def known(gateway: RunningGateway, *hosts: str) -> None:
    """Wait until the addresses are known."""
    gateway.wait(lambda: {pool.endpoint.host for pool in gateway.pools()} == set(hosts))


def test_every_address_gets_its_share(site: Site, names: KnownNames) -> None:
    names.addresses[NAME] = [ONE, TWO]
    site.backend(ONE)
    site.backend(TWO)
    gateway = site.gateway()
    assert sum(asked(gateway, 1).values()) == 1
    known(gateway, ONE, TWO)
    assert asked(gateway, 6) == {(200, ONE): 3, (200, TWO): 3}


def test_an_address_that_hangs_is_passed_over(site: Site, names: KnownNames) -> None:
    names.addresses[NAME] = [ONE, TWO]
    site.backend(TWO)
    with blackhole(ONE, site.port):
        gateway = site.gateway(settings=quick(connect=0.4))
        assert asked(gateway, 6) == {(200, TWO): 6}
        known(gateway, ONE, TWO)
        assert asked(gateway, 6) == {(200, TWO): 6}
        health = {pool.endpoint.host: pool.health.state for pool in gateway.pools()}
        assert health[TWO] is HealthState.HEALTHY
        assert health[ONE] is not HealthState.HEALTHY


def test_an_address_that_refuses_is_passed_over(site: Site, names: KnownNames) -> None:
    names.addresses[NAME] = [ONE, THREE, TWO]
    site.backend(TWO)
    gateway = site.gateway()
    assert asked(gateway, 6) == {(200, TWO): 6}


def test_a_name_is_looked_up_anew(
    site: Site, names: KnownNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "REFRESH", 0.1)
    names.addresses[NAME] = [ONE]
    gone, _ = site.backend(ONE), site.backend(TWO)
    gateway = site.gateway()
    asked(gateway, 1)
    known(gateway, ONE)
    assert asked(gateway, 1) == {(200, ONE): 1}
    names.addresses[NAME] = [TWO]
    known(gateway, TWO)
    assert asked(gateway, 2) == {(200, TWO): 2}
    gone.wait(lambda: all(peer.ended for peer in gone.peers))  # what was kept is closed
    names.addresses[NAME] = socket.gaierror(socket.EAI_AGAIN, "no resolver")
    before = names.asked[NAME]
    gateway.wait(lambda: names.asked[NAME] > before)
    assert asked(gateway, 2) == {(200, TWO): 2}  # not known is not empty


def test_a_session_stays_at_its_address(site: Site, names: KnownNames) -> None:
    names.addresses[NAME] = [ONE, TWO]
    site.backend(ONE, beginning_sessions(b"one"))
    site.backend(TWO, beginning_sessions(b"two"))
    gateway = site.gateway(sticky="SID")
    asked(gateway, 1)
    known(gateway, ONE, TWO)
    client = gateway.client()
    for _ in range(2):
        response = client.ask(get("/login"))
        cookie = (response.one("set-cookie") or "").partition(";")[0]
        for _ in range(4):
            again = client.ask(get("/", "a", f"Cookie: {cookie}"))
            assert again.body == response.body


class Loop(asyncio.SelectorEventLoop):
    """A loop with its own time and its own names."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.found: dict[str, list[str] | OSError | ValueError] = {}
        self.asked: list[str] = []
        self.held: list[asyncio.Event] = []

    def time(self) -> float:
        return self.now

    async def getaddrinfo(self, host: object, *_: object, **__: object) -> list[object]:  # type: ignore[override]
        self.asked.append(str(host))
        for event in self.held:
            await event.wait()
        found = self.found[str(host)]
        if isinstance(found, Exception):
            raise found
        return [(0, 0, 0, "", (address, 0)) for address in found]

    def turn(self) -> None:
        async def nothing() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        self.run_until_complete(nothing())


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def hosts(known: HostNames, endpoint: Endpoint) -> list[str]:
    return [one.host for one in known.expand([endpoint])]


SHOP = Endpoint("shop.1", NAME, 80, weight=3)


def test_the_family_that_the_system_prefers_is_used_and_the_other_stands_by(loop: Loop) -> None:
    loop.found[NAME] = ["10.0.0.2", "fd00::1", "fe80::1%eth0", "10.0.0.1", "10.0.0.2"]
    known = HostNames(loop)
    assert known.expand([SHOP]) == (SHOP,)
    known.refresh(NAME)
    loop.turn()
    assert [(one.id, one.address, one.weight) for one in known.expand([SHOP])] == [
        ("shop.1/10.0.0.1", "10.0.0.1:80", 3),
        ("shop.1/10.0.0.2", "10.0.0.2:80", 3),
        ("shop.1/fd00::1", "[fd00::1]:80", 0),
    ]
    loop.found[NAME] = ["10.0.0.9", "fd00::1"]
    loop.now += 6
    known.refresh(NAME)
    loop.turn()
    # One server keeps its identity, and with it its sessions, whatever its address is.
    assert [(one.id, one.host) for one in known.expand([SHOP])] == [
        ("shop.1", "10.0.0.9"),
        ("shop.1", "fd00::1"),
    ]
    address = Endpoint("a", "10.0.0.5", 80)
    assert known.expand([address]) == (address,)


def test_what_is_not_known_is_not_empty_and_what_does_not_exist_is(loop: Loop) -> None:
    changes: list[int] = []
    known = HostNames(loop, lambda: changes.append(len(changes) + 1))
    loop.found[NAME] = ["10.0.0.1"]

    def look() -> list[str]:
        loop.now += 5
        known.refresh(NAME)
        loop.turn()
        return hosts(known, SHOP)

    assert look() == ["10.0.0.1"]
    for trouble in (socket.gaierror(socket.EAI_AGAIN, ""), OSError("no descriptors")):
        loop.found[NAME] = trouble
        assert look() == ["10.0.0.1"]
    loop.found[NAME] = socket.gaierror(socket.EAI_NONAME, "")
    assert look() == [NAME]  # whoever connects looks it up
    loop.found[NAME] = ["10.0.0.1"]
    assert look() == ["10.0.0.1"]
    loop.found[NAME] = UnicodeError("label too long")
    assert look() == [NAME]
    assert changes == [1, 2, 3, 4]
    assert repr(known) == "<HostNames 1 known, 0 being looked up>"


def test_a_name_is_asked_for_once_at_a_time_and_no_sooner_than_needed(loop: Loop) -> None:
    loop.found[NAME] = ["10.0.0.1"]
    known = HostNames(loop)
    held = asyncio.Event()
    loop.held = [held]
    for _ in range(3):
        known.refresh(NAME)
        loop.turn()
    assert loop.asked == [NAME]
    held.set()
    loop.turn()
    loop.now += 4.9
    known.refresh(NAME)
    known.refresh(NAME, 30.0)
    loop.turn()
    assert loop.asked == [NAME]
    loop.now += 700  # the address may be somebody else's by now
    loop.found[NAME] = socket.gaierror(socket.EAI_AGAIN, "")
    known.refresh(NAME)
    assert hosts(known, SHOP) == [NAME]
    loop.turn()
    assert hosts(known, SHOP) == [NAME]


def test_look_ups_and_what_they_find_are_bounded(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_names, "_MAX_NAMES", 6)
    wanted = [f"h{n}.test" for n in range(20)]
    loop.found = {name: [f"10.0.{n}.{m}" for m in range(100)] for n, name in enumerate(wanted)}
    known = HostNames(loop)
    held = asyncio.Event()
    loop.held = [held]
    for name in wanted:
        known.refresh(name)
    loop.turn()
    assert len(loop.asked) == 4
    held.set()
    for _ in range(5):
        loop.turn()
    assert loop.asked == wanted[:10]  # six had waited; the others are asked for when they are used
    assert repr(known) == "<HostNames 6 known, 0 being looked up>"
    assert len(known.expand([Endpoint("a", wanted[9], 80)])) == 64
    assert len(known.expand([Endpoint("a", wanted[0], 80)])) == 1


def test_closing_ends_what_is_being_looked_up(loop: Loop) -> None:
    loop.found[NAME] = ["10.0.0.1"]
    loop.held = [asyncio.Event()]
    known = HostNames(loop)
    known.refresh(NAME)
    loop.turn()
    known.close()
    loop.turn()
    assert hosts(known, SHOP) == [NAME]
