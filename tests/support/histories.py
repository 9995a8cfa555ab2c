"""Histories of requests and responses that repeat each other's lines, and a gateway with two
clients that is asked them without a socket.
"""

from __future__ import annotations

import asyncio
import re

from hypothesis import strategies as st

from meshlib.client_claims import ForwardingPolicy
from meshlib_adapters.fast_paths import ALL, FastPaths
from tests.support.networks import parse_networks
from tests.support.wires import Place, Wire

__all__ = ["HISTORIES", "POLICIES", "RESPONSES", "WEBSOCKET", "Site", "exchanges", "wire_of"]

POLICIES = [
    ForwardingPolicy(request_id=False),
    ForwardingPolicy(
        request_id=False, trusted_proxies=parse_networks(["127.0.0.0/8"]), rfc7239=True
    ),
]
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
BLOCKS = [
    b"",
    WEBSOCKET,
    WEBSOCKET + b"Sec-WebSocket-Key: x\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: close\r\n",
    b"Connection: x\r\nX: 1\r\n",
    b"TE: trailers\r\n",
    b"X-Forwarded-For: 192.0.2.1\r\n",
    b"X-Forwarded-Proto: https\r\n",
    b"Via: 1.1 other\r\n",
    b"Via: " + b", ".join([b"1.1 meshlib"] * 8) + b"\r\n",
    b"X_Under: 1\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: nonsense\r\n",
]
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST"])
TARGETS = st.sampled_from([b"/", b"/x?y", b"http://a/z", b"*"])
HOSTS = st.sampled_from(
    [
        b"Host: a\r\n",
        b"Host: a\r\n",
        b"Host: b\r\n",
        b"Host: old\r\n",
        b"Host: A\r\n",
        b"Host:\r\n",
        b"",
    ]
)


def histories(
    blocks: list[bytes],
) -> st.SearchStrategy[list[tuple[int, tuple[bytes, bytes, bytes, bytes, bytes], int]]]:
    """Requests that repeat each other's fields: what is remembered is then asked for again, by
    another version, host or client.
    """
    request = st.tuples(
        METHODS, TARGETS, st.sampled_from([b"0", b"1"]), HOSTS, st.sampled_from(blocks)
    )
    return st.lists(
        st.tuples(st.integers(0, 1), request, st.sampled_from([0, 0, 0, 7, 40])),
        min_size=2,
        max_size=8,
    )


HISTORIES = st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=2).flatmap(histories)


def wire_of(request: tuple[bytes, bytes, bytes, bytes, bytes]) -> bytes:
    method, target, version, host, block = request
    end = b"0\r\n\r\n" if b"chunked" in block else b""
    return b"%s %s HTTP/1.%s\r\n%s%s\r\n%s" % (method, target, version, host, block, end)


class Site:
    """A gateway with two clients."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        policy: ForwardingPolicy,
        fast_paths: FastPaths = ALL,
    ) -> None:
        self.place = Place(loop, policy, fast_paths)
        self.wires = [self.place.wire, Wire()]
        self.clients = [self.place.client, self.place.connected(self.wires[1])]

    def ask(
        self, number: int, request: bytes, cut: int, response: bytes = b""
    ) -> tuple[bytes, bytes, bool]:
        """What the endpoint got, what the client got, and whether it was closed. `response`: the
        endpoint's, else one that fits.
        """
        place, wire, client = self.place, self.wires[number], self.clients[number]
        connection, endpoint = place.endpoint()
        wire.sent.clear()
        for part in (request[:cut], request[cut:]):
            if part and not wire.closed:
                client.data_received(part)
        place.proxy.write_batch.flush()
        got = bytes(endpoint.sent)
        if got:
            if not response:
                switching = b"\r\nUpgrade:" in got
                response = (
                    b"HTTP/1.1 101 Switching Protocols\r\n"
                    b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                    if switching
                    else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
                    + b"ok" * (not got.startswith(b"HEAD"))
                )
            connection.data_received(response)
            place.proxy.write_batch.flush()
        received = re.sub(rb"Date: [^\r]+\r\n", b"", bytes(wire.sent))
        closed = wire.closed
        if closed or b" 101 " in received or client.client.phase:
            client.connection_lost(None)
            self.wires[number] = Wire()
            self.clients[number] = place.connected(self.wires[number])
        for pool in place.proxy.upstreams.states():
            for one in pool.pools():
                one.drop_idle()
        return got, received, closed

    def close(self) -> None:
        self.place.close()


# Heads that begin alike, with bodies that are as long as they say, or not.
STATUSES = st.sampled_from(
    [b"1.1 200 OK", b"1.1 200 OK", b"1.1 404 Gone", b"1.1 204 None", b"1.1 304 Same", b"1.0 200 OK"]
)
LINES = [
    b"Content-Length: 2\r\n",
    b"Content-Length: 2\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 2\r\nConnection: close\r\n",
    b"Content-Length: 2\r\nConnection: x\r\nX: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"",
]
BODIES = st.sampled_from([b"ok", b"ok", b"", b"o", b"ok!", b"2\r\nok\r\n0\r\n\r\n"])
RESPONSES = st.tuples(STATUSES, st.sampled_from(LINES), BODIES).map(
    lambda parts: b"HTTP/%s\r\n%s\r\n%s" % parts
)
ASKED = st.sampled_from(
    [b"GET / HTTP/1.1", b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"GET / HTTP/1.0"]
)


def exchanges(few: list[bytes]) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    return st.lists(st.tuples(ASKED, st.sampled_from(few)), min_size=2, max_size=6)
