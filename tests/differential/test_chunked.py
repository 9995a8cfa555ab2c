"""Chunked bodies, made and mutated: what we hand on, as payload or to be relayed, is what the
others read.
"""

from __future__ import annotations

import re
from random import Random

import pytest

from meshlib.errors import ProtocolError
from meshlib.http1 import ChunkedReader
from tests.differential.compare import STREAMS, TIMEOUT, Census
from tests.differential.grammar import body, chunked_body, mutated, split
from tests.differential.readers import (
    Fields,
    Reading,
    by_h11,
    by_h11_response,
    by_httptools,
    by_httptools_response,
)

pytestmark = TIMEOUT

_REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_RESPONSE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# The head announces every name that the grammar makes; so what is dropped is what may never come as
# a trailer.
_ANNOUNCED = frozenset(
    {
        b"x-sum",
        b"x-a",
        b"x-b",
        b"x",
        b"x_y",
        b"x-forwarded-for",
        b"content-length",
        b"transfer-encoding",
        b"host",
    }
)
_DROPPED = {b"content-length", b"transfer-encoding", b"host"}
_LAST = b"0\r\n\r\n"


def read(
    pieces: list[bytes], *, response: bool, relay: bool
) -> tuple[bytes, ChunkedReader | None, bytes, str]:
    """What comes out, the reader unless it refused, what is behind the body, and why it refused."""
    reader = ChunkedReader(response=response, relay=relay, announced=_ANNOUNCED)
    out: list[bytes] = []
    rest: list[bytes] = []
    for piece in pieces:
        if reader.done:
            rest.append(piece)
            continue
        try:
            out += reader.receive_data(piece)
            rest.append(piece[reader.position :])
        except ProtocolError as error:
            return b"".join(out), None, b"", error.reason
    return b"".join(out), reader, b"".join(rest), ""


@pytest.mark.parametrize("response", [False, True], ids=["request", "response"])
def test_chunked_bodies_read_as_others_read_them(response: bool) -> None:
    census = Census()
    for seed in range(STREAMS // 8):
        random = Random(f"chunked {response} {seed}")
        data = chunked_body(random, body(random)) + random.choice(
            (b"", b"", b"GET /next HTTP/1.1\r\n")
        )
        for _ in range(random.choice((0, 0, 1, 2))):
            data = mutated(random, data)
        _compare(random, data, response, census)
    assert census["accepted"] > STREAMS // 32 < census["refused"] * 2, census
    assert len([key for key in census if key.startswith("refused: ")]) > 3, census


def _compare(random: Random, data: bytes, response: bool, census: Census) -> None:
    payload, reader, rest, refused = read([data], response=response, relay=False)
    pieces = split(random, data)
    cut_payload, cut_reader, cut_rest, cut_refused = read(pieces, response=response, relay=False)
    relayed, relaying, relay_rest, relay_refused = read(pieces, response=response, relay=True)
    assert refused == cut_refused == relay_refused, data
    us = Reading(refused=refused)
    others = _others(data, response, -1)
    if reader is None or not reader.done:
        census.refused(us, others)
        return
    assert cut_reader is not None
    assert relaying is not None
    assert (cut_payload, cut_rest, cut_reader.trailers) == (payload, rest, reader.trailers), data
    assert (relaying.done, relay_rest, relaying.trailers) == (True, rest, reader.trailers), data
    end = len(data) - len(rest)
    head = _RESPONSE if response else _REQUEST
    us = Reading(_others(_LAST, response, len(_LAST))["h11"].heads, payload, len(head) + end)
    others = _others(data, response, end)
    census.accepted(us, others, head + data[:end])
    _relayed_is_plain(relayed, response, us, reader.trailers)
    if not others["h11"].refused:
        assert _lines(reader.trailers) == tuple(
            [line for line in others["h11"].trailers if not _is_dropped(line[0].lower())]
        ), data


def _relayed_is_plain(relayed: bytes, response: bool, us: Reading, trailers: bytes) -> None:
    """What goes on is read by both without a single known difference: no extension, no odd trailer,
    nothing behind.
    """
    head = _RESPONSE if response else _REQUEST
    for name, them in _others(relayed, response, len(relayed)).items():
        assert (them.refused, them.body, them.end) == ("", us.body, len(head) + len(relayed)), (
            name,
            relayed,
            them,
        )
    assert b";" not in relayed or b";" in us.body + trailers, relayed


def _others(data: bytes, response: bool, end: int) -> dict[str, Reading]:
    head = _RESPONSE if response else _REQUEST
    whole = len(head) + end if end >= 0 else -1
    if response:
        return {
            "h11": by_h11_response([head + data], b"GET"),
            "httptools": by_httptools_response(head + data, whole),
        }
    return {"h11": by_h11([head + data]), "httptools": by_httptools(head + data, whole)}


def _is_dropped(name: bytes) -> bool:
    return (
        name not in _ANNOUNCED
        or name in _DROPPED
        or name.startswith(b"x-forwarded")
        or re.fullmatch(rb"[a-z0-9-]+", name) is None
    )


def _lines(block: bytes) -> Fields:
    return tuple(
        [
            (line.partition(b":")[0], line.partition(b":")[2].strip(b" \t"))
            for line in block.split(b"\r\n")[:-1]
        ]
    )
