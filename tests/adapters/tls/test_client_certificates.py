"""Clients that show certificates: who is let in, what upstreams are told, and what nobody may
claim.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_network

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.client_claims import ForwardingPolicy
from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.config.transport import TLSSettings
from meshlib_adapters.tls.client_certificates import client_fields, without_client_fields
from tests.support.backend import PATIENCE, Backend
from tests.support.tls_lab import TLSGateway, certificate

CLAIMS = (
    "X-Client-Cert-Subject: CN=admin",
    "Client-Cert: :AAAA:",
    "x-client-cert-FINGERPRINT: 00",
    "X_Client_Cert_Subject: CN=admin",
)


@pytest.fixture(scope="module")
def people() -> trustme.CA:
    """The authority of the clients, another than the servers'."""
    return trustme.CA()


def showing(running: TLSGateway, people: trustme.CA, name: str) -> ssl.SSLContext:
    context = running.trusting()
    people.issue_cert(name, common_name="Ren\xe9e 100%").configure_cert(context)
    return context


def lines(request: bytes) -> dict[str, str]:
    head = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}


@pytest.mark.parametrize("trusted", [False, True])
def test_what_was_verified_is_told_and_nothing_else(
    backend: Callable[..., Backend],
    start: Callable[..., TLSGateway],
    people: trustme.CA,
    trusted: bool,
) -> None:
    web = backend()
    policy = ForwardingPolicy(
        underscores=True, trusted_proxies=(ip_network("127.0.0.0/8"),) if trusted else ()
    )
    asked = TerminationSettings(client_auth="request")
    running = start(
        web, "a.example", termination=asked, client_ca=people.cert_pem.bytes(), policy=policy
    )
    known = running.tls("a.example", context=showing(running, people, "me@example.org"))
    for _ in range(2):
        assert known.get("a.example", "/", *CLAIMS).endswith(b"ok")
    stranger = running.tls("a.example")
    assert stranger.get("a.example", "/", *CLAIMS).endswith(b"ok")
    first, second, third = map(lines, web.requests)
    assert first["x-client-cert-subject"] == second["x-client-cert-subject"]
    assert "CN=Ren%C3%A9e 100%25" in first["x-client-cert-subject"]
    assert len(first["x-client-cert-fingerprint"]) == 64
    assert first["client-cert"].startswith(":MII")
    assert first["x-client-cert-issuer"].startswith("OU=") or "O=" in first["x-client-cert-issuer"]
    assert int(first["x-client-cert-serial"], 16)
    assert not [name for name in third if "client" in name and "cert" in name]
    with running.connect() as plain:  # no TLS here, and nobody to claim anything to
        assert plain.getpeername()
    assert running.call(lambda: running.terminator.counters["client_certificates"]) == 1


def test_a_claim_over_plain_http_is_dropped(
    backend: Callable[..., Backend], start: Callable[..., TLSGateway]
) -> None:
    web = backend()
    running = start(web, "a.example")
    client = running.client()
    client.send(
        (
            "GET / HTTP/1.1\r\nHost: a.example\r\n"
            + "".join(f"{claim}\r\n" for claim in CLAIMS)
            + "\r\n"
        ).encode()
    )
    web.wait(lambda: bool(web.requests))
    assert not [name for name in lines(web.requests[0]) if "client" in name and "cert" in name]


def test_without_a_good_certificate_nobody_comes_in(
    backend: Callable[..., Backend], start: Callable[..., TLSGateway], people: trustme.CA
) -> None:
    web = backend()
    asked = TerminationSettings(client_auth="require")
    running = start(web, "a.example", termination=asked, client_ca=people.cert_pem.bytes())
    assert (
        running.tls("a.example", context=showing(running, people, "me@example.org"))
        .get("a.example")
        .endswith(b"ok")
    )
    for context in (running.trusting(), showing(running, trustme.CA(), "me@example.org")):
        with pytest.raises(OSError):  # in TLS 1.3 the client learns it when it reads
            running.tls("a.example", context=context).get("a.example")
    assert len(web.requests) == 1
    running.wait(lambda: len(running.records) >= 2)
    assert [record.outcome for record in running.records] == ["handshake_failed"] * 2


