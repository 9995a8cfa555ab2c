"""Messages as values: either form says what the other says, and is written at most once."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.client_claims import ForwardingPolicy, Peer
from meshlib.http1 import parse_request_head, parse_response_head
from meshlib.http2.sections import Pair, pair_section, pairs_of, request_pairs, response_head
from meshlib.messages import RequestHead
from meshlib_adapters.upstream.messages import ForwardRequest, ForwardResponse, last_chunk

CLIENT = Peer("192.0.2.7", "https", 443)
FIELDS: list[Pair] = [(b"content-type", b"text/plain"), (b"x", b""), (b"x", b"a:b")]


def over_http1(wire: bytes) -> ForwardRequest:
    request = ForwardRequest()
    request.head = parse_request_head(wire)
    request.wire = wire
    return request


def over_http2(*pairs: Pair, added: Sequence[Pair] = (), method: bytes = b"GET") -> ForwardRequest:
    section = pair_section([(b"host", b"shop.example"), *pairs])
    request = ForwardRequest()
    head = RequestHead(method, b"/p?q", b"shop.example", 2, section)
    request.of_http2(head, request_pairs(section, ForwardingPolicy(), CLIENT), added)
    return request


PSEUDO = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"shop.example"),
    (b":path", b"/p?q"),
]


def test_a_request_over_http1() -> None:
    wire = (
        b"GET /p?q HTTP/1.1\r\nHost: shop.example\r\nX-A:1\r\nConnection: TE\r\nTE: trailers\r\n"
        b"Transfer-Encoding: chunked\r\nCookie: a=1\r\n\r\n"
    )
    request = over_http1(wire)
    assert request.http1() is wire
    assert request.pairs() == [*PSEUDO, (b"x-a", b"1"), (b"te", b"trailers"), (b"cookie", b"a=1")]
    assert repr(request) == "<ForwardRequest GET /p?q>"


def test_a_request_over_http2() -> None:
    request = over_http2((b"x-a", b"1"), (b"te", b"trailers"), added=[(b"Via", b"2 meshlib")])
    pairs = [*PSEUDO, (b"x-a", b"1"), (b"te", b"trailers"), (b"via", b"2 meshlib")]
    assert request.pairs() == pairs
    assert request.wire == b""
    assert request.http1() == (
        b"GET /p?q HTTP/1.1\r\nhost: shop.example\r\nx-a: 1\r\nVia: 2 meshlib\r\n"
        b"Connection: TE\r\nTE: trailers\r\n\r\n"
    )
    assert request.http1() is request.wire
    assert request.pairs() == pairs  # whoever has asked for the other form


def test_a_request_that_is_renewed_says_nothing_of_the_last() -> None:
    request = over_http2((b"x", b"1"), method=b"PUT")
    first = request.http1()
    request.of_http2(request.head._replace(method=b"GET"), [(b"y", b"2")], [])
    assert request.pairs() == [*PSEUDO, (b"y", b"2")]
    assert request.http1() != first


def test_a_body_of_unknown_length() -> None:
    request = over_http2()
    assert b"chunked" not in request.http1()
    request = over_http2()
    request.streamed = True
    assert request.http1().endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert request.pairs() == PSEUDO
    assert request.encoded(b"", done=False) == b""
    assert request.encoded(b"x" * 16, done=False) == b"10\r\n" + b"x" * 16 + b"\r\n"
    assert request.encoded(b"", done=True) == b"0\r\n\r\n"
    request.trailers = [(b"x-sum", b"1")]
    assert request.encoded(b"y", done=True) == b"1\r\ny\r\n0\r\nx-sum: 1\r\n\r\n"


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


@given(
    st.lists(st.tuples(_NAMES, _VALUES), max_size=6),
    st.lists(st.tuples(_NAMES, _VALUES), max_size=3),
    st.booleans(),
)
def test_both_forms_of_a_request_read_as_the_same(
    pairs: list[Pair], added: list[Pair], te: bool
) -> None:
    request = over_http2(*pairs, *([(b"te", b"trailers")] if te else []), added=added)
    again = over_http1(request.http1())
    assert sorted(again.pairs()) == sorted(request.pairs())
    assert again.pairs()[:4] == request.pairs()[:4] == PSEUDO
    assert again.head[:3] == request.head[:3]


@given(st.sampled_from([200, 204, 299, 404, 503]), st.lists(st.tuples(_NAMES, _VALUES), max_size=6))
def test_both_forms_read_as_the_same(status: int, pairs: list[Pair]) -> None:
    response = of_pairs(b"%d" % status, *pairs)
    again = parse_response_head(response.http1() + b"\r\n")
    assert (again.status, again.reason) == (status, response.head.reason)
    assert again.fields.pairs() == pairs == response.pairs()
    assert ForwardResponse.of_http1(again).pairs() == pairs
    assert pairs_of(again.fields.block) == pairs
