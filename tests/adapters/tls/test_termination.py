"""TLS terminated here, with the standard library's client: names, hosts, large bodies, resumption,
and everything on one port.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
import trustme

from meshlib.client_claims import ForwardingPolicy
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.config.transport import TLSSettings
from meshlib_adapters.tls.certificates import parse_pem
from tests.support.backend import OK, Backend, Peer
from tests.support.running import quick
from tests.support.tls_lab import TLSGateway, certificate

Make = Callable[..., Backend]
Start = Callable[..., TLSGateway]


def test_a_request_over_tls_gets_its_response_and_says_so(backend: Make, start: Start) -> None:
    web = backend()
    running = start(web, "shop.example")
    client = running.tls("shop.example")
    for _ in range(3):
        assert client.get("shop.example").endswith(b"ok")
    (request, *_) = web.requests
    assert b"X-Forwarded-Proto: https\r\n" in request
    assert b"X-Forwarded-Port: %d\r\n" % running.tls_address[1] in request
    assert client.sock.version() == "TLSv1.3"
    assert len(web.peers) == 1
    client.close()
    running.wait(lambda: bool(running.records))
    assert running.records[0].outcome == "terminated"
    assert running.records[0].server_name == "shop.example"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_large_bodies_both_ways(backend: Make, start: Start, version: ssl.TLSVersion) -> None:
    size = 5_000_000

    def echo(peer: Peer) -> None:
        head = peer.read_head()
        assert b"Content-Length: %d" % size in head
        body = peer.read(size)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        peer.send(body)

    running = start(backend(echo), "shop.example")
    context = running.trusting()
    context.minimum_version = context.maximum_version = version
    client = running.tls("shop.example", context=context)
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    client.send(
        b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: %d\r\n\r\n" % size + body
    )
    assert client.response().partition(b"\r\n\r\n")[2] == body


def test_a_client_that_reads_nothing_stops_the_upstream_and_is_cut(
    backend: Make, start: Start
) -> None:
    def endless(peer: Peer) -> None:
        peer.read_request()
        with contextlib.suppress(OSError):
            while True:
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 65536)

    running = start(backend(endless), "shop.example", settings=quick(between_bytes=0.5))
    client = running.tls("shop.example")
    client.send(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert running.reasons(1) == ["between_bytes_timeout"]
    running.wait(lambda: not len(running.listener.clients))


def test_names_choose_certificates(backend: Make, start: Start, authority: trustme.CA) -> None:
    own = [
        certificate(authority, "exact", "a.shop.example"),
        certificate(authority, "wild", "*.shop.example"),
    ]
    fallback = certificate(authority, "default", "other.example", "127.0.0.1")
    running = start(
        backend(),
        "a.shop.example",
        "*.shop.example",
        "stranger.example",
        certificates=[*own, fallback],
    )

    def names(name: str | None) -> list[str]:
        context = running.trusting()
        context.check_hostname = False
        shown = running.tls(name, context=context).sock.getpeercert()
        assert shown is not None
        return [str(entry[1]) for entry in shown["subjectAltName"]]

    assert names("a.shop.example") == ["a.shop.example"]
    assert names("B.shop.example") == ["*.shop.example"]
    assert names("stranger.example") == names(None) == ["other.example", "127.0.0.1"]


def test_two_algorithms_for_one_name(backend: Make, start: Start, authority: trustme.CA) -> None:
    """Each client gets the certificate that it can check; of two with the same algorithm the one
    that ends last.
    """
    found = []
    for name, kind, days in (
        ("old", trustme.KeyType.RSA, 30),
        ("rsa", trustme.KeyType.RSA, 60),
        ("ec", trustme.KeyType.ECDSA, 50),
    ):
        until = datetime.now(UTC) + timedelta(days=days)
        issued = authority.issue_cert("shop.example", key_type=kind, not_after=until)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        found.append(parse_pem(name, f"{name}.pem", chain, issued.private_key_pem.bytes()))
    assert [one.algorithm for one in found] == ["RSA", "RSA", "EC"]
    site = start(backend(), "shop.example", certificates=found)
    for ciphers, expected in (
        ("ECDHE-RSA-AES128-GCM-SHA256", found[1]),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", found[2]),
    ):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the ciphers name the algorithm
        context.set_ciphers(ciphers)
        with (
            site.connect() as plain,
            context.wrap_socket(plain, server_hostname="shop.example") as sock,
        ):
            shown = sock.getpeercert(binary_form=True)
            assert shown is not None
            assert hashlib.sha256(shown).hexdigest() == expected.fingerprint
            sock.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_host_that_is_not_the_connections_is_misdirected(
    backend: Make, start: Start, authority: trustme.CA
) -> None:
    shared = certificate(authority, "shared", "a.example", "b.example", "p.example")
    alone = certificate(authority, "alone", "c.example")
    running = start(
        backend(),
        "a.example",
        "b.example",
        "c.example",
        "p.example",
        certificates=[shared, alone],
        passed={"p.example": 9},
    )
    client = running.tls("a.example")
    assert client.get("a.example").startswith(b"HTTP/1.1 200 ")
    assert client.get("A.example:443").startswith(b"HTTP/1.1 200 ")
    assert client.get("b.example").startswith(
        b"HTTP/1.1 200 "
    )  # another name of the same certificate (RFC 9110 4.3.3)
    assert client.get("c.example").startswith(b"HTTP/1.1 421 ")
    assert client.get("p.example").startswith(
        b"HTTP/1.1 421 "
    )  # whose TLS is passed through, not ended
    assert client.get("nobody.example").startswith(b"HTTP/1.1 421 ")
    assert client.get("a.example").startswith(b"HTTP/1.1 200 ")
    nameless = running.tls(None)
    assert nameless.get("c.example").startswith(b"HTTP/1.1 200 ")  # the first certificate by name
    assert nameless.get("a.example").startswith(b"HTTP/1.1 421 ")
    assert "misdirected" in running.reasons(6)


def test_one_port_for_everything(backend: Make, start: Start, authority: trustme.CA) -> None:
    inner = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("passed.example").configure_cert(inner)

    def other_server(peer: Peer) -> None:
        with contextlib.suppress(OSError), inner.wrap_socket(peer.sock, server_side=True) as sock:
            sock.recv(1000)
            sock.sendall(OK.replace(b"ok", b"pp"))

    web, other = backend(), backend(other_server)
    running = start(
        web,
        "ended.example",
        passed={"passed.example": other.port},
        tls=TLSSettings(plain_http="serve"),
    )
    assert running.tls("ended.example").get("ended.example").endswith(b"ok")
    assert running.tls("passed.example").get("passed.example").endswith(b"pp")
    with running.connect() as plain:
        for _ in range(2):
            plain.sendall(b"GET / HTTP/1.1\r\nHost: ended.example\r\n\r\n")
            assert plain.recv(1000).endswith(b"ok")
    assert b"X-Forwarded-Proto: http\r\n" in web.requests[-1]
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        running.tls("nobody.example")


def test_sessions_are_resumed_also_over_a_reload(
    backend: Make, start: Start, authority: trustme.CA
) -> None:
    running = start(
        backend(), "a.example", certificates=[own := certificate(authority, "a.example")]
    )
    context = running.trusting()
    first = running.tls("a.example", context=context)
    first.get("a.example")
    session = first.sock.session
    first.close()
    running.use(own, certificate(authority, "b.example"))
    second = running.tls("a.example", context=context, session=session)
    second.get("a.example")
    assert second.sock.session_reused
    assert running.call(lambda: running.terminator.counters["resumed"]) == 1
    running.use(certificate(authority, "a.example"))
    third = running.tls("a.example", context=context, session=second.sock.session)
    assert not third.sock.session_reused
    assert second.get("a.example").endswith(b"ok")  # who is there keeps what he has


def test_old_versions_are_refused(backend: Make, start: Start) -> None:
    running = start(backend(), "a.example", termination=TerminationSettings(min_version="1.3"))
    context = running.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        running.tls("a.example", context=context)
    running.wait(lambda: bool(running.records))
    assert running.records[0].outcome == "handshake_failed"


def test_the_end_is_told(backend: Make, start: Start) -> None:
    def until_close(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")

    running = start(backend(until_close), "a.example")
    client = running.tls("a.example")
    client.send(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
    assert client.rest().endswith(b"until the end")  # and a close_notify: nobody has cut it


def test_a_cut_response_looks_cut(backend: Make, start: Start) -> None:
    def cut(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
        peer.reset()

    running = start(backend(cut), "a.example")
    client = running.tls("a.example")
    client.send(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
    with pytest.raises(OSError):
        client.rest()


def test_a_half_closed_client_gets_its_response(backend: Make, start: Start) -> None:
    running = start(backend(), "a.example")
    client = running.tls("a.example")
    client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    socket.socket.shutdown(client.sock, socket.SHUT_WR)
    assert client.response().endswith(b"ok")


def test_draining_lets_requests_end(backend: Make, start: Start) -> None:
    let_go = threading.Event()

    def slow(peer: Peer) -> None:
        peer.read_request()
        let_go.wait(10)
        peer.send(OK)

    web = backend(slow)
    running = start(web, "a.example")
    idle, busy = running.tls("a.example"), running.tls("a.example")
    busy.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    web.wait(lambda: bool(web.requests))

    async def drain() -> int:
        return await running.listener.drain(10)

    result: list[int] = []
    thread = threading.Thread(target=lambda: result.append(running.run(drain())))
    thread.start()
    assert idle.rest() == b""
    assert running.tls("a.example").rest() == b""  # too late to ask
    let_go.set()
    assert b"Connection: close" in busy.response()
    thread.join()
    assert result == [0]


def test_requests_without_tls_are_sent_to_https(backend: Make, start: Start) -> None:
    policy = ForwardingPolicy(trusted_proxies=(ip_network("127.0.0.0/8"),))
    for trusting in (False, True):
        running = start(
            backend(),
            "a.example",
            https_only=True,
            tls=TLSSettings(plain_http="serve"),
            policy=policy if trusting else None,
        )
        with running.connect() as plain:
            for _ in range(2):
                plain.sendall(b"POST /x?y HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n")
                response = plain.recv(1000)
                assert response.startswith(b"HTTP/1.1 308 ")
                assert b"Location: https://a.example/x?y\r\n" in response
            plain.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: https\r\n\r\n")
            assert plain.recv(1000).startswith(b"HTTP/1.1 200 " if trusting else b"HTTP/1.1 308 ")
        assert running.tls("a.example").get("a.example").startswith(b"HTTP/1.1 200 ")


def test_they_are_sent_to_the_port_that_clients_see(backend: Make, start: Start) -> None:
    running = start(
        backend(),
        "a.example",
        https_only=True,
        tls=TLSSettings(plain_http="serve"),
        https_port=8443,
    )
    with running.connect() as plain:
        plain.sendall(b"GET /x?y HTTP/1.1\r\nHost: a.example:8080\r\n\r\n")
        assert b"\r\nLocation: https://a.example:8443/x?y\r\n" in plain.recv(1000)


def test_hsts_goes_with_responses_over_tls_only(backend: Make, start: Start) -> None:
    """RFC 6797 7.2: never without TLS, which anybody could have written it into."""
    running = start(
        backend(), "a.example", hsts="max-age=300; preload", tls=TLSSettings(plain_http="serve")
    )
    line = b"\r\nStrict-Transport-Security: max-age=300; preload\r\n"
    assert line in running.tls("a.example").get("a.example")
    with running.connect() as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        response = plain.recv(1000)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"Strict-Transport-Security" not in response


@pytest.mark.parametrize("changes", [{"max_connections": 1}, {"max_connections_per_client": 1}])
def test_a_client_between_requests_makes_room(
    backend: Make, start: Start, changes: dict[str, int]
) -> None:
    """At the limit of the TLS listener, and at that of HTTP inside."""
    running = start(backend(), "a.example", tls=TLSSettings(**changes))  # type: ignore[arg-type]  # limits alone
    first = running.tls("a.example")
    assert first.get("a.example").endswith(b"ok")
    second = running.tls("a.example")
    assert second.get("a.example").endswith(b"ok")
    with pytest.raises((OSError, EOFError, AssertionError)):
        first.get("a.example")
    assert running.call(lambda: dict(running.tls_listener.refusals)) == {"given_up": 1}
    assert second.get("a.example").endswith(b"ok")


@pytest.mark.parametrize("changes", [{"max_connections": 1}, {"max_connections_per_client": 1}])
def test_so_it_does_at_the_limit_of_http(
    backend: Make, start: Start, changes: dict[str, int]
) -> None:
    running = start(backend(), "a.example", settings=HTTPSettings(**changes))  # type: ignore[arg-type]  # limits alone
    assert running.tls("a.example").get("a.example").endswith(b"ok")
    second = running.tls("a.example")
    assert second.get("a.example").endswith(b"ok")
    assert running.call(lambda: running.listener.clients.limits.given_up) == 1
    assert second.get("a.example").endswith(b"ok")