_UNPROVEN = {
    "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n": "308 https://a.example/",
    "POST /x?y HTTP/1.1\r\nHost: A.example:80\r\nContent-Length: 2\r\n\r\nhi": "308 https://a.example/x?y",
    "GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n": "308 https://a.example/x",
    "GET /x HTTP/1.0\r\n\r\n": "404 ",
    "GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n": "308 https://a.example/x",
    "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n": "308 https://a.example/",
    "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: https\r\n\r\n": "403 ",
    "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a.example\r\n\r\n": "308 https://a.example/.well-known/acme-challenge/x",
    "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n": "403 ",
    "GET / HTTP/1.1\r\nHost: bare.example\r\n\r\n": "403 ",
    "GET / HTTP/1.1\r\nHost: passed.example\r\n\r\n": "403 ",
    "GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n": "404 ",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "400 ",
}


@pytest.mark.parametrize("port", ["http", "tls"])
def test_without_tls_nobody_comes_in_either(
    backend: Callable[..., Backend],
    start: Callable[..., TLSGateway],
    people: trustme.CA,
    authority: trustme.CA,
    port: str,
) -> None:
    web = backend()
    asked = TerminationSettings(client_auth="require")
    running = start(
        web,
        "a.example",
        "bare.example",
        "passed.example",
        passed={"passed.example": web.port},
        certificates=[
            certificate(authority, "a.example"),
            certificate(authority, "passed.example"),
        ],
        termination=asked,
        tls=TLSSettings(plain_http="serve"),
        client_ca=people.cert_pem.bytes(),
        policy=ForwardingPolicy(trusted_proxies=(ip_network("127.0.0.0/8"),)),
    )
    found = {}
    for request in _UNPROVEN:
        if port == "tls" and request.startswith(
            "PRI"
        ):  # told from HTTP/1 by its first bytes, and closed
            continue
        with socket.create_connection(
            running.address if port == "http" else running.tls_address, PATIENCE
        ) as plain:
            plain.sendall(request.encode())
            with plain.makefile("rb") as file:
                status = file.readline().split()[1].decode()
                locations = [
                    line[9:].strip().decode()
                    for line in iter(file.readline, b"\r\n")
                    if line.lower().startswith(b"location:")
                ]
        found[request] = f"{status} {''.join(locations)}"
    assert found == {
        request: expected for request, expected in _UNPROVEN.items() if request in found
    }
    assert web.requests == []
    reasons = {
        line["reason"] for line in map(json.loads, running.lines) if line.get("status") == 403
    }
    assert reasons <= {"client_certificate_required"}
    assert (
        running.tls("a.example", context=showing(running, people, "me@example.org"))
        .get("a.example")
        .endswith(b"ok")
    )


def test_certificates_that_are_only_asked_for_leave_plain_http_as_it_is(
    backend: Callable[..., Backend], start: Callable[..., TLSGateway], people: trustme.CA
) -> None:
    web = backend()
    running = start(
        web,
        "a.example",
        termination=TerminationSettings(client_auth="request"),
        client_ca=people.cert_pem.bytes(),
    )
    client = running.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert client.read_response().body == b"ok"


def test_no_authority_is_nobody_and_not_everybody(
    backend: Callable[..., Backend],
    start: Callable[..., TLSGateway],
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = start(backend(), "a.example", termination=TerminationSettings(client_auth="require"))
    with pytest.raises(ssl.SSLError):
        running.tls("a.example")
    assert "no authorities to judge clients by" in caplog.text


def test_nothing_in_a_name_can_end_a_field() -> None:
    issued = trustme.CA().issue_cert("a.example", common_name="x\r\nX-Admin: yes")
    der = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
    fields = client_fields(der.public_bytes(Encoding.DER))
    assert b"\r\nX-Admin" not in fields
    assert b"%0D%0AX-Admin: yes" in fields
    assert client_fields(None) == b""
    assert client_fields(b"no certificate").count(b"\r\n") == 2
    assert (
        without_client_fields(b"A: 1\r\nClient-Cert-Chain: x\r\nX-Client-Certain: 2\r\nB: 2\r\n")
        == b"A: 1\r\nB: 2\r\n"
    )
