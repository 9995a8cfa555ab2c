"""Inspection of a ClientHello as text, for `meshlib inspect-hello`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from meshlib_adapters.observe.logs import escape_control

__all__ = ["render_inspection"]

_PROTOCOLS = {
    "http": "HTTP without TLS",
    "http2": "HTTP/2 without TLS",
    "ssh": "SSH",
    "proxy_v1": "a PROXY protocol header, version 1",
    "proxy_v2": "a PROXY protocol header, version 2",
    "postgres": "a PostgreSQL client that asks for encryption first",
    "sslv2": "a hello of SSL 2.0",
    "unknown": "an unknown protocol",
}


def render_inspection(data: Mapping[str, Any]) -> RenderableType:
    """The data of `meshlib_adapters.hello.inspection` as text."""
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
                _line("alert", f"{alert['name']} ({alert['number']})"),
            )
        case "not_tls":
            return Group(
                Text("not TLS", style="bold red"), _line("what", _PROTOCOLS[data["protocol"]])
            )
    return Group(
        Text("incomplete hello", style="bold red"),
        _line("what", f"well formed so far, but {data['bytes']} bytes are not all of it"),
    )


def _render_hello(data: Mapping[str, Any]) -> RenderableType:
    hello = data["hello"]
    name = hello["server_name"]
    odd = "" if hello["server_name_valid"] else "  (not a host name: matches no route)"
    size = f"{data['bytes']} bytes" + (
        f", and {data['trailing_bytes']} after it" if data["trailing_bytes"] else ""
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
