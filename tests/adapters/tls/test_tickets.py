"""Tickets that one process gives out and another takes: with the same secret, for the same
certificate and the same demands.
"""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.tls.certificate_files import CertificateFiles
from meshlib_adapters.tls.tickets import set_ticket_keys, sharing_trouble, ticket_keys
from tests.support.backend import Backend
from tests.support.tls_lab import TLSGateway, certificate

Make = Callable[..., Backend]
Start = Callable[..., TLSGateway]

SECRET = bytes(range(64))
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@given(st.binary(min_size=64, max_size=100), st.lists(st.binary(max_size=20)))
def test_keys_are_those_of_the_rfc(secret: bytes, parts: list[bytes]) -> None:
    # As a key HMAC takes at most a block as it is; a pseudorandom key for HKDF-Expand has at least
    # the size of the hash.
    info = hashlib.sha512(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
    assert ticket_keys(secret, parts) == HKDFExpand(hashes.SHA512(), 80, info).derive(secret)


def test_what_is_together_is_not_what_is_apart() -> None:
    keys = {
        ticket_keys(SECRET, parts)
        for parts in ([], [b""], [b"", b""], [b"ab"], [b"a", b"b"], [b"b", b"a"])
    }
    assert len(keys) == 6
    assert ticket_keys(SECRET[:32], []) != ticket_keys(SECRET[:33], [])


def test_this_python_shares() -> None:
    assert sharing_trouble() == ""


def test_a_python_that_cannot_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("/nowhere/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", program)
        assert sharing_trouble.__wrapped__()


def test_keys_of_another_size_are_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for size in (0, 48, 79, 81):
        with pytest.raises(ValueError, match="does not take these keys"):
            set_ticket_keys(context, bytes(size))


def resumes(
    one: TLSGateway,
    other: TLSGateway,
    version: ssl.TLSVersion,
    context: ssl.SSLContext | None = None,
) -> bool:
    """Whether a session that began at `one` goes on at `other`, and there once more."""
    context = context or one.trusting()
    context.minimum_version = context.maximum_version = version
    first = one.tls("a.example", context=context)
    assert first.get("a.example").endswith(b"ok")
    reused, session = [], first.sock.session
    for _ in range(2):
        again = other.tls("a.example", context=context, session=session)
        assert again.get("a.example").endswith(b"ok")
        reused.append(again.sock.session_reused)
        session = again.sock.session
    assert reused[1]  # at the same one, whatever it was before
    return bool(reused[0])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_goes_on_where_the_secret_is_the_same(
    backend: Make, start: Start, authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    web, own = backend(), [certificate(authority, "a.example")]
    one, same = (start(web, "a.example", certificates=own, ticket_secret=SECRET) for _ in range(2))
    other = start(web, "a.example", certificates=own, ticket_secret=SECRET[::-1])
    alone = start(web, "a.example", certificates=own)
    renewed = start(
        web, "a.example", certificates=[certificate(authority, "a.example")], ticket_secret=SECRET
    )
    found = [resumes(one, at, version) for at in (same, other, alone, renewed)]
    assert found == [True, False, False, False]
    assert same.call(lambda: same.terminator.counters["resumed"]) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_without_a_certificate_is_none_where_one_is_demanded(
    backend: Make, start: Start, authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    web, own, people, others = (
        backend(),
        [certificate(authority, "a.example")],
        trustme.CA(),
        trustme.CA(),
    )

    def asking(how: str, judge: trustme.CA) -> TLSGateway:
        termination = TerminationSettings(client_auth=how)  # type: ignore[arg-type]  # one of three
        ca = judge.cert_pem.bytes()
        return start(
            web,
            "a.example",
            certificates=own,
            ticket_secret=SECRET,
            termination=termination,
            client_ca=ca,
        )

    free = start(web, "a.example", certificates=own, ticket_secret=SECRET)
    requesting, demanding, again, elsewhere = (
        asking(how, judge)
        for how, judge in (
            ("request", people),
            ("require", people),
            ("require", people),
            ("require", others),
        )
    )
    for one in (free, requesting):
        context = one.trusting()
        context.minimum_version = context.maximum_version = version
        session = one.tls("a.example", context=context)
        session.get("a.example")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            demanding.tls("a.example", context=context, session=session.sock.session).get(
                "a.example"
            )
    known = demanding.trusting()
    people.issue_cert("me@example.org").configure_cert(known)
    assert resumes(demanding, again, version, known)
    assert web.requests[-1].count(b"X-Client-Cert-Subject: ") == 1
    session = demanding.tls("a.example", context=known)
    session.get("a.example")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        elsewhere.tls("a.example", context=known, session=session.sock.session).get("a.example")


def test_a_reload_keeps_the_sessions_of_a_certificate_that_stays(
    backend: Make, start: Start, authority: trustme.CA
) -> None:
    own = certificate(authority, "a.example")
    web = backend()
    one, other = (
        start(web, "a.example", certificates=[own], ticket_secret=SECRET) for _ in range(2)
    )
    one.use(own, certificate(authority, "b.example"))
    assert resumes(one, other, ssl.TLSVersion.TLSv1_3)
    other.ticket_secret = SECRET[::-1]
    other.use(own)  # another secret, the same context
    assert not resumes(one, other, ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_openssl_goes_on_elsewhere(
    backend: Make, start: Start, authority: trustme.CA, tmp_path: Path, flag: str
) -> None:
    web, own = backend(), [certificate(authority, "a.example")]
    session = tmp_path / "session.pem"
    told = []
    for running in [
        start(web, "a.example", certificates=own, ticket_secret=SECRET) for _ in range(2)
    ]:
        kept = ["-sess_in", str(session)] if session.exists() else ["-sess_out", str(session)]
        address = "{}:{}".format(*running.tls_address)
        done = subprocess.run(
            [
                "openssl",
                "s_client",
                "-connect",
                address,
                "-servername",
                "a.example",
                flag,
                "-ign_eof",
                *kept,
            ],
            input=b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert b"200 OK" in done.stdout
        told.append(
            next(word for word in (b"New", b"Reused") if b"\n%s, TLSv1" % word in done.stdout)
        )
    assert told == [b"New", b"Reused"]


def test_the_secret_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    files = CertificateFiles([], "", str(file))
    assert files.read().ticket_secret == b""
    assert "cannot be read: No such file" in str(files.problems[0])
    file.write_bytes(bytes(31))
    assert files.read().ticket_secret == b""
    assert (
        str(files.problems[0])
        == f"{file}: a secret has at least 32 bytes; make it with `openssl rand`"
    )
    file.write_bytes(SECRET)
    assert files.read().ticket_secret == SECRET
    assert files.problems == ()
    assert SECRET.hex() not in repr(files.current)
    assert repr(SECRET) not in repr(files.current)
    file.write_bytes(b"")
    assert files.read().ticket_secret == SECRET  # what it held before stands
    assert files.problems
