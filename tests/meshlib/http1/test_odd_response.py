"""Odd heads of responses: what is clear is taken in the strict form, and nothing that decides where
a message ends is guessed.
"""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ProtocolError, ResponseHeadError
from meshlib.http1 import HeadBuffer, parse_response_head
from meshlib.http1.odd_response import read_response_head, strict_head
from tests.support.odd_responses import ODD

LINE = b"HTTP/1.1 200 OK\r\n"


def tidied(head: bytes, *, lenient: bool = False) -> list[bytes]:
    """The lines of the strict head, which the strict parser takes."""
    strict = strict_head(head, lenient=lenient)
    parse_response_head(strict)
    assert strict.endswith(b"\r\n\r\n")
    return strict[:-4].split(b"\r\n")


@pytest.mark.parametrize("case", ODD, ids=[case["title"] for case in ODD])
def test_what_is_taken_and_what_is_not(case: dict[str, Any]) -> None:
    data = case["response"].encode("latin-1")
    for lenient in (False, True):
        taken = case["taken"] == "always" or (case["taken"] == "lenient" and lenient)
        buffer = HeadBuffer(10_000, response=True, lenient=lenient)
        try:
            raw = buffer.receive_data(data)
            # Some have no end without LF alone, and the bodies of others are looked at elsewhere.
            head = read_response_head(raw, lenient=lenient) if isinstance(raw, bytes) else None
        except ProtocolError:
            head = None
        if taken:
            assert head is not None
            assert head.status in (case.get("status", 200), 100)
        else:  # or what is wrong comes behind the head
            assert head is None or has_strict_head(data)


def has_strict_head(data: bytes) -> bool:
    try:
        parse_response_head(data[: data.index(b"\r\n\r\n") + 4])
    except ProtocolError:
        return False
    return True


def test_each_that_others_take_and_we_do_not_has_its_reason() -> None:
    both = [case for case in ODD if case["nginx"] and case["haproxy"]]
    assert len(ODD) > 100
    assert len(both) > 35
    assert [c["title"] for c in both if c["taken"] == "never" and not c.get("why")] == []


@pytest.mark.parametrize(
    ("line", "strict"),
    [
        (b"HTTP/1.1   200   OK", b"HTTP/1.1 200 OK"),
        (b"HTTP/1.0\t404\tNot  found ", b"HTTP/1.0 404 Not  found"),
        (b"HTTP/1.1  204", b"HTTP/1.1 204 "),
        (b"HTTP/1.7 200 O\x01K", b"HTTP/1.1 200 O K"),
    ],
)
def test_status_lines_that_are_always_taken(line: bytes, strict: bytes) -> None:
    assert tidied(line + b"\r\n\r\n") == [strict]


@pytest.mark.parametrize(
    ("line", "strict"),
    [
        (b"http/1.1 200 OK", b"HTTP/1.1 200 OK"),
        (b"HTTP/2.0 200 OK", b"HTTP/1.0 200 OK"),
        (b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O K"),
    ],
)
def test_status_lines_that_are_taken_on_request(line: bytes, strict: bytes) -> None:
    with pytest.raises(ResponseHeadError):
        strict_head(line + b"\r\n\r\n")
    assert tidied(line + b"\r\n\r\n", lenient=True) == [strict]


@pytest.mark.parametrize(
    ("fields", "strict"),
    [
        (b"X: a\r\n b\r\n\t c\r\nY:d\r\n", [b"X: a b c", b"Y: d"]),
        (b"X:\r\n a\r\nY: b\r\n \r\n", [b"X: a", b"Y: b"]),
        (b"X \t: a\r\n", [b"X: a"]),
        (b"X: a\r\nContent-Length: 5\r\ncontent-length: 5, 5\r\n", [b"X: a", b"Content-Length: 5"]),
        (b"Connection: a;b, X-Y\r\nX: y\r\n", [b"X: y", b"Connection: X-Y, close"]),
    ],
)
def test_fields_that_are_always_taken(fields: bytes, strict: list[bytes]) -> None:
    assert tidied(LINE + fields + b"\r\n")[1:] == strict


@pytest.mark.parametrize(
    ("head", "strict"),
    [
        (b"HTTP/1.1 200 OK\nX: a\n b\n\n", [b"HTTP/1.1 200 OK", b"X: a b"]),
        (LINE + b"X: a\x01b\x7f\r\n\r\n", [b"HTTP/1.1 200 OK", b"X: a b"]),
        (LINE + b"no field\r\n: x\r\nX Y: z\r\nX: y\r\n\r\n", [b"HTTP/1.1 200 OK", b"X: y"]),
        (
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Connection: close"],
        ),
    ],
)
def test_heads_that_are_taken_on_request(head: bytes, strict: list[bytes]) -> None:
    with pytest.raises(ResponseHeadError):
        read_response_head(head, lenient=False)
    assert tidied(head, lenient=True) == strict


@pytest.mark.parametrize(
    "fields",
    [
        b" X: a\r\n",
        b"Content-Length:\r\n 5\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding\t: chunked\r\n",
        b"Transfer Encoding: chunked\r\n",
        b"Content_Length\x01: 5\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: 5,\r\n",
        b"Content-Length: 5\r\nContent-Length: 05\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"X: a\x00b\r\n",
        b"X: a\rb\r\n",
        b"a\x00b\r\n",
        b"a\rb\r\n",
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
def test_heads_that_nobody_takes(fields: bytes, lenient: bool) -> None:
    with pytest.raises(ResponseHeadError):
        read_response_head(LINE + fields + b"\r\n", lenient=lenient)


_PIECES = st.lists(
    st.sampled_from(
        [
            *(b"HTTP/1.1", b"http/1.0", b"200", b"99", b"OK", b" ", b"\t", b"\r", b"\n", b"\r\n"),
            *(b":", b",", b";", b"\x00", b"\x01", b"\x7f", b"\xff", b"close", b"5", b"-", b"X"),
            *(b"Content-Length", b"Transfer-Encoding", b"Connection", b"chunked", b"Set-Cookie"),
        ]
    )
)


@given(_PIECES, st.booleans())
def test_whatever_comes_out_is_strict_or_refused(pieces: list[bytes], lenient: bool) -> None:
    head = LINE + b"".join(pieces) + b"\r\n\r\n"
    try:
        found = read_response_head(head, lenient=lenient)
    except ResponseHeadError:
        return
    block = found.fields.block
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", block)
    assert b"\n" not in block.replace(b"\r\n", b"")
    # The framing is that of the lines that are passed on.
    strict = parse_response_head(b"HTTP/1.1 %d x\r\n%s\r\n" % (found.status, block))
    assert strict.fields[1:] == found.fields[1:]
