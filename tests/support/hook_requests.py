"""Requests as hooks see them, without anybody who serves them."""

from __future__ import annotations

from meshlib.client_claims import Peer
from meshlib.hook_values import Request
from meshlib.http1 import parse_request_head
from meshlib.mesh import Mesh

__all__ = ["MESH", "asked"]

MESH = Mesh({"shop.test": ["10.0.0.5:80"], "canary.test": ["10.0.0.6:80"], "empty.test": []})


def asked(
    *lines: str, host: str = "shop.test", address: str = "192.0.2.7", path: str = "/"
) -> Request:
    """A GET with these field lines."""
    text = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "", ""])
    decision = MESH.route("GET", f"http://{host}{path}")
    return Request(
        parse_request_head(text.encode()),
        Peer(address, "http", 80),
        decision,
        decide=lambda head: MESH.route("GET", f"http://{head.authority.decode()}/"),
    )
