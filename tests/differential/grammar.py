"""A small grammar of HTTP/1 messages, and mutations of them. Everything follows from a number: the
same seed, the same bytes.

Most of what it makes is nearly right, because that is where readers of a message begin to disagree.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

__all__ = ["SEEDS", "body", "chunked_body", "mutated", "request", "response", "split", "stream"]

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "http1"
CRLF: Final = b"\r\n"

_METHODS: Final = (
    b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH", b"M-SEARCH",
    b"X!", b"CONNECT", b"TRACE",
)  # fmt: skip
_TARGETS: Final = (
    b"/", b"/a/b", b"/a%2Fb;c//d/../e?q=a%20b&z=%2F", b"//evil/x", b"/?", b"/a?b?c", b"*",
    b"http://b.example/x?y", b"HTTPS://b:8443", b"http://b?x", b"/\"<>[]{}|\\^`", b"a", b"b:80",
    b"/#f", b"http://u@b/", b"/\xc3\xa9", b"/a b", b"http:///x", b"/%00",
)  # fmt: skip
_HOSTS: Final = (
    b"a",
    b"a",
    b"a.example.com",
    b"A.Example:8080",
    b"[::1]:80",
    b"127.0.0.1",
    b"",
    b"a, b",
    b"a b",
    b"u@a",
    b"a/b",
    b"\xe9",
)
_VERSIONS: Final = (b"HTTP/1.1",) * 12 + (
    b"HTTP/1.0",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/1.2",
    b"HTTP/1.10",
    b"http/1.1",
)
_FIELDS: Final = (
    b"User-Agent: x/1 (y; z)", b"Accept: */*", b"Accept-Encoding: gzip, br",
    b"Cookie: a=b; c=\"d\"", b"X:", b"X: \t v \t ", b"X:v", b"X: a\tb", b"X: \xe9\x80\xff",
    b"!#$%&'*+-.^_`|~9: odd", b"x_y: 1", b"X-Forwarded-For: 6.6.6.6", b"X_Forwarded_For: 6.6.6.6",
    b"Forwarded: for=6.6.6.6", b"X-Real-IP: 6.6.6.6", b"Via: 1.0 x", b"Proxy: http://evil/",
    b"Keep-Alive: timeout=5", b"TE: trailers", b"Trailer: X-Sum", b"Set-Cookie: a=b", b"X-Hop: 1",
    b"Date: now", b"Content-Type: text/plain", b"Range: bytes=0-1", b"X-Long: " + b"v" * 700,
)  # fmt: skip
_CONNECTIONS: Final = (
    b"Connection: keep-alive", b"Connection: close", b"Connection: X-Hop",
    b"connection: x-hop, , CLOSE", b"Connection:", b"Connection: upgrade", b"Upgrade: websocket",
    b"Connection: Upgrade\r\nUpgrade: websocket", b"Connection: content-length",
    b"Connection: host, transfer-encoding", b"Connection: a b", b"Proxy-Connection: keep-alive",
    b"Expect: 100-continue", b"Expect: y",
)  # fmt: skip
# The corner cases of RFC 9112 and of published advisories. %d is the true length.
_ODD_FRAMING: Final = (
    b"Content-Length: +%d", b"Content-Length: -%d", b"Content-Length: 0x%d", b"Content-Length: 0%d",
    b"Content-Length: %d.0", b"Content-Length: %de0", b"Content-Length: %d_0",
    b"Content-Length: \"%d\"", b"Content-Length: %d,", b"Content-Length: %d, 5",
    b"Content-Length: ", b"Content-Length:\t%d ", b"Content-Length: %d\x0b", b"Content-Length : %d",
    b"Content-Length: 9223372036854775808", b"Content-Length: 18446744073709551616",
    b"Content-Length: \xb2", b"Content_Length: %d", b"Content-Length\x00: %d", b": x",
    b"Content-Length: %d\r\nContent-Length: %d", b"Content-Length: %d\r\nContent-Length: 1%d",
    b" Content-Length: %d", b"X: y\r\n Content-Length: %d",
    b"Content-Length: %d\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: %d", b"X: y\nContent-Length: %d",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: \"chunked\"",
    b"Transfer-Encoding: chunked;a=b", b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: CHUNKED ", b"Transfer\xadEncoding: chunked",
    b"X: y\rTransfer-Encoding: chunked", b"TransferEncoding: chunked",
    b"Transfer-Encoding: chunked\x00", b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: , chunked", b"Transfer-Encoding:", b"Host: other", b"Host : a",
    b"host:a\r\nHOST:a",
)  # fmt: skip
_CHUNK_SIZES: Final = (
    b"+%x", b"-%x", b"0x%x", b"%x_", b" %x", b"%x ", b"%x\t", b"", b"g", b"00000%x", b"%x;",
    b"%x;a", b"%x;a=b", b'%x;a="b;c"', b"%x ;a=b", b"%x\t; a = b", b"%x;a\x00", b"%x;a=\xe9",
    b"%x;\r;", b"%x;\n", b"%x;" + b"e" * 600, b"fffffffffffffffff", b"8000000000000000", b"%x;a=,b",
    b"0000000000000000%x", b"%x;;", b"%x;a=b;c", b"%x; a", b"%x;a ",
)  # fmt: skip
_TRAILERS: Final = (
    b"X-Sum: 1\r\n", b"X-A: 1\r\nX-B: 2\r\n", b"Content-Length: 5\r\n", b"Host: evil\r\n",
    b"X-Sum : 1\r\n", b"X-Sum\r\n", b" X: y\r\n", b"X: y\n", b"X-Forwarded-For: 1\r\n",
    b"x_y: 1\r\n", b"X:\r\n", b"X: y\r\n z\r\n", b"Transfer-Encoding: chunked\r\n", b"X: \x00\r\n",
)  # fmt: skip
_STATUSES: Final = (b"200 OK",) * 6 + (
    b"204 No Content", b"304 Not Modified", b"404 Not Found", b"500", b"500 ", b"599 \xe9\t x",
    b"200  OK", b"600 x", b"999 x", b"099 x", b"20 x", b"2000 x", b"200\tOK", b"+20 x",
    b"200 a\x00b", b"0x1", b"000 x",
)  # fmt: skip
_INTERIM: Final = (
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 102 x\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.0 100 x\r\n\r\n",
)  # fmt: skip
_PIECES: Final = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\r\r\n", b"\x00", b" ", b"\t", b":", b",", b";",
    b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b"\x85", b"\xa0", b"\xad", b"0", b"1", b"+", b"-",
    b"_", b"\r\n ", b"\r\n\t", b"\n ", b"HTTP/1.1", b"chunked", b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", b"Host: b\r\n", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"\r\n\rX", b"=", b'"', b"#",
)  # fmt: skip


def _seeds() -> tuple[bytes, ...]:
    texts = [
        item[1]
        for name in ("accepted", "refused")
        for item in json.loads((VECTORS / f"{name}-requests.json").read_text("utf-8"))
    ]
    return tuple([text.encode("latin-1") for text in texts])


# Heads that unit tests read too.
SEEDS: Final = _seeds()


def body(random: Random) -> bytes:
    """A payload; some look like a request, for that is what smuggling puts there."""
    kind = random.randrange(6)
    if kind == 0:
        return b""
    if kind == 1:
        return b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n"
    if kind == 2:
        return b"0\r\n\r\n"
    return random.randbytes(random.choice((1, 2, 5, 10, 16, 17, 300)))


def chunked_body(random: Random, payload: bytes) -> bytes:
    """`payload` in chunks, now and then with something odd about one of them."""
    out = []
    odd = random.random() < 0.4
    while payload:
        size = random.randint(1, len(payload))
        data, payload = payload[:size], payload[size:]
        line = b"%x" % size if random.random() < 0.8 else b"%X" % size
        if odd and random.random() < 0.5:
            line = _number(random.choice(_CHUNK_SIZES), size)
        end = (
            random.choice((b"", b"\n", b"\r", b"x\r\n", b"\r\r\n", b"xx"))
            if odd and random.random() < 0.15
            else CRLF
        )
        out += [line, CRLF, data, end]
    last = _number(random.choice(_CHUNK_SIZES), 0) if odd and random.random() < 0.3 else b"0"
    trailers = random.choice(_TRAILERS) if random.random() < 0.25 else b""
    return b"".join([*out, last, CRLF, trailers, CRLF])


def request(random: Random) -> bytes:
    """One request with its body, before any mutation."""
    kind = random.random()
    if kind < 0.06:
        return random.choice(SEEDS) + (b"hello" if random.random() < 0.5 else b"")
    odd = kind < 0.45  # the others have nothing odd in the start line
    method = random.choice(_METHODS if odd else _METHODS[:8])
    target = random.choice(_TARGETS if odd else _TARGETS[:6])
    version = random.choice(_VERSIONS if odd else _VERSIONS[:14])
    lines = (
        [b"Host: " + random.choice(_HOSTS if odd else _HOSTS[:6])] if random.random() < 0.97 else []
    )
    lines += _some_fields(random)
    payload = body(random) if method not in (b"GET", b"HEAD") or random.random() < 0.15 else b""
    lines, wire = _framing(random, lines, payload, 0.1)
    blank = b"" if random.random() < 0.96 else random.choice((CRLF, CRLF + CRLF, b"\n"))
    return blank + CRLF.join([b" ".join((method, target, version)), *lines, b"", b""]) + wire


def response(random: Random) -> bytes:
    """One response with its interim ones and its body, before any mutation."""
    odd = random.random() < 0.2
    interim = (
        random.choice(_INTERIM if odd else _INTERIM[:2]) * random.choice((1, 1, 2))
        if random.random() < 0.15
        else b""
    )
    status = random.choice(_STATUSES if odd else _STATUSES[:9])
    version = random.choice(_VERSIONS if odd else _VERSIONS[:14])
    if random.random() < 0.04:
        status = b"101 Switching Protocols"
    lines = _some_fields(random)
    if random.random() < 0.15:  # its end is the end of the connection
        return interim + CRLF.join([version + b" " + status, *lines, b"", b""]) + body(random)
    lines, wire = _framing(random, lines, body(random), 0.15)
    surplus = b"" if random.random() < 0.9 else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    return interim + CRLF.join([version + b" " + status, *lines, b"", b""]) + wire + surplus


def stream(random: Random, make: Callable[[Random], bytes]) -> bytes:
    """Up to four messages one behind the other; half of the streams are mutated in up to three
    places.
    """
    data = b"".join([make(random) for _ in range(random.choice((1, 1, 2, 3, 4)))])
    for _ in range(random.choice((0, 0, 0, 1, 1, 2, 3))):
        data = mutated(random, data)
    return data


def mutated(random: Random, data: bytes) -> bytes:
    """`data` with one change, mostly at a place that means something: an end of line, a colon, a
    space.
    """
    kind = random.randrange(9)
    marks = [i for i, byte in enumerate(data) if byte in b"\r\n: ;,"] if kind < 5 else []
    at = random.choice(marks) if marks else random.randrange(len(data) + 1)
    piece = random.choice(_PIECES)
    if kind in (0, 5):
        return data[:at] + piece + data[at:]
    if kind in (1, 6):
        return data[:at] + piece + data[at + 1 :]
    if kind in (2, 7):
        return data[:at] + data[at + random.choice((1, 1, 2, 4)) :]
    if kind == 3:  # a line twice, or gone, or somewhere else
        lines = data.split(CRLF)
        line = (
            lines.pop(random.randrange(len(lines)))
            if random.random() < 0.5 and len(lines) > 1
            else random.choice(lines)
        )
        lines.insert(random.randint(0, len(lines)), line)
        return CRLF.join(lines)
    if kind == 4:
        end = at + random.randint(1, 12)
        return data[:at] + data[at:end].swapcase() + data[end:]
    return data[:at]  # 8: cut off


def split(random: Random, data: bytes) -> list[bytes]:
    """`data` in pieces, as reads from a socket may be; none is empty."""
    if random.random() < 0.1:
        return [data[i : i + 1] for i in range(len(data))]
    points = (
        sorted({random.randrange(1, len(data)) for _ in range(random.randint(1, 6))})
        if len(data) > 1
        else []
    )
    return [
        data[begin:end]
        for begin, end in zip([0, *points], [*points, len(data)], strict=True)
        if begin < end
    ]


def _number(form: bytes, number: int) -> bytes:
    return form.replace(b"%x", b"%x" % number).replace(b"%d", b"%d" % number)


def _some_fields(random: Random) -> list[bytes]:
    lines = random.choices(_FIELDS, k=random.choice((0, 0, 1, 2, 5)))
    if random.random() < 0.2:
        lines.append(random.choice(_CONNECTIONS))
    return lines


def _framing(
    random: Random, lines: list[bytes], payload: bytes, odd: float
) -> tuple[list[bytes], bytes]:
    """The fields with those that say where the body ends put somewhere among them, and the body."""
    kind = random.random()
    if kind < odd:
        line = _number(random.choice(_ODD_FRAMING), len(payload))
        wire = (
            chunked_body(random, payload)
            if b"ransfer" in line and random.random() < 0.7
            else payload
        )
    elif not payload and kind < 0.6:
        return lines, b""
    elif kind < 0.55:
        line, wire = b"Content-Length: %d" % len(payload), payload
    else:
        line, wire = (
            random.choice((b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked")),
            chunked_body(random, payload),
        )
    at = random.randint(0, len(lines))
    return [*lines[:at], line, *lines[at:]], wire
