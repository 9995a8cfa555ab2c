"""Certificate with its key: read from PEM or PKCS#12, checked, and kept as plain bytes that can go
to another process.

Every mistake is a `CertificateError` with the cure. Neither the key nor a password is ever part of
a message or a `repr`. This module reads no files.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from cryptography.x509.oid import NameOID

from meshlib.authority import normalize_host
from meshlib.errors import AuthorityError

__all__ = ["Certificate", "CertificateError", "covers", "parse_pem", "parse_pkcs12"]

_Chain: TypeAlias = list[x509.Certificate]
_KEY_BLOCK: Final = re.compile(
    rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL
)


class CertificateError(Exception):
    """A fault of a certificate or its key, and `hint`, the cure."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain and its key, checked to belong together.

    `name` is that of its files, `place` the file for messages. `names` are the hosts in it
    ("shop.example.com", "*.example.com"), `addresses` the IP addresses, in normal form.
    `not_before` and `not_after` are seconds since 1970, `fingerprint` is the SHA-256 of the
    certificate in hexadecimal. `algorithm` is that of the key ("RSA", "EC", ...). `chain` and `key`
    are PEM; the key is not encrypted and never shown.
    """

    name: str
    place: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    not_before: float
    not_after: float
    fingerprint: str
    algorithm: str
    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)


def covers(certificate: Certificate, host: str) -> bool:
    """Return whether a client accepts the certificate for `host` (normal form): a wildcard stands
    for one label (RFC 6125 6.4.3).
    """
    if host in certificate.names or host in certificate.addresses:
        return True
    _, dot, rest = host.partition(".")
    return bool(dot) and f"*.{rest}" in certificate.names


def parse_pem(
    name: str, place: str, chain: bytes, key: bytes | None, password: bytes | None = None
) -> Certificate:
    """Parse the certificate in `chain` (the server's first, then the intermediates) with `key`, or
    with the key inside `chain`.
    """
    block = _KEY_BLOCK.search(key if key is not None else chain)
    if block is None:
        if key is None and b"-----BEGIN CERTIFICATE-----" not in chain:
            raise CertificateError(
                "there is no certificate in it, and no private key",
                "write PEM: -----BEGIN CERTIFICATE-----",
            )
        where = "its .key file" if key is not None else "it"
        raise CertificateError(
            f"there is no private key in {where}",
            "put it into a file of the same name that ends in .key",
        )
    certificates = _parse_chain(chain)
    try:
        private = load_pem_private_key(block[0], password)
    except TypeError:
        raise _password(password) from None
    except (ValueError, UnsupportedAlgorithm):
        if password is not None:
            raise CertificateError(
                "the private key cannot be read with the password",
                "correct the .pass file or the key",
            ) from None
        raise CertificateError(
            "the private key is damaged or of an unknown kind", "export it again as PEM"
        ) from None
    return _checked(name, place, certificates, private)


def parse_pkcs12(name: str, place: str, data: bytes, password: bytes | None) -> Certificate:
    """Parse the certificate, chain and key in a PKCS#12 file."""
    try:
        store = load_pkcs12(data, password)
    except (ValueError, UnsupportedAlgorithm):
        cure = (
            "correct the .pass file"
            if password is not None
            else "put its password into a file of the same name that ends in .pass"
        )
        raise CertificateError(
            "this is no PKCS#12 file, or its password is another", cure
        ) from None
    if store.key is None or store.cert is None:
        missing = "private key" if store.key is None else "certificate that belongs to its key"
        raise CertificateError(
            f"there is no {missing} in it", "export certificate and key together"
        )
    return _checked(
        name,
        place,
        _ordered([store.cert.certificate, *(item.certificate for item in store.additional_certs)]),
        store.key,
    )


def _parse_chain(data: bytes) -> _Chain:
    try:
        return x509.load_pem_x509_certificates(data)
    except (ValueError, binascii.Error):
        raise CertificateError(
            "there is no certificate in it that can be read",
            "write PEM: -----BEGIN CERTIFICATE-----",
        ) from None


def _ordered(certificates: _Chain) -> _Chain:
    # PKCS#12 keeps no order among the intermediates; TLS 1.2 wants each to be followed by its
    # issuer.
    chain, left = certificates[:1], certificates[1:]
    while left:
        issuer = next((c for c in left if c.subject == chain[-1].issuer), None)
        if issuer is None:
            break
        chain.append(issuer)
        left.remove(issuer)
    return chain


def _password(password: bytes | None) -> CertificateError:
    if password is None:
        return CertificateError(
            "the private key is encrypted",
            "put its password into a file of the same name that ends in .pass",
        )
    return CertificateError(
        "there is a password, but the private key is not encrypted", "remove the .pass file"
    )


def _checked(name: str, place: str, chain: _Chain, key: PrivateKeyTypes) -> Certificate:
    leaf = chain[0]
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    own = key.public_key().public_bytes(*spki)
    if leaf.public_key().public_bytes(*spki) != own:
        if any(other.public_key().public_bytes(*spki) == own for other in chain[1:]):
            raise CertificateError(
                "the key belongs to another certificate than the first",
                "put the server's own certificate first",
            )
        raise CertificateError(
            "certificate and private key do not belong together",
            "replace the one that is out of date",
        )
    names, addresses = _names_of(leaf)
    return Certificate(
        name,
        place,
        names,
        addresses,
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        leaf.fingerprint(hashes.SHA256()).hex(),
        "EC"
        if isinstance(key, EllipticCurvePrivateKey)
        else "RSA"
        if isinstance(key, RSAPrivateKey)
        else type(key).__name__,
        b"".join(item.public_bytes(Encoding.PEM) for item in chain),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _names_of(leaf: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = [
            str(item.value) for item in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ]
        return _hosts(common), ()
    except ValueError:
        raise CertificateError(
            "its names (subjectAltName) cannot be read", "have it issued again"
        ) from None
    return _hosts(extension.get_values_for_type(x509.DNSName)), tuple(
        map(str, extension.get_values_for_type(x509.IPAddress))
    )


def _hosts(texts: list[str]) -> tuple[str, ...]:
    found = []
    for text in texts:
        wild = text.startswith("*.")
        try:
            host = normalize_host(text[2:] if wild else text)
        except AuthorityError:  # such a name fits no host that a client could request
            continue
        found.append(f"*.{host}" if wild else host)
    return tuple(dict.fromkeys(found))
