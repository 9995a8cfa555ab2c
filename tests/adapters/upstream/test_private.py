"""PROXY protocol headers to upstreams: who is named, and that nobody else ever uses the
connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest

from meshlib.model import ForwardTo, Snapshot
from meshlib.proxy_protocol import ProxyAddress, ProxyHeader, ProxyProtocolReader, build_v1
from meshlib.upstream_key import Transport
from meshlib_adapters.config.transport import ProxyHeaderPolicy
from tests.support.backend import OK, Backend, Peer
from tests.support.client import Client, get
from tests.support.http_fixtures import Start
from tests.support.proxy_headers import DESTINATION, SOURCE, US
from tests.support.running import snapshot_of

Make = Callable[..., Backend]
Version = Literal["v1", "v2"]


def reading(peer: Peer) -> None:
    """Reads a PROXY protocol header, then responds to requests."""
    reader = ProxyProtocolReader()
    while not isinstance(result := reader.receive_data(peer.read(1)), ProxyHeader):
        pass
    SEEN.append(result)
    while True:
        peer.read_request()
        peer.send(OK)


SEEN: list[ProxyHeader] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    SEEN.clear()


def private(backend: Backend, version: Version, **others: Backend) -> Snapshot:
    """`others`: by their host."""
    contributions = []
    for contribution in snapshot_of(
        {"": [backend], **{host: [other] for host, other in others.items()}}
    ).contributions:
        (route,) = contribution.routes
        assert route.upstream is not None
        key = replace(route.upstream.key, transport=Transport(proxy_protocol=version))
        route = replace(route, action=ForwardTo(replace(route.upstream, key=key)))
        contributions.append(replace(contribution, routes=(route,)))
    return Snapshot(tuple(contributions))


def own_address(client: Client) -> ProxyAddress:
    return ProxyAddress(*client.sock.getsockname())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_each_client_has_a_connection_of_its_own(
    start: Start, backend: Make, version: Version
) -> None:
    upstream = backend(reading)
    site = start(private(upstream, version))
    first, second = site.client(), site.client()
    for _ in range(3):
        for client in (first, second):
            assert client.ask(get()).body == b"ok"
    assert len(upstream.peers) == 2
    assert [proxy_header.source for proxy_header in SEEN] == [
        own_address(first),
        own_address(second),
    ]
    assert {proxy_header.destination for proxy_header in SEEN} == {ProxyAddress(*site.address)}
    assert {f"v{proxy_header.version}" for proxy_header in SEEN} == {version}


def test_a_client_that_goes_takes_its_connection_along(start: Start, backend: Make) -> None:
    upstream = backend(reading)
    site = start(private(upstream, "v1"))
    client = site.client()
    assert client.ask(get()).status == 200
    assert site.idle() == 1
    client.close()
    site.wait(lambda: site.idle() == 0)
    assert site.client().ask(get()).status == 200
    assert len(upstream.peers) == 2


def test_a_client_that_asked_several_services_takes_all_its_connections_along(
    start: Start, backend: Make
) -> None:
    """What served it serves the next client, who must not be taken for it anywhere."""
    one, two = backend(reading), backend(reading)
    site = start(private(one, "v2", b=two))
    for _ in range(2):
        client = site.client()
        here = own_address(client)
        assert client.ask(get()).status == 200
        assert client.ask(get("/", "b")).status == 200
        assert [proxy_header.source for proxy_header in SEEN[-2:]] == [here, here]
        client.close()
        site.wait(lambda: site.idle() == 0 and site.call(lambda: len(site.listener.clients)) == 0)
    assert (len(one.peers), len(two.peers)) == (2, 2)


def test_whom_a_proxy_in_front_names_is_named_on(start: Start, backend: Make) -> None:
    site = start(private(backend(reading), "v2"))
    address = site.run(
        site.listener.listen("127.0.0.1", 0, proxy_protocol=ProxyHeaderPolicy("require", US))
    )[0]
    client = Client(address)
    site.clients.append(client)
    assert client.ask(build_v1(SOURCE, DESTINATION) + get()).status == 200
    assert [(proxy_header.source, proxy_header.destination) for proxy_header in SEEN] == [
        (SOURCE, DESTINATION)
    ]


def test_without_the_wish_nothing_is_sent(start: Start, backend: Make) -> None:
    upstream = backend()
    assert start(upstream).client().ask(get()).status == 200
    assert upstream.peer().raw.startswith(b"GET / ")


def test_a_change_of_the_wish_changes_connections(start: Start, backend: Make) -> None:
    upstream = backend(reading)
    site = start(private(upstream, "v1"))
    client = site.client()
    assert client.ask(get()).status == 200
    site.publish(private(upstream, "v2"))
    assert client.ask(get()).status == 200
    assert [proxy_header.version for proxy_header in SEEN] == [1, 2]
