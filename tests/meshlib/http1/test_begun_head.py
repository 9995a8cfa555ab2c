"""A head that comes byte by byte is refused with the byte after which nothing could make it right.

The judge reads whole heads: what has come, with every rest that there may be.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError, ResponseHeadError
from meshlib.http1 import HeadBuffer, parse_request_head
from meshlib.http1.begun_head import BegunHead
from meshlib.http1.odd_response import read_response_head

VECTORS = Path(__file__).parents[2] / "vectors" / "http1"
REFUSED = [text for _, text, _, _ in json.loads((VECTORS / "refused-requests.json").read_text())]
ACCEPTED = [text for _, text, _ in json.loads((VECTORS / "accepted-requests.json").read_text())]

LINE = b"a: b\r\n"
UPGRADE = b"Connection: upgrade\r\nUpgrade: a\r\n"
ENDS = [
    LINE[at:] + more + b"\r\n"
    for more in (b"", b"Host: a\r\n", UPGRADE)
    for at in range(len(LINE) + 1)
]
FIRST, STATUS = b"G / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"
REQUESTS = [b"\n", *ENDS, *(FIRST[at:] for at in range(14)), b"\n" + FIRST]
RESPONSES = [b"\n", *ENDS, *(STATUS[at:] for at in range(17))]


def can_become_right(head: bytes, *, response: bool) -> bool:
    for rest in RESPONSES if response else REQUESTS:
        whole = head + rest
        if not response:
            whole = whole.removeprefix(b"\r\n")
        if whole.find(b"\r\n\r\n") + 4 != len(whole):
            continue
        try:
            if response:
                read_response_head(whole, lenient=False)
            else:
                parse_request_head(whole)
        except ProtocolError:
            continue
        return True
    return False


# Judged when their line is complete: a value that its field cannot have, a target or a version; of
# a response every line.
def undecided(head: bytes, *, response: bool) -> bool:
    last = head[head.rfind(b"\n") + 1 :]
    if b"\n" in head:
        return b":" in last or (response and last not in (b"", b"\r"))
    return response or b" " in last


def refused_at(head: bytes, *, response: bool) -> int | None:
    """The number of bytes with which it is refused."""
    buffer = HeadBuffer(4096, response=response)
    for at in range(len(head)):
        try:
            buffer.receive_data(head[at : at + 1])
        except ProtocolError:
            return at + 1
    return None


def judge(head: bytes, *, response: bool) -> None:
    end = head.find(b"\r\n\r\n")
    head = head[: end + 3] if end >= 0 else head  # a whole one is for others
    refused = refused_at(head, response=response)
    if refused is not None:
        assert not can_become_right(head[:refused], response=response), head[:refused]
    for size in range(1, len(head) + 1 if refused is None else refused):
        begun = head[:size]
        assert undecided(begun, response=response) or can_become_right(begun, response=response), (
            begun
        )


@pytest.mark.parametrize("text", [*REFUSED, *ACCEPTED])
def test_heads_that_are_known(text: str) -> None:
    judge(text.encode("latin-1"), response=False)


_BYTES = [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\x00", b"\xff", b"a", b","]
_FIELDS = [
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: x\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: x\r\n",
    b"X: y\r\n",
    b" folded\r\n",
    b"X : y\r\n",
]
_PIECES = st.lists(st.sampled_from([*_FIELDS, *_BYTES]), max_size=5).map(b"".join)
_REQUEST_LINES = [
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"GET /\r\n",
    b"GET",
    b"CONNECT a HTTP/1.1\r\n",
    b"A" * 33,
    b"GET / HTTP/2.0\r\n",
    b"GET / HTTP/1.1\n",
    b"GET  / HTTP/1.1",
]
_STATUS_LINES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200\r\n",
    b"HTTP/1.1 101 x\r\n",
    b"HTTP/1.1 103 \r\n",
    b"HTTP/1.1 200\xff",
    b"HTTP/1.1 200 \x00",
    b"HTTP/1.1 99",
    b"HTTP/1.1 200\r",
    b"HTTP/1.1   200   \r\n",
    b"HTTP/1.7 200 \r\n",
    b"HTTP/2",
    b"",
]


@given(st.sampled_from(_REQUEST_LINES), _PIECES)
@settings(max_examples=60)
def test_requests(line: bytes, pieces: bytes) -> None:
    judge(line + pieces, response=False)


@given(st.sampled_from(_STATUS_LINES), _PIECES)
@settings(max_examples=60)
def test_responses(line: bytes, pieces: bytes) -> None:
    judge(line + pieces, response=True)


def test_what_an_upgrade_lacks_may_still_come_but_nothing_else() -> None:
    begun = BegunHead(9, response=True)
    head = bytearray(b"HTTP/1.1 101 x\r\nX: y\r\n")
    begun.check(head)
    head += b"Content-Length: x\r\n"
    with pytest.raises(ResponseHeadError) as error:
        begun.check(head)
    assert error.value.reason == "bad_content_length"


def test_more_fields_than_there_may_be() -> None:
    begun = BegunHead(1, response=False)
    with pytest.raises(LimitExceeded) as error:
        begun.check(bytearray(b"GET / HTTP/1.1\r\nX: y\r\nX: z\r\n"))
    assert (error.value.reason, error.value.status_hint) == ("too_many_fields", 431)


def test_a_bare_line_feed_behind_a_status_line() -> None:
    with pytest.raises(ResponseHeadError) as error:
        BegunHead(9, response=True).check(bytearray(b"HTTP/1.1 200 OK\n"))
    assert error.value.reason == "bad_field"


@pytest.mark.parametrize("line", [b"HTTX", b"HTTP/1.1 200 OK\r\r", b"HTTP/1.1 200 \x00"])
def test_what_begins_no_status_line(line: bytes) -> None:
    with pytest.raises(ResponseHeadError) as error:
        BegunHead(9, response=True).check(bytearray(line))
    assert error.value.reason == "bad_status_line"


@pytest.mark.parametrize("line", [b"A" * 33, b"GET  ", b"\x00"])
def test_what_begins_no_request_line(line: bytes) -> None:
    with pytest.raises(RequestHeadError) as error:
        BegunHead(9, response=False).check(bytearray(line))
    assert error.value.reason == "bad_request_line"


def test_it_is_shown_with_its_fields() -> None:
    begun = BegunHead(2, response=False)
    begun.check(bytearray(b"GET /"))
    assert repr(begun) == "<BegunHead 0 fields>"
    begun.check(bytearray(b"GET / HTTP/1.1\r\nX: y\r\n"))
    assert repr(begun) == "<BegunHead 1 fields>"
    begun.renew()
    assert repr(begun) == "<BegunHead 0 fields>"
