"""HTTP/2 where it is met in life: chosen by ALPN on a port that ends TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import trustme

from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.http2.front import HTTP2Front
from tests.support.backend import Backend, Peer
from tests.support.http2_client import Client2, request
from tests.support.programs import run
from tests.support.tls_lab import TLSGateway, certificate

Make = Callable[..., Backend]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

BOTH = TerminationSettings(alpn=("h2", "http/1.1"))


def serve(
    stack: contextlib.ExitStack, backend: Backend, *names: str, loop_factory: LoopFactory
) -> TLSGateway:
    """A gateway with one certificate for all of these names."""
    authority = trustme.CA()
    one = certificate(authority, "one", *names)
    site = TLSGateway(
        authority,
        backend,
        *names,
        "other.example",
        certificates=[one],
        termination=BOTH,
        hsts="max-age=300",
        loop_factory=loop_factory,
    )
    stack.callback(site.stop)
    return site


def echo(peer: Peer) -> None:
    """Responds with the body that came."""
    while True:
        head, _, body = peer.read_request().partition(b"\r\n\r\n")
        scheme = b"X-Scheme: https\r\n" if b"X-Forwarded-Proto: https" in head else b""
        peer.send(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (scheme, len(body)) + body)


def test_curl_chooses_http2_by_alpn_or_not(
    stack: contextlib.ExitStack, backend: Make, loop_factory: LoopFactory, tmp_path: Path
) -> None:
    """Chosen by ALPN, or not; megabytes there and back."""
    site = serve(stack, backend(echo), "a.example", loop_factory=loop_factory)
    site.authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    port = site.tls_address[1]
    body = tmp_path / "body"
    body.write_bytes(os.urandom(8_000_000))
    curl = (
        "curl",
        "-sSi",
        "--resolve",
        f"a.example:{port}:127.0.0.1",
        "--cacert",
        str(tmp_path / "ca.pem"),
        f"https://a.example:{port}/",
    )
    said = run(*curl, "--http2", "--data-binary", f"@{body}", "-H", "Expect:")
    assert said.startswith("HTTP/2 200")
    assert "\r\nx-scheme: https\r\n" in said
    assert "\r\nstrict-transport-security: max-age=300\r\n" in said
    assert said.endswith(body.read_bytes()[-1000:].decode("latin-1"))
    assert said.encode("latin-1").partition(b"\r\n\r\n")[2] == body.read_bytes()
    assert run(*curl, "--http1.1").startswith("HTTP/1.1 200 OK")
    assert [record["protocol"] for record in site.log(2)] == ["HTTP/2", "HTTP/1.1"]


def test_h2load_has_every_response(
    stack: contextlib.ExitStack, backend: Make, loop_factory: LoopFactory
) -> None:
    """Many at once, all with a response."""
    site = serve(stack, backend(), "localhost", loop_factory=loop_factory)
    said = run(
        "h2load", "-n", "1000", "-c", "5", "-m", "20", f"https://localhost:{site.tls_address[1]}/"
    )
    assert "Application protocol: h2" in said
    assert "1000 succeeded, 0 failed" in said


def test_one_connection_serves_all_hosts_of_its_certificate(
    stack: contextlib.ExitStack, backend: Make, loop_factory: LoopFactory
) -> None:
    """Browsers ask for all hosts of a certificate over one connection (RFC 9113 9.1.1); for others
    they are sent away.
    """
    site = serve(stack, backend(), "a.example", "b.example", loop_factory=loop_factory)
    context = site.trusting()
    context.set_alpn_protocols(["h2"])
    bare = site.connect()
    secured = context.wrap_socket(bare, server_hostname="a.example")
    assert secured.selected_alpn_protocol() == "h2"
    client = Client2(secured)
    assert [
        client.get("/", host).status
        for host in ("a.example", "b.example", "other.example", "a.example")
    ] == [200, 200, 421, 200]
    client.close()
    assert site.log(4)[2]["reason"] == "misdirected"


def test_streams_that_nobody_reads_keep_little_over_tls(
    stack: contextlib.ExitStack, backend: Make, loop_factory: LoopFactory
) -> None:
    """What a hundred of them wait with, and what TLS has not sent: little more than a MiB."""
    body = bytes(256 * 1024)

    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    site = serve(stack, backend(script), "a.example", loop_factory=loop_factory)
    context = site.trusting()
    context.set_alpn_protocols(["h2"])
    secured = context.wrap_socket(site.connect(), server_hostname="a.example")
    client = Client2(secured, window=0, open_windows=False)
    numbers = [client.ask(request("/", "a.example")) for _ in range(100)]
    for number in numbers:
        while not client.responses[number].heads:
            assert client.pump()
    client.ping()

    def kept() -> int:
        (front,) = [c for c in site.listener.clients if isinstance(c, HTTP2Front)]
        return front.streams.kept + front.transport.get_write_buffer_size()

    assert 512 * 1024 <= site.call(kept) < (512 + 256 + 100 * 4) * 1024
    client.close()
    site.wait(lambda: not site.call(lambda: len(site.listener.clients)))
