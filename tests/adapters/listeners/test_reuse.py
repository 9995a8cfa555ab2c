"""What served one connection serves the next: nothing of the first may be seen by the second,
however the first has ended.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshlib.proxy_protocol import ProxyAddress, build_v1
from meshlib_adapters.config.transport import ProxyHeaderPolicy
from tests.support.backend import Backend
from tests.support.client import Client, get
from tests.support.http_fixtures import Start
from tests.support.networks import parse_networks
from tests.support.running import RunningGateway, quick

Make = Callable[..., Backend]

UPGRADE = get("/up", "a", "Connection: Upgrade", "Upgrade: x")
BODY = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc"
CHUNKED = b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
FIRST = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "half an empty line": b"\r",
    "a head that is never complete": b"GET / HTTP/1.1\r\nHost: a\r\nX-Secret",
    "no HTTP": b"\x16\x03\x01\r\n\r\n",
    "a body that is never complete": BODY,
    "a cut chunk": CHUNKED,
    "HTTP/1.0": b"GET /1.0 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "the last one": get("/last", "a", "Connection: close"),
    "pipelined, with a cut one behind": get("/p") + get("/p") + b"GET /cut",
    "other fields": get("/f", "a", "X-Secret: 1", "Cookie: s=1"),
    "another host": get("/f", "nobody.example"),
    "an upgrade that is none": UPGRADE,
}


def as_new(site: RunningGateway, upstream: Backend) -> bytes:
    """A second client is served as if it were the first, and nothing of an earlier one is sent on
    for it.
    """
    client = site.client()
    number = len(upstream.requests)
    client.send(b"\r\n" + get(f"/clean{number}", "a", "X-Own: 2"))
    assert client.read_response().status == 200
    (sent,) = [
        request for request in upstream.requests if request.startswith(b"GET /clean%d " % number)
    ]
    assert sent.startswith(
        b"GET /clean%d HTTP/1.1\r\nHost: a\r\nX-Own: 2\r\nX-Forwarded-For: 127.0.0.1\r\n" % number
    )
    assert b"Secret" not in sent
    assert b"Cookie" not in sent
    client.send(get("/again"))  # it is kept
    assert client.read_response().status == 200
    client.close()
    return sent


@pytest.mark.parametrize("how", ["close", "reset", "shut"])
def test_nothing_is_left(start: Start, backend: Make, how: str) -> None:
    """Each beginning, ended in each way, each followed by a good client."""
    upstream = backend()
    site = start(upstream, quick(response_head=0.5, between_bytes=0.5, head_read=0.5))
    for number, data in enumerate(FIRST.values()):
        client = site.client()
        client.send(data)
        if number % 2 and b"\r\n\r\n" in data:
            client.more()
        {"close": client.close, "reset": client.reset, "shut": client.shut}[how]()
        if how == "shut":
            client.read_rest()
            client.close()
        site.wait(lambda: site.call(lambda: len(site.listener.clients)) == 0)
        as_new(site, upstream)
        site.wait(lambda: site.call(lambda: len(site.listener.clients)) == 0)
    kept = site.call(lambda: site.listener.clients.spare)
    assert 1 <= kept <= 3  # the same few have served all of them


def test_who_the_client_was(start: Start, backend: Make) -> None:
    """The client that a proxy has named, and the trust in it, end with its connection."""
    upstream = backend()
    site = start(upstream)
    policy = ProxyHeaderPolicy("accept", parse_networks(["127.0.0.0/8"]))
    address = site.run(site.listener.listen("127.0.0.1", 0, proxy_protocol=policy))[0]
    for _ in range(3):
        behind = Client(address)
        behind.send(
            build_v1(ProxyAddress("192.0.2.7", 1), ProxyAddress("192.0.2.1", 8443))
            + get("/claimed")
        )
        assert behind.read_response().status == 200
        assert b"X-Forwarded-For: 192.0.2.7\r\n" in upstream.requests[-1]
        assert b"X-Forwarded-Port: 8443\r\n" in upstream.requests[-1]
        behind.close()
        site.wait(lambda: site.call(lambda: len(site.listener.clients)) == 0)
        assert b"X-Forwarded-Port: %d\r\n" % site.address[1] in as_new(site, upstream)
        site.wait(lambda: site.call(lambda: len(site.listener.clients)) == 0)
    assert site.call(lambda: site.listener.clients.spare) == 1


def test_few_are_kept(start: Start, backend: Make) -> None:
    """A burst of clients leaves no heap behind."""
    site = start(backend())
    clients = [site.client() for _ in range(300)]
    site.wait(lambda: site.call(lambda: len(site.listener.clients)) == 300)
    for client in clients:
        client.send(get())
    for client in clients:
        assert client.read_response().status == 200
        client.close()
    site.wait(lambda: site.call(lambda: len(site.listener.clients)) == 0)
    assert site.call(lambda: site.listener.clients.spare) == 256
