"""Certificates out of real files: every form, every mistake with its cure, and what stays when one
goes bad.
"""

from __future__ import annotations

import datetime
import os
import pickle
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.tls.certificate_files import CertificateFiles
from meshlib_adapters.tls.certificate_index import CertificateIndex
from meshlib_adapters.tls.certificates import covers

DAY = 86400.0


def parts(authority: trustme.CA, name: str, days: int = 365) -> tuple[bytes, bytes]:
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    issued = authority.issue_cert(name, not_after=expires)
    return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()


def encrypted(key: bytes, password: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password)
    )


def pkcs12(chain: bytes, key: bytes, authority: trustme.CA, password: bytes) -> bytes:
    private = load_pem_private_key(key, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    return serialize_key_and_certificates(
        b"x",
        private,
        x509.load_pem_x509_certificate(chain),
        [issuer],
        BestAvailableEncryption(password),
    )


def first_problem(files: CertificateFiles) -> str:
    return files.problems[0].message


def test_certificates_are_read_in_every_form(tmp_path: Path, authority: trustme.CA) -> None:
    chain, key = parts(authority, "pair.example")
    (tmp_path / "pair.crt").write_bytes(chain)
    (tmp_path / "pair.key").write_bytes(key)
    chain, key = parts(authority, "one.example")
    (tmp_path / "one.pem").write_bytes(key + chain + authority.cert_pem.bytes())
    chain, key = parts(authority, "*.locked.example")
    (tmp_path / "locked.cer").write_bytes(chain)
    (tmp_path / "locked.key").write_bytes(encrypted(key, b"secret"))
    (tmp_path / "locked.pass").write_text("secret\n")
    chain, key = parts(authority, "twelve.example")
    (tmp_path / "twelve.p12").write_bytes(pkcs12(chain, key, authority, b"pw"))
    (tmp_path / "twelve.pass").write_text("pw\r\n")
    (tmp_path / ".hidden.pem").write_text("no")
    (tmp_path / "db_password").write_text("a secret of somebody else")
    outside = tmp_path / "outside"
    outside.mkdir()
    chain, key = parts(authority, "192.0.2.7")
    (outside / "single.pem").write_bytes(key + chain)
    files = CertificateFiles([str(tmp_path), str(outside / "single.pem")])
    found = files.read()
    assert files.problems == ()
    assert {item.name: (*item.names, *item.addresses) for item in found.certificates} == {
        "locked": ("*.locked.example",),
        "one": ("one.example",),
        "pair": ("pair.example",),
        "twelve": ("twelve.example",),
        "single": ("192.0.2.7",),
    }
    locked = next(item for item in found.certificates if item.name == "locked")
    assert covers(locked, "a.locked.example")
    assert not covers(locked, "a.b.locked.example")
    assert not covers(locked, "locked.example")
    assert "PRIVATE" not in repr(found)
    assert len(CertificateIndex(pickle.loads(pickle.dumps(found)), TerminationSettings())) == 5
    assert files.read() is found
    assert not files.changed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "other_key",
            (
                "certificate and private key do not belong together; "
                "replace the one that is out of date"
            ),
        ),
        (
            "wrong_order",
            (
                "the key belongs to another certificate than the first; "
                "put the server's own certificate first"
            ),
        ),
        (
            "no_key",
            "there is no private key in it; put it into a file of the same name that ends in .key",
        ),
        ("empty_key", "there is no private key in its .key file; put it into"),
        (
            "no_password",
            (
                "the private key is encrypted; put its password into a file of the same "
                "name that ends in .pass"
            ),
        ),
        (
            "wrong_password",
            "the private key cannot be read with the password; correct the .pass file or the key",
        ),
        (
            "idle_password",
            "there is a password, but the private key is not encrypted; remove the .pass file",
        ),
        ("damaged_key", "the private key is damaged or of an unknown kind; export it again as PEM"),
        (
            "no_certificate",
            (
                "there is no certificate in it that can be read; write PEM: "
                "-----BEGIN CERTIFICATE-----"
            ),
        ),
        (
            "nonsense",
            (
                "there is no certificate in it, and no private key; write PEM: "
                "-----BEGIN CERTIFICATE-----"
            ),
        ),
        (
            "empty",
            (
                "there is no certificate in it, and no private key; write PEM: "
                "-----BEGIN CERTIFICATE-----"
            ),
        ),
        (
            "binary",
            (
                "there is no certificate in it, and no private key; write PEM: "
                "-----BEGIN CERTIFICATE-----"
            ),
        ),
        ("huge", "the file is larger than 1 MiB; this is no certificate"),
        (
            "bad_p12",
            (
                "this is no PKCS#12 file, or its password is another; "
                "put its password into a file of the same name"
            ),
        ),
    ],
)
def test_every_mistake_has_its_cure_and_costs_no_other(
    tmp_path: Path, authority: trustme.CA, name: str, message: str
) -> None:
    chain, key = parts(authority, "bad.example")
    certificate, private, password = {
        "other_key": (chain, parts(authority, "x.example")[1], None),
        "wrong_order": (parts(authority, "x.example")[0] + chain, key, None),
        "no_key": (chain, None, None),
        "empty_key": (chain, b"", None),
        "no_password": (chain, encrypted(key, b"secret"), None),
        "wrong_password": (chain, encrypted(key, b"secret"), "other"),
        "idle_password": (chain, key, "secret"),
        "damaged_key": (
            chain,
            key.replace(b"E", b"F")
            .replace(b"FND", b"END")
            .replace(b"BFGIN", b"BEGIN")
            .replace(b"KFY", b"KEY")
            .replace(b"PRIVATF", b"PRIVATE"),
            None,
        ),
        "no_certificate": (b"nothing", key, None),
        "nonsense": (b"nothing", None, None),
        "empty": (b"", None, None),
        "binary": (ssl.PEM_cert_to_DER_cert(chain.decode()), None, None),
        "huge": (chain + b"x" * (1 << 20), key, None),
        "bad_p12": (b"no such thing", None, None),
    }[name]
    bad = tmp_path / ("bad.p12" if name == "bad_p12" else "bad.crt")
    bad.write_bytes(certificate)
    if private is not None:
        (tmp_path / "bad.key").write_bytes(private)
    if password is not None:
        (tmp_path / "bad.pass").write_text(password)
    good_chain, good_key = parts(authority, "good.example")
    (tmp_path / "good.pem").write_bytes(good_chain + good_key)
    files = CertificateFiles([str(tmp_path), str(tmp_path / "missing")])
    assert [item.name for item in files.read().certificates] == ["good"]
    missing, problem = files.problems
    assert str(missing).endswith(
        "missing: cannot be read: No such file or directory; "
        "make it readable for the gateway's user"
    )
    assert problem.place == str(bad)
    assert problem.message.startswith(message)
    assert "secret" not in problem.message


