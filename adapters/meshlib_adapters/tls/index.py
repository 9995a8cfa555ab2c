"""Which certificate for which server name: exact, then wildcard, then the default; each with its context."""

from __future__ import annotations

import logging
import ssl
from typing import NamedTuple

from meshlib_adapters.tls.certificates import Certificate, CertificateError, covers
from meshlib_adapters.tls.contexts import TerminationSettings, server_context
from meshlib_adapters.tls.files import CertificateSet

__all__ = ["DEFAULT", "CertificateIndex", "Served"]

_log = logging.getLogger("meshlib.tls")

# The certificate of this name serves every server name that no other has.
DEFAULT = "default"


class Served(NamedTuple):
    """A certificate in use."""

    certificate: Certificate
    context: ssl.SSLContext


class CertificateIndex:
    """Made of a `CertificateSet`; never changes. What is as it was in `previous` keeps its context, and with it its clients' sessions.

    Where several certificates have a name, the one that ends last serves it.
    """

    def __init__(self, found: CertificateSet, settings: TerminationSettings, previous: CertificateIndex | None = None) -> None:
        self._client_ca = found.client_ca
        self._settings = settings
        self._served: dict[Certificate, Served] = {}
        self._names: dict[str, Served] = {}
        self._default: Served | None = None
        known = previous._served if previous is not None and previous._alike(self) else {}
        for certificate in sorted(found.certificates, key=lambda c: (-c.not_after, c.name)):
            served = known.get(certificate)
            if served is None:
                try:
                    served = Served(certificate, server_context(certificate, settings, found.client_ca))
                except (CertificateError, ssl.SSLError) as error:
                    _log.error("%s: the certificate is not used: %s", certificate.place, error)
                    continue
            self._served[certificate] = served
            for name in certificate.names:
                self._names.setdefault(name, served)
            if certificate.name == DEFAULT and self._default is None:
                self._default = served
        in_order = sorted(self._served.values(), key=lambda s: s.certificate.name)
        self._nameless = self._default or (in_order[0] if in_order else None)

    def __len__(self) -> int:
        return len(self._served)

    def choose(self, name: str) -> Served | None:
        """The certificate for a server name in normal form; "" (the client named none): the default, else the first by name."""
        if not name:
            return self._nameless
        served = self._names.get(name)
        if served is None:
            _, dot, rest = name.partition(".")
            served = (self._names.get(f"*.{rest}") if dot else None) or self._default
        return served

    def serves(self, served: Served, host: str) -> bool:
        """Whether a connection with this certificate may carry requests for `host`."""
        return covers(served.certificate, host)

    def _alike(self, other: CertificateIndex) -> bool:
        return (self._client_ca, self._settings) == (other._client_ca, other._settings)
