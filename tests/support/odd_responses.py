"""Odd responses: the vectors, and whether a client gets one of them whole."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from pathlib import Path
from typing import Any

__all__ = ["ODD", "ask", "is_whole"]

_VECTORS = Path(__file__).parents[1] / "vectors" / "http1" / "odd-responses.json"
ODD: list[dict[str, Any]] = json.loads(_VECTORS.read_text("utf-8"))


def ask(address: tuple[str, int]) -> bytes:
    """All that comes back from there for a GET."""
    with socket.create_connection(address, 15) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        response = b""
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(65536):
                response += data
    return response


def is_whole(response: bytes, status: int) -> bool:
    """Whether it is the response that was meant: "ok", or nothing where there is no body."""
    head, _, body = response.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head, _, body = body.partition(b"\r\n\r\n")
    if not re.match(rb"HTTP/1\.1 %d(?: |\r|\Z)" % status, head):
        return False
    expected = b"" if status in (204, 304) else b"ok"
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        return body == b"2\r\n%s\r\n0\r\n\r\n" % expected
    length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
    return body == expected and (not length or not body or int(length) == len(body))
