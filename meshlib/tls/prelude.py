"""Identification of other protocols than TLS by the first bytes of a connection.

Knows a few bytes of each protocol that is often sent to a TLS port by mistake, and nothing more of
any of them.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshlib.need_data import NEED_DATA, NeedData

__all__ = ["ForeignProtocol", "NotTLS", "identify_prelude"]


class ForeignProtocol(enum.StrEnum):
    """A protocol other than TLS. HTTP2 is the preface of HTTP/2 without TLS."""

    HTTP = "http"
    HTTP2 = "http2"
    SSH = "ssh"
    PROXY_V1 = "proxy_v1"
    PROXY_V2 = "proxy_v2"
    POSTGRES = "postgres"
    SSLV2 = "sslv2"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class NotTLS:
    """The client does not speak TLS; `kind` is the protocol it speaks, as far as known."""

    kind: ForeignProtocol


Verdict: TypeAlias = Literal["tls", NeedData.NEED_DATA] | ForeignProtocol

_LITERALS: Final = (
    (b"SSH-", ForeignProtocol.SSH),  # RFC 4253 4.2
    (b"PROXY TCP", ForeignProtocol.PROXY_V1),
    (b"PROXY UNKNOWN", ForeignProtocol.PROXY_V1),
    (b"\r\n\r\n\x00\r\nQUIT\n", ForeignProtocol.PROXY_V2),
    (b"PRI * HTTP/2.0\r\n", ForeignProtocol.HTTP2),  # RFC 9113 3.4
    (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", ForeignProtocol.POSTGRES),  # SSLRequest
    (
        b"\x00\x00\x00\x08\x04\xd2\x16\x30",
        ForeignProtocol.POSTGRES,
    ),  # GSSENCRequest, sent first by libpq with Kerberos
)

# A method and the start of a target. The longest registered method has 17 letters
# (UPDATEREDIRECTREF, RFC 4437).
_HTTP = re.compile(rb"[A-Z][A-Z-]{0,19} [/*!-~]")
_HTTP_BEGUN = re.compile(rb"[A-Z](?:[A-Z-]{0,19} ?)?")

# Types of TLS records (RFC 8446 5.1, RFC 6520). Only a handshake may be first; the sniffer refuses
# the others with an alert.
_RECORD_TYPES: Final = frozenset((20, 21, 22, 23, 24))


def identify_prelude(data: bytes) -> Verdict:
    """Identify the protocol that `data`, the first bytes of a connection (at least one), begins:
    "tls", another one, or `NEED_DATA`.

    Decides on the first unambiguous byte, at the latest after 22 bytes.
    """
    first = data[0]
    if first in _RECORD_TYPES:
        if len(data) < 2:
            return NEED_DATA
        return "tls" if data[1] == 3 else ForeignProtocol.UNKNOWN
    if first & 0x80:
        return _sslv2(data)
    begun = False
    for literal, kind in _LITERALS:
        if data.startswith(literal):
            return kind
        begun = begun or literal.startswith(data)
    if begun:
        return NEED_DATA
    if _HTTP.match(data):
        return ForeignProtocol.HTTP
    return NEED_DATA if _HTTP_BEGUN.fullmatch(data) else ForeignProtocol.UNKNOWN


def _sslv2(data: bytes) -> Verdict:
    # RFC 5246 E.2: two bytes of length with the top bit set, message type 1, then a version: 0x0002
    # or 0x03xx.
    if len(data) >= 3 and data[2] != 1:
        return ForeignProtocol.UNKNOWN
    if len(data) >= 4 and data[3] not in (0, 3):
        return ForeignProtocol.UNKNOWN
    return ForeignProtocol.SSLV2 if len(data) >= 4 else NEED_DATA
