"""Heads that repeat the last one are what parsing them would give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.client_claims import ForwardingPolicy
from meshlib.errors import ProtocolError, RequestHeadError
from meshlib.http1 import KnownLines, parse_request_head
from meshlib_adapters.http1.repeated_head import RepeatedHead
from meshlib_adapters.proxy.request_cache import RequestCache

FIELDS = b"Host: a\r\nX: 1\r\n"
HEAD = b"GET / HTTP/1.1\r\n" + FIELDS + b"\r\n"


def repeated(*, limit: int = 1000, remember: bool = True) -> RepeatedHead:
    cache = RequestCache(ForwardingPolicy(), 100, KnownLines())
    return RepeatedHead(cache, limit, remember=remember)


def test_the_first_head_is_no_repetition() -> None:
    assert repeated().match(HEAD) is None


def test_the_same_fields_behind_another_line() -> None:
    heads = repeated()
    assert heads.parse(HEAD) == parse_request_head(HEAD)
    again = b"POST /else HTTP/1.0\r\n" + FIELDS + b"\r\n"
    assert heads.match(again) == parse_request_head(again)


@pytest.mark.parametrize(
    "data",
    [
        HEAD[:-1],
        HEAD[:-2] + b"X: 2\r\n\r\n",
        HEAD + b"x",
        HEAD.replace(b"X: 1", b"X: 2"),
        HEAD[:-2] + b"xy",
        HEAD.replace(b"HTTP/1.1", b"HTTP/2.0"),
        b"GET /" + b"x" * 1000 + b" HTTP/1.1\r\n" + FIELDS + b"\r\n",
        b"",
    ],
)
def test_anything_else_is_to_be_looked_at(data: bytes) -> None:
    heads = repeated()
    heads.parse(HEAD)
    assert heads.match(data) is None


def test_a_wrong_target_of_a_repeated_head_is_an_error() -> None:
    heads = repeated()
    heads.parse(HEAD)
    with pytest.raises(RequestHeadError):
        heads.match(HEAD.replace(b"GET /", b"GET x"))


def test_without_memory_nothing_is_a_repetition() -> None:
    heads = repeated(remember=False)
    assert heads.parse(HEAD) == heads.parse(HEAD) == parse_request_head(HEAD)
    assert heads.match(HEAD) is None


PIECES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"GET /x HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"X: 1\r\n",
        b"\r\n",
        b"Y",
        b": 2\r\n",
    ]
)


@given(st.lists(st.lists(PIECES, max_size=6).map(b"".join), max_size=5))
def test_a_repetition_is_what_parsing_gives(reads: list[bytes]) -> None:
    heads = repeated()
    for data in reads:
        if data.find(b"\r\n\r\n") != len(data) - 4:  # not one whole head
            assert heads.match(data) is None
            continue
        try:
            expected = parse_request_head(data)
        except ProtocolError:
            assert heads.match(data) is None
            continue
        got = heads.match(data)
        assert got is None or got == expected
        assert heads.parse(data) == expected
        assert heads.match(data) == (expected if expected.fields.block else None)
