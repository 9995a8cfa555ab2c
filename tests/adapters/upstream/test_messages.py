"""Messages as values: either form says what the other says, and is written at most once."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.http1 import parse_response_head
from meshlib.http2.sections import Pair, pairs_of, response_head
from meshlib_adapters.upstream.messages import ForwardResponse, last_chunk

FIELDS: list[Pair] = [(b"content-type", b"text/plain"), (b"x", b""), (b"x", b"a:b")]


def of_lines(text: bytes) -> ForwardResponse:
    return ForwardResponse.of_http1(parse_response_head(text))


def of_pairs(
    status: bytes, *pairs: Pair, method: bytes = b"GET", ended: bool = False
) -> ForwardResponse:
    return ForwardResponse.of_http2(
        response_head([(b":status", status), *pairs]), method, ended=ended
    )


def test_a_response_over_http1() -> None:
    lines = b"Server:x\r\nX-A: 1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    response = of_lines(b"HTTP/1.1 200 Fine\r\n" + lines + b"\r\n")
    assert response.status == response.head.status == 200
    assert response.http1() == b"HTTP/1.1 200 Fine\r\nServer:x\r\nX-A: 1\r\n"
    assert response.pairs() == [(b"server", b"x"), (b"x-a", b"1")]
    assert response.size == len(response.http1())
    assert repr(response) == "<ForwardResponse 200>"


def test_a_response_over_http2() -> None:
    response = of_pairs(b"404", *FIELDS, (b"te", b"x"))
    assert response.pairs() == FIELDS
    size = response.size
    assert (
        response.http1()
        == b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\nx: \r\nx: a:b\r\n"
    )
    assert response.size == size == len(response.http1())


def test_each_form_is_written_once() -> None:
    for response in (of_lines(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"), of_pairs(b"200", (b"a", b"b"))):
        assert response.http1() is response.http1()
        assert response.pairs() is response.pairs()


def test_what_has_no_body_says_no_length() -> None:
    for status in (b"204", b"103"):
        lines = b"HTTP/1.1 %s X\r\ncontent-length: 0\r\na: b\r\n\r\n" % status
        assert of_lines(lines).pairs() == [(b"a", b"b")]
        assert of_pairs(status, (b"content-length", b"0"), (b"a", b"b")).pairs() == [(b"a", b"b")]


def test_a_switch_of_protocols_says_to_which() -> None:
    response = of_lines(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade, close\r\n\r\n")
    assert response.http1() == b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n"


@pytest.mark.parametrize(
    ("status", "method", "pairs", "added"),
    [
        (b"200", b"GET", [], True),
        (b"404", b"POST", [], True),
        (b"200", b"GET", [(b"content-length", b"0")], False),
        (b"200", b"HEAD", [], False),
        (b"204", b"GET", [], False),
        (b"304", b"GET", [], False),
    ],
)
def test_a_head_that_is_all_says_that_nothing_follows(
    status: bytes, method: bytes, pairs: list[Pair], added: bool
) -> None:
    assert of_pairs(status, *pairs, method=method).pairs() == pairs
    ended = of_pairs(status, *pairs, method=method, ended=True)
    assert ended.pairs() == [*pairs, *([(b"content-length", b"0")] if added else [])]


@pytest.mark.parametrize("written", [False, True])
def test_strict_transport_security(written: bool) -> None:
    for response in (of_lines(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"), of_pairs(b"200", (b"a", b"b"))):
        if written:
            response.http1()
        before = response.size
        secured = response.secured("max-age=300")
        assert secured.pairs() == [(b"a", b"b"), (b"strict-transport-security", b"max-age=300")]
        assert secured.http1().lower().endswith(b"strict-transport-security: max-age=300\r\n")
        assert secured.head is response.head
        assert response.size == before
        assert response.secured("max-age=300") is secured
        assert response.secured("max-age=0").pairs()[-1][1] == b"max-age=0"


def test_a_policy_of_the_applications_own_stands() -> None:
    response = of_lines(b"HTTP/1.1 200 OK\r\nStrict-transport-Security: max-age=0\r\n\r\n")
    assert response.secured("max-age=300") is response


def test_nothing_is_kept_alive_by_itself() -> None:
    """A gateway may run without the collector of cycles."""
    plain = response_head([(b":status", b"200")])
    own = response_head([(b":status", b"200"), (b"strict-transport-security", b"x")])
    gc.collect()
    gc.disable()
    try:
        for head in (plain, own):
            ForwardResponse(head, pairs=[]).secured("max-age=1").http1()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_end_of_a_chunked_body() -> None:
    assert last_chunk(()) == b"0\r\n\r\n"
    assert last_chunk([(b"a", b"b"), (b"c", b"")]) == b"0\r\na: b\r\nc: \r\n\r\n"


_NAMES = st.text("abcdefxyz0123456789-", min_size=1, max_size=8).map(
    lambda text: b"x" + text.encode()
)
_VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8).map(str.encode)


@given(st.sampled_from([200, 204, 299, 404, 503]), st.lists(st.tuples(_NAMES, _VALUES), max_size=6))
def test_both_forms_read_as_the_same(status: int, pairs: list[Pair]) -> None:
    response = of_pairs(b"%d" % status, *pairs)
    again = parse_response_head(response.http1() + b"\r\n")
    assert (again.status, again.reason) == (status, response.head.reason)
    assert again.fields.pairs() == pairs == response.pairs()
    assert ForwardResponse.of_http1(again).pairs() == pairs
    assert pairs_of(again.fields.block) == pairs
