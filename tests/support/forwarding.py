"""Heads of a few lines, and the lines that are sent on for them."""

from __future__ import annotations

from typing import Any, Final

from meshlib.client_claims import ForwardingPolicy, Peer, added_fields
from meshlib.forwarding import kept_fields, request_fields
from meshlib.http1 import parse_request_head
from meshlib.messages import RequestHead

__all__ = ["BARE", "CLIENT", "PROXY", "head", "named", "sent"]

BARE: Final = ForwardingPolicy(mode="off", via="")
CLIENT: Final = Peer("192.0.2.7", "http", 8080)
PROXY: Final = Peer("10.0.0.9", "http", 8080, trusted=True)


def head(*lines: str, target: str = "/", version: int = 1, host: str | None = "a") -> RequestHead:
    fields = ([f"Host: {host}"] if host is not None else []) + list(lines)
    return parse_request_head(
        f"GET {target} HTTP/1.{version}\r\n".encode()
        + "".join(f"{x}\r\n" for x in fields).encode("latin-1")
        + b"\r\n"
    )


def sent(
    asked: RequestHead, policy: ForwardingPolicy = BARE, peer: Peer = CLIENT, **options: Any
) -> list[str]:
    wire = request_fields(asked, policy, peer, **options)
    parts = kept_fields(asked, policy, peer, **options) + added_fields(
        asked, policy, peer, **options
    )
    assert sorted(parts.split(b"\r\n")) == sorted(
        wire.split(b"\r\n")
    )  # only the order of the lines differs
    assert not wire or wire.endswith(b"\r\n")
    return wire.decode("latin-1").split("\r\n")[:-1]


def named(lines: list[str], prefix: str) -> list[str]:
    return [line for line in lines if line.lower().startswith(prefix.lower())]
