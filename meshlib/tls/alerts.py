"""TLS alerts (RFC 8446 6): the numbers we send, and the seven bytes that carry one.

An alert before the handshake is plain text, so a gateway without a key can tell a client the reason
of a refusal.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "DECODE_ERROR",
    "HANDSHAKE_FAILURE",
    "ILLEGAL_PARAMETER",
    "INTERNAL_ERROR",
    "MISSING_EXTENSION",
    "PROTOCOL_VERSION",
    "RECORD_OVERFLOW",
    "UNEXPECTED_MESSAGE",
    "UNRECOGNIZED_NAME",
    "alert_record",
]

UNEXPECTED_MESSAGE: Final = 10
RECORD_OVERFLOW: Final = 22
HANDSHAKE_FAILURE: Final = 40
ILLEGAL_PARAMETER: Final = 47
DECODE_ERROR: Final = 50
PROTOCOL_VERSION: Final = 70
INTERNAL_ERROR: Final = 80
MISSING_EXTENSION: Final = 109
UNRECOGNIZED_NAME: Final = 112


def alert_record(alert: int) -> bytes:
    """Make a whole record with the fatal alert `alert` (0-255; raises ValueError otherwise).

    The record version is 0x0301, which every client takes at this point of the handshake (RFC 8446
    5.1).
    """
    return b"\x15\x03\x01\x00\x02\x02" + bytes((alert,))
