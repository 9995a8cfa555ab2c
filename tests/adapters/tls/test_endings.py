"""The end of a TLS connection whose client still sends: as on a plain one."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import pytest

from meshlib_adapters.config.transport import TLSSettings
from tests.support.backend import Backend, Peer
from tests.support.hellos import hello_for
from tests.support.running import quick
from tests.support.tls_lab import TLSGateway

Make = Callable[..., Backend]
Start = Callable[..., TLSGateway]

UPLOAD = 20_000_000
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % UPLOAD


def upload(sock: socket.socket) -> bytes:
    """Send a whole upload before the first byte of the response is read."""
    sock.sendall(POST)
    piece = b"x" * 100_000
    for _ in range(UPLOAD // len(piece)):
        sock.sendall(piece)
    response = b""
    while data := sock.recv(65536):
        response += data
    return response


def test_an_early_response_reaches_a_plain_client_that_is_still_sending(
    backend: Make, start: Start
) -> None:
    running = start(
        backend(),
        "a.example",
        settings=quick(max_body=10),
        tls=TLSSettings(plain_http="serve"),
    )
    with running.connect() as sock:
        assert upload(sock).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_early_response_reaches_a_tls_client_that_is_still_sending(
    backend: Make, start: Start, version: ssl.TLSVersion
) -> None:
    running = start(backend(), "a.example", settings=quick(max_body=10))
    context = running.trusting()
    context.maximum_version = version
    client = running.tls("a.example", context=context)
    # Its end is a close_notify; else this raises.
    assert upload(client.sock).startswith(b"HTTP/1.1 413 ")


def test_a_long_early_response_comes_with_its_end(backend: Make, start: Start) -> None:
    """Longer than the buffers between: what the client sends is dropped before all of it is out."""
    size = 3_000_000

    def early(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        peer.send(b"r" * size)
        while peer.more():  # else its own end would be an RST
            pass

    running = start(backend(early), "a.example", settings=quick(buffer_size=10_000_000))
    response = upload(running.tls("a.example").sock)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.endswith(b"r" * size)


def test_the_lingering_close_takes_as_long_as_its_setting_says(backend: Make, start: Start) -> None:
    running = start(backend(), "a.example", settings=quick(max_body=10, lingering_close=0.1))
    client = running.tls("a.example")
    client.send(POST)
    assert client.rest().startswith(b"HTTP/1.1 413 ")
    running.wait(lambda: bool(running.records))  # though the client has not left
    assert running.records[0].seconds < 1.9


def refused_hello(running: TLSGateway) -> socket.socket:
    sock = running.connect()
    sock.sendall(hello_for("unknown.example"))
    assert sock.recv(100)[:1] == b"\x15"  # an alert
    return sock


def failed_handshake(running: TLSGateway) -> socket.socket:
    sock = running.connect()
    hello = bytearray(hello_for("a.example"))
    sock.sendall(hello)
    sock.sendall(b"\x17\x03\x03\x00\x01x")
    while sock.recv(10_000):
        pass
    return sock


def served_client(running: TLSGateway) -> socket.socket:
    client = running.tls("a.example")
    client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
    assert client.rest().endswith(b"ok")
    return client.sock


def refused_plain(running: TLSGateway) -> socket.socket:
    sock = running.connect()
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
    assert sock.recv(10_000).startswith(b"HTTP/1.1 400 ")
    return sock


@pytest.mark.parametrize(
    ("come", "refusals"),
    [
        (refused_hello, {"no_route": 1}),
        (failed_handshake, {"handshake_failed": 1}),
        (served_client, {}),
        (refused_plain, {}),
    ],
)
def test_who_lingers_and_is_given_up_is_counted_once(
    backend: Make,
    start: Start,
    come: Callable[[TLSGateway], socket.socket],
    refusals: dict[str, int],
) -> None:
    running = start(
        backend(),
        "a.example",
        settings=quick(lingering_close=30),
        tls=TLSSettings(max_connections=1, lingering_close=30, plain_http="serve"),
    )
    with come(running):
        assert running.call(lambda: len(running.tls_listener)) == 1
        assert running.tls("a.example").get("a.example").endswith(b"ok")
        assert running.call(lambda: dict(running.tls_listener.refusals)) == refusals
        assert running.call(lambda: running.tls_listener.limits.given_up) == 1
