"""The backend for what nginx cannot play: it reads uploads to their end, sends chunked bodies, and
tells what it got.

`python stream_server.py PORT`. GET /chunked: 1 MiB in 16 chunks. POST anything: the number of body
bytes, in decimal. GET /echo: the request head as it came. It trusts its peers: they are proxies
under test that we started.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys
from collections.abc import Coroutine
from typing import Any, cast

__all__ = ["BODY_SIZE", "StreamProtocol", "main"]

BODY_SIZE = 1024 * 1024
_CHUNK = 64 * 1024
_CHUNKED = (
    (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    + (b"%x\r\n" % _CHUNK + b"c" * _CHUNK + b"\r\n") * (BODY_SIZE // _CHUNK)
    + b"0\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)


class StreamProtocol(asyncio.BufferedProtocol):
    """One connection from a proxy. Body bytes are counted in the receive buffer and never
    copied.
    """

    def __init__(self) -> None:
        self._space = bytearray(256 * 1024)
        self._view = memoryview(self._space)
        self._head = b""  # a head or a chunk line of which the end is missing
        self._body = False
        self._chunked = False
        self._left = 0  # bytes of the body (or of the chunk and its CRLF) still to come
        self._count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, but no subclass

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        start = 0
        while start < nbytes:
            if self._left:
                taken = min(self._left, nbytes - start)
                self._left -= taken
                start += taken
                if not self._left and self._body and not self._chunked:
                    self._respond()
                continue
            block, start = self._line(b"\r\n" if self._body else b"\r\n\r\n", start, nbytes)
            if block is None:
                return
            if self._body:
                self._chunk(block)
            else:
                self._request(block)

    def _line(self, end: bytes, start: int, stop: int) -> tuple[bytes | None, int]:
        """What stands before `end`, and where to go on; None when `end` has not come yet."""
        if not self._head:
            found = self._space.find(end, start, stop)
            if found >= 0:
                return bytes(self._view[start:found]), found + len(end)
        have = len(self._head)
        self._head += bytes(self._view[start:stop])
        found = self._head.find(end)
        if found < 0:
            return None, stop
        block, self._head = self._head[:found], b""
        return block, start + found + len(end) - have

    def _request(self, head: bytes) -> None:
        length = _LENGTH.search(head)
        self._count = 0
        if _CODING.search(head):
            self._body = self._chunked = True
        elif length and int(length[1]):
            self._body, self._chunked = True, False
            self._left = self._count = int(length[1])
        elif head.startswith(b"GET /echo"):
            self._send(head)
        else:
            self._transport.write(_CHUNKED)

    def _chunk(self, line: bytes) -> None:
        size = int(line.partition(b";")[0] or b"-1", 16)
        if size == -1:  # the empty line after the last chunk
            self._respond()
        elif size:
            self._count += size
            self._left = size + 2

    def _respond(self) -> None:
        self._body = False
        self._send(b"%d\n" % self._count)

    def _send(self, body: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(StreamProtocol, "127.0.0.1", port, backlog=4096)
    gc.freeze()
    await server.serve_forever()


def _run(main_task: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main_task)
    else:
        uvloop.run(main_task)


def main() -> None:
    """Serve until a signal comes."""
    _run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
