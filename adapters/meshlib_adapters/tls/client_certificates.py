"""Field lines for upstreams about a client's certificate, verified ones only.

    Client-Cert: :BASE64:                     the certificate (RFC 9440 2.2)
    X-Client-Cert-Subject, X-Client-Cert-Issuer    names as in RFC 4514
    X-Client-Cert-Serial, X-Client-Cert-Fingerprint   hexadecimal; SHA-256 of the certificate

Text is UTF-8 in which everything but printable ASCII, and "%", is written %XX: nothing in a name
can end a field or begin another.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from cryptography import x509

__all__ = ["client_fields", "is_client_field", "without_client_fields"]

_ODD: Final = re.compile(rb"[^ !-$&-~]")
_OWN_NAME: Final = re.compile(rb"(?i)(?:x[-_])?client[-_]cert[-_a-z0-9]*")
_OWN_LINE: Final = re.compile(_OWN_NAME.pattern + rb"[ \t]*:")


def client_fields(der: bytes | None) -> bytes:
    """The field lines, each ended by CRLF, for a verified certificate; b"" for none."""
    if not der:
        return b""
    lines = [b"Client-Cert: :%s:" % base64.b64encode(der)]
    try:
        certificate = x509.load_der_x509_certificate(der)
        texts = (
            ("Subject", certificate.subject.rfc4514_string()),
            ("Issuer", certificate.issuer.rfc4514_string()),
        )
        lines += [b"X-Client-Cert-%s: %s" % (name.encode(), _escaped(text)) for name, text in texts]
        lines.append(b"X-Client-Cert-Serial: %x" % certificate.serial_number)
    # OpenSSL has verified it and is less strict about the form of names; the reliable part is sent
    except ValueError:
        del lines[1:]
    lines += [b"X-Client-Cert-Fingerprint: " + hashlib.sha256(der).hexdigest().encode(), b""]
    return b"\r\n".join(lines)


def is_client_field(name: bytes) -> bool:
    """Whether a field of this name says who the client is."""
    return _OWN_NAME.fullmatch(name) is not None


def without_client_fields(lines: bytes) -> bytes:
    """Field lines without those of these names, whoever sent them."""
    return b"".join(line for line in lines.splitlines(keepends=True) if not _OWN_LINE.match(line))


def _escaped(text: str) -> bytes:
    return _ODD.sub(lambda match: b"%%%02X" % match[0][0], text.encode())
