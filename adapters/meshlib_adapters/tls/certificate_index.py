"""Choice of the certificate for a server name: exact, then wildcard, then the default; each with
its context.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from typing import NamedTuple

from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.tls.certificate_files import CertificateSet
from meshlib_adapters.tls.certificates import Certificate, CertificateError, covers
from meshlib_adapters.tls.contexts import server_context
from meshlib_adapters.tls.tickets import set_ticket_keys, ticket_keys

__all__ = ["DEFAULT", "CertificateIndex", "ServedCertificate"]

_log = logging.getLogger("meshlib.tls")

# The certificate of this name serves every server name without one of its own.
DEFAULT = "default"


class ServedCertificate(NamedTuple):
    """A certificate in use, or several of the same names with keys of different algorithms;
    `certificate` is the one that expires last.
    """

    certificate: Certificate
    context: ssl.SSLContext


class CertificateIndex:
    """Index over a `CertificateSet`; never changes. An entry that is equal in `previous` keeps its
    context, and with it its clients' sessions.

    Where several certificates have a name, the one that expires last serves it; others with the
    very same names, and keys of other algorithms, serve it together with that one, each for the
    clients that can check it (RSA for old ones beside ECDSA).
    """

    def __init__(
        self,
        found: CertificateSet,
        settings: TerminationSettings,
        previous: CertificateIndex | None = None,
    ) -> None:
        self._client_ca = found.client_ca
        self._settings = settings
        self._served: dict[tuple[Certificate, ...], ServedCertificate] = {}
        self._names: dict[str, ServedCertificate] = {}
        self._default: ServedCertificate | None = None
        known = previous._served if previous is not None and previous._alike(self) else {}
        for together in _together(found.certificates):
            first = together[0]
            served = known.get(together)
            if served is None:
                try:
                    served = ServedCertificate(
                        first, server_context(together, settings, found.client_ca)
                    )
                except (CertificateError, ssl.SSLError) as error:
                    _log.error(
                        "%s: the certificate is not used: %s",
                        ", ".join(c.place for c in together),
                        error,
                    )
                    continue
            self._served[together] = served
            if found.ticket_secret:
                set_ticket_keys(
                    served.context, ticket_keys(found.ticket_secret, self._rests_on(together))
                )
            for name in first.names:
                self._names.setdefault(name, served)
            if self._default is None and any(c.name == DEFAULT for c in together):
                self._default = served
        in_order = sorted(self._served.values(), key=lambda s: s.certificate.name)
        self._nameless = self._default or (in_order[0] if in_order else None)

    def __len__(self) -> int:
        return sum(map(len, self._served))

    def choose(self, name: str) -> ServedCertificate | None:
        """The certificate for a server name in normal form; "" (the client named none): the
        default, else the first by name.
        """
        if not name:
            return self._nameless
        served = self._names.get(name)
        if served is None:
            _, dot, rest = name.partition(".")
            served = (self._names.get(f"*.{rest}") if dot else None) or self._default
        return served

    def serves(self, served: ServedCertificate, host: str) -> bool:
        """Return whether a connection with this certificate may carry requests for `host`."""
        return covers(served.certificate, host)

    def _rests_on(self, together: tuple[Certificate, ...]) -> list[bytes]:
        # Conditions of a session: a server that serves or requests other certificates must not
        # resume it.
        return [
            repr(self._settings).encode(),
            self._client_ca,
            *(c.fingerprint.encode() for c in together),
        ]

    def _alike(self, other: CertificateIndex) -> bool:
        return (self._client_ca, self._settings) == (other._client_ca, other._settings)


def _together(certificates: Iterable[Certificate]) -> list[tuple[Certificate, ...]]:
    # Of the same names, and with keys of different algorithms; the one that expires last in front,
    # of each and among them.
    groups: list[dict[str, Certificate]] = []
    of_names: dict[tuple[frozenset[str], ...], dict[str, Certificate]] = {}
    for certificate in sorted(certificates, key=lambda c: (-c.not_after, c.name)):
        names = frozenset(certificate.names), frozenset(certificate.addresses)
        group = of_names.get(names)
        if group is None or certificate.algorithm in group:
            group = {}
            groups.append(group)
            of_names.setdefault(names, group)
        group[certificate.algorithm] = certificate
    return [tuple(group.values()) for group in groups]
