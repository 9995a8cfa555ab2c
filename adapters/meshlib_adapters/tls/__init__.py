"""TLS that ends here: certificates, a transport that can begin with bytes read before, and HTTP inside.

`CertificateFiles` reads certificates, `Terminator` serves them; a `TLSListener` of `meshlib_adapters.tcp` is given the terminator.
"""

from meshlib_adapters.tls.certificates import Certificate, CertificateError
from meshlib_adapters.tls.contexts import TerminationSettings
from meshlib_adapters.tls.files import CertificateFiles, CertificateSet, Problem
from meshlib_adapters.tls.terminator import Terminator, available_protocols
from meshlib_adapters.tls.ticket_keys import sharing_trouble
from meshlib_adapters.tls.transport import TLSTransport

__all__ = [
    "Certificate",
    "CertificateError",
    "CertificateFiles",
    "CertificateSet",
    "Problem",
    "TLSTransport",
    "TerminationSettings",
    "Terminator",
    "available_protocols",
    "sharing_trouble",
]
