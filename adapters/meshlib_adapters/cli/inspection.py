"""What `meshlib inspect-hello` shows: the first bytes of a client -> plain data, and that data for
people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from meshlib.errors import ClientHelloError
from meshlib.messages import ClientHello
from meshlib.tls import ClientHelloSniffer, NotTLS, ja3, ja3_text, ja4, names
from meshlib_adapters.observe.logs import escape_control

__all__ = ["inspection_data", "render_inspection"]

_PROTOCOLS = {
    "http": "HTTP without TLS",
    "http2": "HTTP/2 without TLS",
    "ssh": "SSH",
    "proxy_v1": "a PROXY protocol header, version 1",
    "proxy_v2": "a PROXY protocol header, version 2",
    "postgres": "a PostgreSQL client that asks for encryption first",
    "sslv2": "a hello of SSL 2.0",
    "unknown": "nothing that is known here",
}


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


def render_inspection(data: Mapping[str, Any]) -> RenderableType:
    """`inspection_data` for people."""
    match data["kind"]:
        case "client_hello":
            return _render_hello(data)
        case "malformed":
            error = data["error"]
            alert = error["alert"]
            return Group(
                Text("malformed hello", style="bold red"),
                _line("what", error["message"]),
                _line("where", f"byte {error['position']} of {data['bytes']}"),
                _line("reason", error["reason"]),
                _line("answer", f"alert {alert['name']} ({alert['number']})"),
            )
        case "not_tls":
            return Group(
                Text("not TLS", style="bold red"), _line("what", _PROTOCOLS[data["protocol"]])
            )
    return Group(
        Text("incomplete hello", style="bold red"),
        _line("what", f"well formed so far; {data['bytes']} bytes are not the whole of it"),
    )


def _render_hello(data: Mapping[str, Any]) -> RenderableType:
    hello = data["hello"]
    name = hello["server_name"]
    odd = "" if hello["server_name_valid"] else "  (no host name: matches no route)"
    size = f"{data['bytes']} bytes" + (
        f", and {data['trailing_bytes']} behind it" if data["trailing_bytes"] else ""
    )
    lines = [
        Text("TLS ClientHello", style="bold green"),
        _line("size", size),
        _line("server name", "(none)" if name is None else name + odd),
        _line("alpn", ", ".join(hello["alpn_protocols"]) or "(none)"),
        _line("versions", _names(hello["versions"])),
        _line("session", _session(hello)),
        _line("post-quantum", _yes(hello["post_quantum"])),
        _line("ECH", _yes(hello["ech"])),
        _line("GREASE", _yes(hello["grease"])),
        _line("JA3", hello["ja3"]),
        _line("JA4", hello["ja4"]),
    ]
    for title, key in (
        ("cipher suites", "cipher_suites"),
        ("extensions", "extensions"),
        ("groups", "groups"),
        ("key shares", "key_shares"),
        ("signature algorithms", "signature_algorithms"),
        ("point formats", "point_formats"),
    ):
        lines.append(Text(f"{title} ({len(hello[key])})", style="bold"))
        lines += [Text(f"  {item['number']}  {item['name']}") for item in hello[key]]
    return Group(*lines)


def _session(hello: Mapping[str, Any]) -> str:
    parts = [f"id of {len(hello['session_id']) // 2} bytes" if hello["session_id"] else "no id"]
    if hello["ticket"] is not None:
        parts.append(
            f"ticket of {len(hello['ticket']) // 2} bytes" if hello["ticket"] else "takes tickets"
        )
    if hello["psk_identities"]:
        parts.append(
            f"{len(hello['psk_identities'])} pre-shared keys"
            if len(hello["psk_identities"]) > 1
            else "a pre-shared key"
        )
    if hello["early_data"]:
        parts.append("early data")
    return ", ".join(parts)


def _names(items: Iterable[Mapping[str, str]]) -> str:
    return ", ".join(
        item["name"] if item["name"] != "unknown" else item["number"] for item in items
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _line(title: str, value: str) -> Text:
    return Text(f"{title:<13} {escape_control(value)}")
