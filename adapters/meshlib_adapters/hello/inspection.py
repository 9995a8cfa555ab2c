"""The first bytes of a client as plain data: each field of its hello by number and name, or what is
wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from meshlib.errors import ClientHelloError
from meshlib.messages import ClientHello
from meshlib.tls import ClientHelloSniffer, NotTLS, ja3, ja3_text, ja4, names

__all__ = ["inspection_data"]


def inspection_data(data: bytes) -> dict[str, Any]:
    """The object documented for `meshlib inspect-hello --json`: what `data`, the first bytes of a
    client, are.
    """
    sniffer = ClientHelloSniffer()
    result: dict[str, Any] = {
        "kind": "incomplete",
        "bytes": 0,
        "trailing_bytes": 0,
        "protocol": None,
        "error": None,
        "hello": None,
    }
    try:
        found = sniffer.receive_data(data)
    except ClientHelloError as error:
        result["kind"] = "malformed"
        result["error"] = {
            "reason": error.reason,
            "message": str(error),
            "position": sniffer.bytes_consumed
            if error.position is None
            else _offset(data, error.position + 4),
            "alert": {"number": error.alert, "name": names.alert_name(error.alert)},
        }
    else:
        if isinstance(found, NotTLS):
            result["kind"], result["protocol"] = "not_tls", str(found.kind)
        elif isinstance(found, ClientHello):
            result["kind"], result["hello"] = "client_hello", _hello_data(found)
            result["trailing_bytes"] = len(data) - sniffer.bytes_consumed
    result["bytes"] = len(data) - result["trailing_bytes"]
    return result


def _offset(data: bytes, position: int) -> int:
    # Where byte `position` of the handshake message stands among the records that carry it.
    start = 0
    while start + 5 <= len(data):
        size = int.from_bytes(data[start + 3 : start + 5], "big")
        if position < size:
            break
        position -= size
        start += 5 + size
    return min(start + 5 + position, len(data))


def _hello_data(hello: ClientHello) -> dict[str, Any]:
    return {
        "server_name": hello.server_name,
        "server_name_valid": hello.server_name_valid,
        "alpn_protocols": [_printable(name) for name in hello.alpn_protocols],
        "legacy_version": _named(names.version_name, [hello.legacy_version])[0],
        "versions": _named(names.version_name, hello.versions),
        "session_id": hello.session_id.hex(),
        "cipher_suites": _named(names.cipher_suite_name, hello.cipher_suites),
        "extensions": _named(names.extension_name, hello.extensions),
        "groups": _named(names.group_name, hello.groups),
        "key_shares": _named(names.group_name, hello.key_shares),
        "point_formats": _named(names.point_format_name, hello.point_formats, digits=2),
        "signature_algorithms": _named(names.signature_algorithm_name, hello.signature_algorithms),
        "ticket": None if hello.ticket is None else hello.ticket.hex(),
        "psk_identities": [identity.hex() for identity in hello.psk_identities],
        "early_data": hello.early_data,
        "ech": hello.ech,
        "grease": hello.grease,
        "post_quantum": hello.post_quantum,
        "ja3": ja3(hello),
        "ja3_text": ja3_text(hello),
        "ja4": ja4(hello),
    }


def _named(
    name: Callable[[int], str], numbers: Iterable[int], *, digits: int = 4
) -> list[dict[str, str]]:
    return [{"number": f"0x{number:0{digits}x}", "name": name(number)} for number in numbers]


def _printable(raw: bytes) -> str:
    return raw.decode("latin-1").encode("unicode_escape").decode("ascii")