def test_what_was_good_stays_while_the_file_is_bad(tmp_path: Path, authority: trustme.CA) -> None:
    chain, key = parts(authority, "a.example")
    pem = tmp_path / "a.pem"
    pem.write_bytes(chain + key)
    files = CertificateFiles([str(tmp_path)])
    first = files.read()
    pem.write_bytes(b"half writt")
    assert files.read() == first
    assert first_problem(files).endswith("(the certificate that it held before stays in use)")
    chain, key = parts(authority, "a.example")
    pem.write_bytes(chain + key)
    second = files.read()
    assert files.changed
    assert not files.problems
    assert second.certificates[0].fingerprint != first.certificates[0].fingerprint
    tmp_path.rename(tmp_path.with_name("gone"))
    assert files.read() == second  # unknown is not empty
    tmp_path.with_name("gone").rename(tmp_path)
    pem.unlink()
    assert files.read().certificates == ()


def test_ends_are_known_and_warned_of(tmp_path: Path, authority: trustme.CA) -> None:
    chain, key = parts(authority, "a.example", days=20)
    (tmp_path / "a.pem").write_bytes(chain + key)
    files = CertificateFiles([str(tmp_path)])
    (found,) = files.read().certificates
    assert files.problems == ()
    files.read(found.not_after - 13 * DAY)
    assert "the certificate expires on " in first_problem(files)
    files.read(found.not_after + 1)
    assert "has expired on " in first_problem(files)
    files.read(found.not_before - DAY)
    assert "not valid before " in first_problem(files)
    assert (
        len(files.current.certificates) == 1
    )  # it is served all the same: clients say so more clearly than a refusal would


def test_of_two_with_one_name_the_later_end_serves(tmp_path: Path, authority: trustme.CA) -> None:
    for name, days in (("a-old", 10), ("b-new", 90), ("c-mid", 40)):
        chain, key = parts(authority, "a.example", days)
        (tmp_path / f"{name}.pem").write_bytes(chain + key)
    index = CertificateIndex(CertificateFiles([str(tmp_path)]).read(), TerminationSettings())
    served = index.choose("a.example")
    assert served is not None
    assert served.certificate.name == "b-new"
    assert index.choose("b.example") is None


def test_the_last_good_authorities_of_clients_are_kept(
    tmp_path: Path, authority: trustme.CA
) -> None:
    path = tmp_path / "ca.pem"
    files = CertificateFiles([], str(path))
    assert files.read().client_ca == b""
    assert "cannot be read" in first_problem(files)
    path.write_bytes(authority.cert_pem.bytes())
    assert files.read().client_ca == authority.cert_pem.bytes()
    os.utime(path, (1, 1))
    path.write_text("rubbish")
    assert files.read().client_ca == authority.cert_pem.bytes()
    assert "authorities as PEM" in first_problem(files)


def test_a_directory_of_everything_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshlib_adapters.tls.certificate_files._MAX_ENTRIES", 5)
    for number in range(8):
        (tmp_path / f"{number}").touch()
    files = CertificateFiles([str(tmp_path)])
    files.read()
    assert (
        first_problem(files)
        == "there are more than 5 files in it; name a directory of certificates alone"
    )
