"""TLS towards endpoints: the context that checks who they are. One for each set of authorities, made when it is first needed."""

from __future__ import annotations

import functools
import ssl
from typing import Final

__all__ = ["verifying_context"]

_PEM: Final = "-----BEGIN "


@functools.lru_cache(maxsize=8)
def verifying_context(authorities: str) -> ssl.SSLContext:
    """A client's context that trusts the authorities in a PEM file, in PEM itself, or the system's (""); TLS 1.2 and later, HTTP/1.1.

    Raises OSError (`ssl.SSLError` is one) for a file, or PEM, that cannot be used.
    """
    if _PEM in authorities:
        context = ssl.create_default_context(cadata=authorities)
    else:
        context = ssl.create_default_context(cafile=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
