"""Settings of terminated TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from meshlib_adapters.config.declaration import setting
from meshlib_adapters.config.readers import (
    read_bool,
    read_choice,
    read_duration,
    read_names,
    read_text,
)

__all__ = ["TerminationSettings"]


@dataclass(frozen=True, slots=True)
class TerminationSettings:
    """Settings of the section `tls` about certificates.

    `client_auth` is what is asked of clients: nothing, a certificate if they have one, or one in
    any case. `alpn` are the protocols to offer, in order of preference; for HTTP/2, set `http2` and
    leave them alone.
    """

    certificates: tuple[str, ...] = setting(
        (),
        read_names,
        "directories and files of certificates; TLS for their hosts is terminated here",
        key="tls.certificates",
    )
    min_version: Literal["1.2", "1.3"] = setting(
        "1.2",
        read_choice("1.2", "1.3"),
        "oldest TLS version that is accepted",
        key="tls.min_version",
    )
    client_auth: Literal["off", "request", "require"] = setting(
        "off",
        read_choice("off", "request", "require"),
        "client certificates: 'off', 'request' or 'require' them",
        key="tls.client_auth",
    )
    client_ca: str = setting(
        "",
        read_text,
        "PEM file of the authorities of client certificates",
        key="tls.client_ca",
    )
    ticket_secret: str = setting(
        "",
        read_text,
        "file of random bytes, shared by gateways that resume each other's TLS sessions; "
        "default: one per gateway, for its workers",
        key="tls.ticket_secret",
    )
    http2: bool = setting(
        True, read_bool, "offer HTTP/2 if the extra http2 is installed", key="tls.http2"
    )
    check: float = setting(
        5.0, read_duration, "how often certificate files are checked", key="tls.check"
    )
    alpn: tuple[str, ...] = ("http/1.1",)
