"""Sections made of pairs say what the same lines of HTTP/1 say, and refuse what those refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.client_claims import ForwardingPolicy, Peer
from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError, ResponseHeadError
from meshlib.forwarding import kept_fields, response_fields
from meshlib.http1 import parse_fields, parse_trailers
from meshlib.http2.sections import (
    CONNECTION_FIELDS,
    TE_TRAILERS,
    MalformedRequest,
    Pair,
    PairSection,
    pair_section,
    pairs_of,
    request_pairs,
    response_head,
    response_pairs,
    trailer_pairs,
    written_pairs,
)
from meshlib.messages import RequestHead

BROWSER: list[Pair] = [
    (b"host", b"shop.example"),
    (b"accept", b"*/*"),
    (b"cookie", b"a=1; b=2"),
    (b"accept", b"text/html"),
    (b"x-empty", b""),
]


def lines_of(pairs: list[Pair]) -> bytes:
    return b"".join(b"%s: %s\r\n" % pair for pair in pairs)


def test_a_section_reads_as_its_lines_do() -> None:
    section = pair_section(BROWSER)
    parsed = parse_fields(lines_of(BROWSER))
    assert section.block == parsed.block
    assert section[1:] == parsed[1:]
    assert section.pairs() == parsed.pairs() == BROWSER
    assert section.known_pairs == tuple(BROWSER)
    for name in (b"accept", b"host", b"x-empty", b"x-none"):
        assert section.get_all(name) == parsed.get_all(name)
        assert section.first(name) == parsed.first(name)


def test_equal_pairs_make_equal_sections() -> None:
    assert pair_section(BROWSER) == pair_section(list(BROWSER))
    assert hash(pair_section(BROWSER)) == hash(pair_section(list(BROWSER)))
    assert pair_section(BROWSER) != pair_section(BROWSER[:-1])
    changed = pair_section(BROWSER)._replace(expect_continue=True)
    assert (changed.block, changed.expect_continue) == (lines_of(BROWSER), True)


def test_what_is_read_of_a_head() -> None:
    section = pair_section([(b"content-length", b"12"), (b"expect", b"100-Continue")])
    assert (section.content_length, section.expect_continue, section.host) == (12, True, None)
    assert (section.chunked, section.connection, section.upgrade) == (False, frozenset(), None)
    nothing = pair_section([])
    assert (nothing.block, nothing.names) == (b"", ())


BAD_PAIRS: list[Pair] = [
    (b"", b"x"),
    (b"Accept", b"x"),
    (b"x y", b"z"),
    (b"x:y", b"z"),
    (b":status", b"200"),
    (b"x\r\ny", b"z"),
    (b"x\n", b"z"),
    (b"x\xe9", b"z"),
    *(
        (b"x", value)
        for value in (b"a\r\nb: c", b"a\nb", b"a\rb", b"a\x00b", b" a", b"\ta", b"a ", b"a\t", b" ")
    ),
    (b"x", b"a\x01b"),
    (b"x", b"a\x7f"),
    (b"x", b"a\n"),
]


@pytest.mark.parametrize("pair", BAD_PAIRS)
def test_no_pair_reads_as_another_line(pair: Pair) -> None:
    with pytest.raises(MalformedRequest) as asked:
        pair_section([(b"a", b"b"), pair])
    assert asked.value.reason == "bad_field"
    with pytest.raises(ResponseHeadError) as responded:
        pair_section([pair], response=True)
    assert responded.value.reason == "bad_field"


@pytest.mark.parametrize("name", sorted(CONNECTION_FIELDS))
def test_fields_of_connections_are_malformed(name: bytes) -> None:
    for response, kind in ((False, MalformedRequest), (True, ResponseHeadError)):
        with pytest.raises(kind) as caught:
            pair_section([(name, b"x")], response=response)
        assert caught.value.reason == "connection_field"


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([(b"content-length", b"+1")], "bad_content_length"),
        ([(b"content-length", b"")], "bad_content_length"),
        ([(b"content-length", b"1" * 19)], "bad_content_length"),
        ([(b"content-length", b"5"), (b"content-length", b"5")], "repeated_content_length"),
        ([(b"host", b"a"), (b"host", b"a")], "repeated_host"),
    ],
)
def test_what_lines_of_http1_would_be_refused_for(pairs: list[Pair], reason: str) -> None:
    for response, kind in ((False, RequestHeadError), (True, ResponseHeadError)):
        with pytest.raises(kind) as caught:
            pair_section(pairs, response=response)
        assert caught.value.reason == reason
        assert not isinstance(caught.value, MalformedRequest)
        with pytest.raises(kind) as parsed:
            parse_fields(lines_of(pairs), response=response)
        assert (parsed.value.reason, parsed.value.status_hint) == (reason, caught.value.status_hint)


@pytest.mark.parametrize("values", [(b"more",), (b"100-continue", b"100-continue"), (b"",)])
def test_an_expectation_is_one_that_we_know(values: tuple[bytes, ...]) -> None:
    pairs = [(b"expect", value) for value in values]
    with pytest.raises(RequestHeadError) as caught:
        pair_section(pairs)
    assert (caught.value.reason, caught.value.status_hint) == ("bad_expect", 417)
    assert pair_section(pairs, response=True).expect_continue


def test_so_many_fields_and_no_more() -> None:
    assert len(pair_section(BROWSER, max_fields=5).names) == 5
    for response, status in ((False, 431), (True, 502)):
        with pytest.raises(LimitExceeded) as caught:
            pair_section(BROWSER, response=response, max_fields=4)
        assert (caught.value.reason, caught.value.status_hint) == ("too_many_fields", status)


# Requests.

POLICIES = [ForwardingPolicy(), ForwardingPolicy(mode="label", underscores=True, rfc7239=True)]
CLIENT = Peer("192.0.2.7", "https", 443)
PROXY = Peer("10.0.0.9", "https", 443, trusted=True)


def kept_lines(section: PairSection, policy: ForwardingPolicy, peer: Peer) -> list[Pair]:
    """What HTTP/1 sends on of the same fields, without Host and what belongs to that connection."""
    head = RequestHead(b"GET", b"/", b"shop.example", 2, section)
    pairs = pairs_of(kept_fields(head, policy, peer, wanted_by_label=True))
    return [pair for pair in pairs if pair[0] not in (b"host", b"connection")]


@pytest.mark.parametrize("peer", [CLIENT, PROXY], ids=["client", "proxy"])
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_kept_of_a_request(policy: ForwardingPolicy, peer: Peer) -> None:
    pairs = [
        *BROWSER,
        (b"te", b"Trailers"),
        (b"proxy", b"x"),
        (b"x-forwarded-for", b"192.0.2.9"),
        (b"x-forwarded-other", b"x"),
        (b"x-real-ip", b"192.0.2.9"),
        (b"x_y", b"z"),
        (b"x.forwarded.for", b"192.0.2.9"),
        (b"via", b"2 other"),
    ]
    section = pair_section(pairs)
    kept = request_pairs(section, policy, peer, wanted_by_label=True)
    assert kept == kept_lines(section, policy, peer)
    assert kept[-1] is TE_TRAILERS
    assert ((b"x-real-ip", b"192.0.2.9") in kept) is peer.trusted
    plain = pair_section(BROWSER)
    assert request_pairs(plain, policy, peer) == BROWSER[1:]


def test_lines_of_our_own_become_pairs_as_they_are() -> None:
    assert written_pairs(b"") == []
    assert written_pairs(b"Via: 2 x: y\r\nX-A: \r\n") == [(b"Via", b"2 x: y"), (b"X-A", b"")]


# Responses.


def test_the_head_of_a_response() -> None:
    head = response_head([(b":status", b"404"), (b"content-length", b"3"), (b"x", b"y")])
    assert (head.status, head.reason, head.minor_version) == (404, b"Not Found", 1)
    assert head.fields.content_length == 3
    assert head.fields.pairs() == [(b"content-length", b"3"), (b"x", b"y")]


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([], "bad_status_line"),
        ([(b"x", b"y")], "bad_status_line"),
        *(
            ([(b":status", value)], "bad_status_line")
            for value in (b"", b"20", b"2000", b"+20", b"099", b"1x0", b"200\n")
        ),
        ([(b":status", b"200"), (b":status", b"200")], "bad_field"),
        ([(b":status", b"101"), (b"x", b"y")], "bad_upgrade"),
        ([(b":status", b"103"), (b"content-length", b"3")], "interim_with_body"),
    ],
)
def test_heads_that_are_none(pairs: list[Pair], reason: str) -> None:
    with pytest.raises(ResponseHeadError) as caught:
        response_head(pairs)
    assert caught.value.reason == reason


def test_a_response_of_too_many_fields() -> None:
    pairs = [(b":status", b"200"), (b"a", b"b"), (b"c", b"d")]
    assert response_head(pairs, max_fields=2).status == 200
    with pytest.raises(LimitExceeded):
        response_head(pairs, max_fields=1)


def test_what_belongs_to_one_hop_is_not_passed_on() -> None:
    pairs = [(b"te", b"x"), (b"content-length", b"0"), (b"a", b"b"), (b"proxy-authenticate", b"x")]
    section = pair_section(pairs, response=True)
    assert response_pairs(section) == [pairs[1], pairs[2]]
    assert response_pairs(section, bodiless=True) == [pairs[2]]
    plain = pair_section([(b"a", b"b"), (b"a", b"c")], response=True)
    assert response_pairs(plain) == [(b"a", b"b"), (b"a", b"c")]


@pytest.mark.parametrize(
    ("lines", "pairs"),
    [
        (b"", []),
        (b"\r\n", []),
        (b"X-Sum: 1\r\n", [(b"x-sum", b"1")]),
        (b"A:1\r\nB: \t2 \t\r\nC:\r\n", [(b"a", b"1"), (b"b", b"2"), (b"c", b"")]),
        (b"Location: https://a:1/b c\r\n\r\n", [(b"location", b"https://a:1/b c")]),
        (
            b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n",
            [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")],
        ),
    ],
)
def test_lines_become_pairs(lines: bytes, pairs: list[Pair]) -> None:
    assert pairs_of(lines) == pairs


# Trailers.


def test_trailers_that_may_be_sent_on() -> None:
    pairs = [(b"grpc-status", b"0"), (b"x-sum", b"1"), (b"x-user", b"me"), (b"x-sum", b"2")]
    announced = frozenset({b"x-sum", b"host"})
    assert trailer_pairs(pairs, announced) == [pairs[0], pairs[1], pairs[3]]
    assert trailer_pairs([(b"host", b"x")], announced, response=True) == []


@pytest.mark.parametrize("pair", [*BAD_PAIRS, (b"connection", b"close"), (b"upgrade", b"x")])
def test_malformed_trailers_are_refused_of_either_side(pair: Pair) -> None:
    for response, kind in ((False, MalformedRequest), (True, ResponseHeadError)):
        with pytest.raises(kind) as caught:
            trailer_pairs([(b"digest", b"x"), pair], frozenset(), response=response)
        assert caught.value.reason == "bad_trailer"


def test_so_many_trailers_and_no_more() -> None:
    pairs = [(b"x", b"y")] * 3
    assert trailer_pairs(pairs, frozenset(), max_fields=3) == []
    with pytest.raises(MalformedRequest) as asked:
        trailer_pairs(pairs, frozenset(), max_fields=2)
    assert asked.value.reason == "too_many_fields"
    with pytest.raises(LimitExceeded) as responded:
        trailer_pairs(pairs, frozenset(), response=True, max_fields=2)
    assert (responded.value.reason, responded.value.status_hint) == ("too_many_fields", 502)


# Whatever a peer sends.

_NAMES = st.sampled_from(
    [b"accept", b"x", b"content-length", b"expect", b"host", b"te", b"X", b"x y", b"", b"a:b"]
)
_VALUES = st.sampled_from([b"", b"1", b"12", b"100-continue", b"a:b", b"\xe9", b"a\tb"]) | (
    st.binary(max_size=6)
)


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=6), st.booleans())
def test_pairs_and_their_lines_say_the_same(pairs: list[Pair], response: bool) -> None:
    """What is a section of pairs is one of lines, with the same facts; what is refused in lines is
    refused in pairs.
    """
    refused: ProtocolError | None = None
    try:
        section = pair_section(pairs, response=response)
    except ProtocolError as error:
        refused = error
    if refused is not None:
        if refused.reason != "bad_field":  # which lines may not show: they would be other fields
            with pytest.raises(type(refused)) as caught:
                parse_fields(lines_of(pairs), response=response)
            assert caught.value.reason == refused.reason
        return
    parsed = parse_fields(lines_of(pairs), response=response)
    assert section[1:] == parsed[1:]
    assert (section.block, section.pairs()) == (parsed.block, pairs)
    kept = [pair for pair in request_pairs(section, POLICIES[0], CLIENT) if pair != TE_TRAILERS]
    assert kept == [pair for pair in kept_lines(section, POLICIES[0], CLIENT) if pair[0] != b"te"]
    for bodiless in (False, True):
        lines = response_fields(parsed, bodiless=bodiless)
        assert response_pairs(section, bodiless=bodiless) == pairs_of(lines)


@given(
    st.lists(st.tuples(st.sampled_from([b"x", b"grpc-status", b"host", b"X"]), _VALUES), max_size=4)
)
def test_trailers_of_pairs_are_those_of_lines(pairs: list[Pair]) -> None:
    announced = frozenset({b"x", b"host"})
    try:
        kept = trailer_pairs(pairs, announced, response=True)
    except ResponseHeadError:
        return
    assert lines_of(kept) == parse_trailers(lines_of(pairs), announced, response=True)
