"""The PROXY protocol on a listener: whose PROXY header is taken, what becomes of it, and what a
listener does without it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Literal

import pytest

from meshlib.client_claims import Network
from meshlib.errors import ConfigurationError
from meshlib.proxy_protocol import ProxyAddress, build_v1, build_v2
from meshlib_adapters.config.transport import ProxyHeaderPolicy
from tests.support.backend import Backend, Peer
from tests.support.client import Client, get
from tests.support.http_fixtures import Start
from tests.support.proxy_headers import DESTINATION, SOURCE, US
from tests.support.running import RunningGateway, quick

ELSEWHERE: tuple[Network, ...] = (ipaddress.ip_network("10.0.0.0/8"),)
PROXY_HEADERS = [build_v1(SOURCE, DESTINATION), build_v2(SOURCE, DESTINATION)]
UNIX = PROXY_HEADERS[1][:12] + b"\x21\x31\x00\xd8" + b"/run/x".ljust(216, b"\0")
DATAGRAM = PROXY_HEADERS[1][:13] + b"\x12" + PROXY_HEADERS[1][14:]
EXPECTED = [
    b"X-Forwarded-For: 198.51.100.7",
    b"X-Forwarded-Host: a",
    b"X-Forwarded-Port: 8443",
    b"X-Forwarded-Proto: http",
]
REFUSED = [
    ("require", US, get(), "proxy_missing"),
    ("require", ELSEWHERE, PROXY_HEADERS[0] + get(), "proxy_untrusted"),
    ("require", ELSEWHERE, get(), "proxy_untrusted"),
    ("accept", ELSEWHERE, PROXY_HEADERS[0] + get(), "bad_request_line"),
    ("accept", ELSEWHERE, PROXY_HEADERS[1] + get(), "bad_request_line"),
    ("accept", US, b"PROXY TCP4 localhost 127.0.0.1 1 2\r\n" + get(), "proxy_syntax"),
    ("accept", US, DATAGRAM + get(), "proxy_family"),
    ("accept", US, b"PROXY UNKNOWN " + b"x" * 200, "proxy_too_long"),
    ("accept", US, PROXY_HEADERS[0] + PROXY_HEADERS[0] + get(), "bad_request_line"),
]

Make = Callable[..., Backend]
Mode = Literal["off", "accept", "require"]
Address = tuple[str, int]


def telling(peer: Peer) -> None:
    """Responds with what the gateway says of the client."""
    while True:
        head = peer.read_head()
        if not head:
            return
        fields = [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-forwarded-")]
        body = b"\n".join(sorted(fields))
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def site(
    start: Start, backend: Make, mode: Mode, sources: Sequence[Network] = US, **changes: float
) -> tuple[RunningGateway, Address]:
    """A gateway with a listener that takes PROXY protocol headers, and where it listens."""
    running = start(backend(telling), quick(**changes))
    policy = ProxyHeaderPolicy(mode, tuple(sources))
    return running, running.run(running.listener.listen("127.0.0.1", 0, proxy_protocol=policy))[0]


def connect(running: RunningGateway, address: Address) -> Client:
    client = Client(address)
    running.clients.append(client)
    return client


@pytest.mark.parametrize("proxy_header", PROXY_HEADERS, ids=["v1", "v2"])
@pytest.mark.parametrize("mode", ["accept", "require"])
def test_the_client_is_whom_the_proxy_names(
    start: Start, backend: Make, mode: Mode, proxy_header: bytes
) -> None:
    running, address = site(start, backend, mode)
    client = connect(running, address)
    response = client.ask(proxy_header + get())
    assert response.body.split(b"\n") == EXPECTED
    assert client.ask(get()).body.split(b"\n") == EXPECTED  # the connection stays his
    assert [record["client"] for record in running.log(2)] == [SOURCE.host] * 2


@pytest.mark.parametrize("proxy_header", PROXY_HEADERS, ids=["v1", "v2"])
def test_a_proxy_header_in_single_bytes(start: Start, backend: Make, proxy_header: bytes) -> None:
    running, address = site(start, backend, "require")
    client = connect(running, address)
    client.dribble(proxy_header, 0.001)
    assert client.ask(get()).body.split(b"\n") == EXPECTED


def test_a_mapped_address_is_the_ipv4_one(start: Start, backend: Make) -> None:
    running, address = site(start, backend, "require")
    proxy_header = build_v2(
        ProxyAddress("::ffff:198.51.100.7", 1), ProxyAddress("::ffff:203.0.113.9", 8443)
    )
    assert connect(running, address).ask(proxy_header + get()).body.split(b"\n") == EXPECTED


@pytest.mark.parametrize(
    "proxy_header",
    [b"PROXY UNKNOWN\r\n", build_v2(None, None), UNIX],
    ids=["unknown", "local", "unix"],
)
def test_without_an_address_the_proxy_speaks_for_itself(
    start: Start, backend: Make, proxy_header: bytes
) -> None:
    running, address = site(start, backend, "require")
    assert b"X-Forwarded-For: 127.0.0.1" in connect(running, address).ask(proxy_header + get()).body


def test_accept_takes_connections_without_proxy_header(start: Start, backend: Make) -> None:
    running, address = site(start, backend, "accept")
    assert b"X-Forwarded-For: 127.0.0.1" in connect(running, address).ask(get()).body
    # A method of that name is a request, too.
    assert connect(running, address).ask(b"PROXY / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200


@pytest.mark.parametrize(("mode", "sources", "data", "reason"), REFUSED)
def test_a_header_that_is_wrong_or_missing_is_refused(
    start: Start, backend: Make, mode: Mode, sources: Sequence[Network], data: bytes, reason: str
) -> None:
    running, address = site(start, backend, mode, sources)
    client = connect(running, address)
    client.send(data)
    assert client.read_response().status == 400
    assert client.at_end()
    (record,) = running.log(1)
    assert record["reason"] == reason


def test_the_listener_without_it_knows_no_proxy_header(start: Start, backend: Make) -> None:
    running = start(backend(telling))
    assert running.client().ask(PROXY_HEADERS[0] + get()).status == 400


def test_a_proxy_header_has_the_time_of_a_head(start: Start, backend: Make) -> None:
    running, address = site(start, backend, "require", head_read=0.1)
    client = connect(running, address)
    client.send(PROXY_HEADERS[0][:5])
    assert client.read_response().status == 408
    assert running.reasons(1) == ["proxy_timeout"]


def test_beginnings_make_room_the_longest_idle_first(start: Start, backend: Make) -> None:
    running, address = site(start, backend, "require", max_connections=2)
    held = [connect(running, address) for _ in range(2)]
    running.wait(lambda: running.call(lambda: len(running.listener.clients.beginning)) == 2)
    assert connect(running, address).ask(PROXY_HEADERS[0] + get()).status == 200
    assert not held[0].more()
    assert held[1].ask(PROXY_HEADERS[0] + get()).status == 200


def test_the_limit_is_that_of_the_client_whom_the_proxy_names(start: Start, backend: Make) -> None:
    running, address = site(start, backend, "require", max_connections_per_client=1)
    clients = [connect(running, address) for _ in range(3)]
    others = [
        PROXY_HEADERS[0].replace(b"198.51.100.7", b"198.51.100.%d" % number) for number in range(3)
    ]
    assert [
        client.ask(other + get()).status for client, other in zip(clients, others, strict=True)
    ] == [200] * 3
    same = connect(running, address)
    assert same.ask(others[2] + get()).status == 200
    assert clients[2].at_end()
    assert [client.ask(get()).status for client in clients[:2]] == [200] * 2


def test_beginnings_end_with_the_drain(start: Start, backend: Make) -> None:
    running, address = site(start, backend, "require")
    client = connect(running, address)
    client.send(PROXY_HEADERS[0][:5])
    running.wait(lambda: running.call(lambda: len(running.listener.clients.beginning)) == 1)
    assert running.run(running.listener.drain(1.0)) == 0
    assert not client.more()


@pytest.mark.parametrize("said", [b"", *PROXY_HEADERS, build_v2(None, None)])
def test_a_client_that_says_nothing_and_goes_leaves_no_record(
    start: Start, backend: Make, said: bytes
) -> None:
    running, address = site(start, backend, "require")
    client = connect(running, address)
    client.send(said)
    client.shut()
    assert not client.more()
    running.wait(lambda: not running.call(lambda: running.listener.clients.beginning))
    assert connect(running, address).ask(PROXY_HEADERS[0] + get()).status == 200
    assert len(running.log(1)) == 1


def test_somebody_must_be_trusted() -> None:
    with pytest.raises(ConfigurationError, match="proxy_protocol_from: 10"):
        ProxyHeaderPolicy("accept")
    assert ProxyHeaderPolicy().mode == "off"
