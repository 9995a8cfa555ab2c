"""Contexts (`ssl.SSLContext`) for certificates: TLS 1.2 and 1.3, nothing known to be weak, and no
key on any disk.

One context for one certificate (or for several of the same names with keys of different algorithms,
among which OpenSSL chooses what the client can check): it holds the keys of its session tickets, so
a client resumes its session in the process that issued the ticket, and (as long as the certificate
stays) over a reload; elsewhere, where keys are shared (see `tickets`).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from typing import Final

from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.tls.certificates import Certificate, CertificateError

__all__ = ["check_certificate", "server_context"]


_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def server_context(
    certificates: Sequence[Certificate], settings: TerminationSettings, client_ca: bytes = b""
) -> ssl.SSLContext:
    """Create a context that serves `certificates`, whose keys are of different algorithms.

    `client_ca`: PEM of the authorities of clients, needed unless `client_auth` is "off". Raises
    `CertificateError` for a certificate that OpenSSL does not accept.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.options |= (
        ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    context.num_tickets = 1  # the next one comes with its use; OpenSSL would make two
    context.set_alpn_protocols(list(settings.alpn))
    if settings.client_auth != "off":
        if not client_ca:  # never "everybody", because a file was missing
            raise CertificateError(
                "there are no authorities to judge clients by", "name a file of them as client_ca"
            )
        context.verify_mode = (
            ssl.CERT_REQUIRED if settings.client_auth == "require" else ssl.CERT_OPTIONAL
        )
        context.load_verify_locations(cadata=client_ca.decode("ascii", "replace"))
    for certificate in certificates:
        _load(context, certificate)
    return context


def check_certificate(certificate: Certificate) -> None:
    """Raise `CertificateError` when OpenSSL does not accept the certificate, as one with too short
    a key.
    """
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate)


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    # `ssl` reads keys from files only; this one is in memory, and gone when it is closed.
    with os.fdopen(os.memfd_create("meshlib-certificate"), "wb", buffering=0) as file:
        _write(file.fileno(), (certificate.key, certificate.chain))
        try:
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        except ssl.SSLError as error:
            reason = str(error.reason or error).replace("_", " ").lower()
            raise CertificateError(
                f"OpenSSL does not take it: {reason}",
                "have it issued with a larger key or a newer algorithm",
            ) from None


def _write(descriptor: int, parts: Sequence[bytes]) -> None:
    for part in parts:
        left = memoryview(part)
        while left:
            left = left[os.write(descriptor, left) :]
