"""Settings of TLS that is terminated here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["TerminationSettings"]


@dataclass(frozen=True, slots=True)
class TerminationSettings:
    """How TLS is ended. `alpn` in order of preference; `client_auth` is what is asked of clients:
    nothing, a certificate if they have one, or one in any case."""

    min_version: Literal["1.2", "1.3"] = "1.2"
    alpn: tuple[str, ...] = ("http/1.1",)
    client_auth: Literal["off", "request", "require"] = "off"
