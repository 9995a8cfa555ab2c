"""What is for none of our routes is the wrapped application's, whatever is odd about it; what is
for one of them is refused before the application sees it. And a provider that fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshlib.mesh import Mesh
from meshlib.model import Snapshot
from meshlib_adapters.asgi import MeshApp, MeshMiddleware
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.providers.provider import ProviderStatus

Message = dict[str, Any]
SCOPE: Message = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "client": ("127.0.0.1", 5),
    "server": ("127.0.0.1", 80),
}
# The only endpoint refuses connections: nothing here may get as far.
ROUTED = {"shop.test": ["127.0.0.1:1"], "api.test/v1": ["127.0.0.1:1"]}


def status_of(routes: Any, changes: Message) -> object:
    """The status that the gateway responds with; "the application's" for what reaches that."""
    sent: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"status": "the application's"})

    async def receive() -> Message:
        return {"type": "http.request" if kind == "http" else "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def story() -> None:
        gateway = MeshMiddleware(app, mesh=Mesh(routes), settings=HTTPSettings(max_body=5))
        async with gateway:
            await gateway({**SCOPE, **changes}, receive, send)

    kind = changes.get("type", "http")
    asyncio.run(story())
    return sent[0].get("status") or sent[0]["type"]


MANY = [(b"x-%d" % number, b"y") for number in range(200)]
# What is odd about the request, as (changes of the scope, fields beside Host, status of a routed
# one).
ODD: dict[str, tuple[Message, list[tuple[bytes, bytes]], object]] = {
    "a body over max_body": ({}, [(b"content-length", b"6")], 413),
    "over 100 fields": ({}, MANY, 431),
    "an unknown expectation": ({}, [(b"expect", b"the-worst")], 417),
    "two lengths": ({}, [(b"content-length", b"1"), (b"content-length", b"2")], 400),
    "another coding": ({}, [(b"transfer-encoding", b"gzip, chunked")], 501),
    "a value with a control byte": ({}, [(b"x", b"a\x01")], 400),
    "a method that is not forwarded": ({"method": "TRACE"}, [], 405),
    "a target with a space": ({"raw_path": b"/a b"}, [], 400),
    "a WebSocket with a body": (
        {"type": "websocket", "subprotocols": []},
        [(b"content-length", b"3")],
        "websocket.close",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_limits_are_those_of_routed_requests(name: str) -> None:
    changes, fields, status = ODD[name]
    for host in (b"own.test", b"api.test"):  # of the second, no route has this path
        scope = {**changes, "headers": [(b"host", host), *fields]}
        if (name, host) != ("a target with a space", b"api.test"):
            assert status_of(ROUTED, scope) == "the application's"
    assert status_of(ROUTED, {**changes, "headers": [(b"Host", b"shop.test"), *fields]}) == status
    # A catch-all has every host, so nothing is left to the application.
    scope = {**changes, "headers": [(b"host", b"own.test"), *fields]}
    assert status_of({"*": ["127.0.0.1:1"]}, scope) == status


@pytest.mark.parametrize(
    "hosts",
    [[], [b""], [b"a b"], [b"own.test:port"], [b"-_.."], [b"\xff"], [b"own.test", b"other.test"]],
)
def test_an_odd_host_is_the_applications(hosts: list[bytes]) -> None:
    headers = [(b"host", host) for host in hosts]
    assert status_of(ROUTED, {"headers": headers}) == "the application's"


def test_two_hosts_of_which_one_is_routed_are_refused() -> None:
    for hosts in ([b"own.test", b"shop.test"], [b"shop.test", b"a b"]):
        assert status_of(ROUTED, {"headers": [(b"host", host) for host in hosts]}) == 400


class Told:
    """A provider that delivers what it is told, and raises at the end."""

    status = ProviderStatus("ok", None, "")

    def __init__(self, name: str, *snapshots: Snapshot, fails: bool = False) -> None:
        self.name = name
        self._snapshots = snapshots
        self._fails = fails

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        for snapshot in self._snapshots:
            yield snapshot
        if self._fails:
            raise RuntimeError("a fault of the provider")
        await asyncio.Event().wait()


async def nothing(*_: Any) -> Any:
    return {"type": "http.request"}


def test_a_provider_that_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    mesh = Mesh()
    found = Mesh({"other.test": ["127.0.0.1:1"]}).snapshot

    async def story() -> None:
        providers = [Told("broken", fails=True), Told("sound", found)]
        # The wait for first snapshots ends when there is nobody left to wait for.
        async with asyncio.timeout(20), MeshApp(mesh, providers=providers, startup_wait=60):
            assert [route.host for route in mesh.routes] == ["other.test"]

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert "provider broken has failed; its last snapshot stands" in caplog.messages
    assert "starting without the routes of broken: no snapshot yet" in caplog.messages
