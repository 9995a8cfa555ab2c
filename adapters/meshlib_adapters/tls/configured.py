"""The watch over the certificates that settings name. Loads the libraries only where some are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib_adapters.config.settings import Settings
from meshlib_adapters.extras import not_installed

if TYPE_CHECKING:
    from meshlib_adapters.tls.certificate_watch import CertificateWatch

__all__ = ["watch_certificates"]


def watch_certificates(settings: Settings) -> CertificateWatch | None:
    """Watch over the certificates that `settings` name; None when they name none. Raises
    `ConfigurationError`.
    """
    if not settings.termination.certificates:
        return None
    try:
        from meshlib_adapters.tls.certificate_watch import CertificateWatch
    except ImportError as error:
        raise not_installed("what reads certificates", error, "tls", "tls.certificates") from None
    return CertificateWatch(settings)
