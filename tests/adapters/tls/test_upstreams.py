"""Services that are asked over TLS: who they are is checked, and who is somebody else is not
asked.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable

import pytest
import trustme

from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.upstream_key import Transport, UpstreamKey
from meshlib_adapters.config.http import HTTPSettings
from tests.support.backend import OK, PATIENCE, Backend, Peer, responding
from tests.support.http_fixtures import LoopFactory
from tests.support.running import SETTINGS, RunningGateway, quick


def secure(authority: trustme.CA, *names: str) -> Callable[[Peer], None]:
    """A script: TLS with a certificate for `names`, then responds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)

    def script(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            peer.sock = context.wrap_socket(peer.sock, server_side=True)
            responding(OK)(peer)

    return script


def asked_as(name: str, backend: Backend) -> Snapshot:
    upstream = Upstream(
        UpstreamKey("shop", 443, transport=Transport(tls_name=name)),
        (Endpoint("shop.1", "127.0.0.1", backend.port),),
    )
    route = Route(HostPath(""), ForwardTo(upstream), service="shop", label="l", schema="hrm")
    return Snapshot.of([Contribution("p/shop", "shop", 1, (route,))])


@pytest.fixture
def asking(
    stack: contextlib.ExitStack, authority: trustme.CA, loop_factory: LoopFactory
) -> Callable[[str, Backend], RunningGateway]:
    """Starts a gateway that believes the authority, and asks a backend under a name."""
    authorities = authority.cert_pem.bytes().decode()

    def start(name: str, backend: Backend) -> RunningGateway:
        settings = HTTPSettings(**SETTINGS, upstream_authorities=authorities)  # type: ignore[arg-type]
        running = RunningGateway(asked_as(name, backend), settings, loop_factory=loop_factory)
        stack.callback(running.stop)
        return running

    return start


def test_a_service_of_that_name_is_asked_over_tls(
    backend: Callable[..., Backend], asking: Callable[..., RunningGateway], authority: trustme.CA
) -> None:
    shop = backend(secure(authority, "shop.internal"))
    running = asking("shop.internal", shop)
    client = running.client()
    for _ in range(3):
        client.send(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        assert client.read_response().body == b"ok"
    assert b"Host: shop.example\r\n" in shop.requests[0]
    assert len(shop.peers) == 1  # connections are kept, and so is what their handshake cost


@pytest.mark.parametrize("wrong", ["name", "authority", "plain"])
def test_anybody_else_is_not_asked(
    backend: Callable[..., Backend],
    asking: Callable[..., RunningGateway],
    authority: trustme.CA,
    caplog: pytest.LogCaptureFixture,
    wrong: str,
) -> None:
    scripts = {
        "name": secure(authority, "other.internal"),
        "authority": secure(trustme.CA(), "shop.internal"),
        "plain": lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    }
    shop = backend(scripts[wrong])
    running = asking("shop.internal", shop)
    client = running.client()
    for _ in range(2):
        client.send(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        assert client.read_response().status in (502, 503)
    assert not shop.requests
    assert "tls_failed" in running.reasons(1)
    warnings = [
        record.getMessage()
        for record in caplog.records
        if "no TLS with the endpoint as shop.internal" in record.getMessage()
    ]
    assert len(warnings) == 1


def test_a_service_that_responds_in_records_of_one_byte(
    backend: Callable[..., Backend], asking: Callable[..., RunningGateway], authority: trustme.CA
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.internal").configure_cert(context)
    body = bytes(number % 251 for number in range(3000))

    def script(peer: Peer) -> None:
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        peer.read_head()
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + body:
            peer.sock.send(bytes([byte]))

    client = asking("shop.internal", backend(script)).client()
    client.send(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert client.read_response().body == body


def test_a_service_that_says_nothing_of_tls_is_not_waited_for(
    backend: Callable[..., Backend],
    authority: trustme.CA,
    loop_factory: LoopFactory,
    stack: contextlib.ExitStack,
) -> None:
    silent = backend(lambda peer: [peer.more() for _ in range(2)])  # the hello, and the end
    running = RunningGateway(
        asked_as("shop.internal", silent), quick(connect=0.3), loop_factory=loop_factory
    )
    stack.callback(running.stop)
    client = running.client()
    client.send(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert client.read_response().status == 504
    assert running.reasons(1) == ["connect_timeout"]


@pytest.mark.parametrize("chunks", [1, 3000])
def test_a_response_before_the_end_of_an_upload(
    backend: Callable[..., Backend],
    asking: Callable[..., RunningGateway],
    authority: trustme.CA,
    chunks: int,
) -> None:
    """The endpoint resets behind it, and a write fails first: it has arrived."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.internal").configure_cert(context)
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        peer.read_head()
        begun.set()
        go.wait(PATIENCE)
        peer.send(b"HTTP/1.1 413 Content Too Large\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.send(b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
        time.sleep(0.01)
        peer.reset()
        done.set()

    running = asking("shop.internal", backend(script))
    client = running.client()
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\nx")
    begun.wait(PATIENCE)

    def blocked() -> None:
        client.send(bytes(200_000))
        time.sleep(0.01)
        go.set()
        done.wait(PATIENCE)
        time.sleep(0.01)

    running.call(blocked)
    response = client.read_response()
    assert (response.status, response.body) == (413, b"x" * chunks)
