"""What waits of a client's bytes, whole and in pieces, and what is taken out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from meshlib.errors import LimitExceeded, ProtocolError
from meshlib.http1 import parse_request_head
from meshlib.need_data import NeedData
from meshlib_adapters.http1.request_reader import RequestReader
from meshlib_adapters.turns import WORK, Turn

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def turn() -> Iterator[Turn]:
    loop = asyncio.new_event_loop()
    yield Turn(loop)
    loop.close()


def head_of(reader: RequestReader, data: bytes) -> bytes:
    reader.hold(data)
    head = reader.next_head()
    assert not isinstance(head, NeedData)
    return head


def test_a_head_a_body_and_the_next_head_in_one_read(turn: Turn) -> None:
    reader = RequestReader(1000)
    assert head_of(reader, HEAD + b"hello" + NEXT) == HEAD
    body = reader.begin_body(parse_request_head(HEAD).fields)
    assert reader.take_body(body, turn) == b"hello"
    assert body.done
    assert reader.next_head() == NEXT
    assert reader.unread == b""


@pytest.mark.parametrize("size", [1, 2, 7])
def test_byte_by_byte(turn: Turn, size: int) -> None:
    reader = RequestReader(1000)
    data = HEAD + b"hello" + NEXT
    body = None
    got = b""
    heads = []
    for at in range(0, len(data), size):
        reader.hold(data[at : at + size])
        while reader.unread:
            if body is not None and not body.done:
                got += reader.take_body(body, turn)
                continue
            head = reader.next_head()
            if isinstance(head, NeedData):
                break
            heads.append(head)
            if head == HEAD:
                body = reader.begin_body(parse_request_head(head).fields)
    assert (heads, got) == ([HEAD, NEXT], b"hello")


def test_a_begun_head_is_known(turn: Turn) -> None:
    reader = RequestReader(1000)
    assert not reader.begun
    reader.hold(NEXT[:10])
    assert isinstance(reader.next_head(), NeedData)
    assert reader.begun
    assert head_of(reader, NEXT[10:]) == NEXT
    assert not reader.begun


def test_chunks_end_with_the_turn(turn: Turn) -> None:
    reader = RequestReader(1000)
    chunks = b"1\r\nx\r\n" * WORK
    assert head_of(reader, CHUNKED + chunks + b"0\r\n\r\n") == CHUNKED
    body = reader.begin_body(parse_request_head(CHUNKED).fields)
    first = reader.take_body(body, turn)
    assert turn.left <= 0
    assert 0 < len(first) < len(chunks)
    while not body.done:
        turn.cancel()
        first += reader.take_body(body, turn)
    assert first == chunks + b"0\r\n\r\n"


def test_nothing_unread_takes_nothing(turn: Turn) -> None:
    reader = RequestReader(1000)
    body = reader.begin_body(parse_request_head(HEAD).fields)
    assert reader.take_body(body, turn) == b""
    assert not body.done


def test_a_wrong_body_is_an_error(turn: Turn) -> None:
    reader = RequestReader(1000)
    assert head_of(reader, CHUNKED + b"zz\r\n") == CHUNKED
    body = reader.begin_body(parse_request_head(CHUNKED).fields)
    with pytest.raises(ProtocolError):
        reader.take_body(body, turn)


def test_a_head_over_the_limit_is_an_error() -> None:
    reader = RequestReader(20)
    reader.hold(NEXT)
    with pytest.raises(LimitExceeded):
        reader.next_head()


def test_full_at_the_limit_and_not_before() -> None:
    reader = RequestReader(100)
    reader.hold(b"x" * 99)
    assert not reader.full
    reader.hold(b"x")
    assert reader.full
    reader.drop()
    assert not reader.full


def test_the_rest_is_what_nobody_has_looked_at() -> None:
    reader = RequestReader(1000)
    assert head_of(reader, NEXT + b"early") == NEXT
    assert reader.take_rest() == b"early"
    assert reader.take_rest() == b""


def test_renewed_it_knows_nothing_of_the_last_client() -> None:
    reader = RequestReader(1000)
    assert head_of(reader, HEAD + b"he") == HEAD
    reader.begin_body(parse_request_head(HEAD).fields)
    reader.renew()
    assert reader.body is None
    reader.hold(b"\r\nGET /be")
    assert isinstance(reader.next_head(), NeedData)
    reader.renew()
    assert not reader.begun
    assert head_of(reader, b"\r\n" + NEXT) == NEXT
