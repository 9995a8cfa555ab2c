import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError, ResponseHeadError
from meshlib.http1 import EMPTY_SECTION, KnownLines, parse_fields, section_of
from meshlib.messages import FieldSection


def test_no_lines_are_the_empty_section() -> None:
    assert parse_fields(b"") == EMPTY_SECTION


def test_ordinary_fields_only() -> None:
    section = parse_fields(b"A: 1\r\nb:2 \r\n")
    assert section == EMPTY_SECTION._replace(block=b"A: 1\r\nb:2 \r\n", names=(b"a", b"b"))


def test_pairs_and_look_up() -> None:
    section = parse_fields(b"Set-Cookie: a=1\r\nX: y\r\nset-cookie:  b=2 \r\n")
    assert section.pairs() == [(b"Set-Cookie", b"a=1"), (b"X", b"y"), (b"set-cookie", b"b=2")]
    assert section.get_all(b"set-cookie") == [b"a=1", b"b=2"]
    assert section.get_all(b"missing") == []


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (b"a: b\nc: d\r\n", "bare CR or LF"),
        (b" a: b\r\n", "folded"),
        (b"a : b\r\n", "space before the colon"),
        (b"a: \x01\r\n", "control byte"),
        (b"nonsense\r\n", "not a field"),
        (b"a: b", "not a field"),
        (b"a: b\r\nc: d", "not a field"),
    ],
)
def test_the_message_says_what_is_wrong(block: bytes, message: str) -> None:
    with pytest.raises(RequestHeadError, match=message):
        parse_fields(block)
    with pytest.raises(ResponseHeadError, match=message) as caught:
        parse_fields(block, response=True)
    assert caught.value.status_hint == 502


def test_number_of_fields() -> None:
    block = b"a: b\r\n" * 100
    assert len(parse_fields(block).names) == 100
    for response, status in ((False, 431), (True, 502)):
        with pytest.raises(LimitExceeded) as caught:
            parse_fields(block + b"a: b\r\n", response=response)
        assert caught.value.status_hint == status


def test_an_response_may_expect_anything() -> None:
    assert parse_fields(b"Expect: nonsense\r\n", response=True).expect_continue


def test_sections_of_pairs() -> None:
    section = section_of([(b"host", b"a"), (b"content-length", b"3")])
    assert (section.host, section.content_length) == (b"a", 3)
    with pytest.raises(RequestHeadError):
        section_of([(b"x", b"a\r\nhost: evil"), (b"y", b"\n")])
    with pytest.raises(RequestHeadError):
        section_of([(b"x y", b"")])
    known = KnownLines()
    pairs = [(b"host", b"a"), (b"x", b"1")]
    assert section_of(pairs, known=known) == section_of(pairs, known=known) == section_of(pairs)
    assert set(known) == {b"host: a", b"x: 1"}


def test_a_pair_cannot_smuggle_a_line() -> None:
    # A value with CRLF and a field behind it would be a well-formed block, so pairs are checked one
    # by one.
    for pair in ((b"x", b"a\r\nhost: evil"), (b"x: y\r\nhost", b"evil"), (b"host: evil", b"b")):
        with pytest.raises(RequestHeadError):
            section_of([pair])
        with pytest.raises(ResponseHeadError):
            section_of([pair], response=True)


VECTORS = Path(__file__).parents[2] / "vectors" / "http1"
REFUSED = [
    (text.encode("latin-1").partition(b"\r\n")[2][:-2], reason)
    for _, text, _, reason in json.loads((VECTORS / "refused-requests.json").read_text("utf-8"))
    if reason.startswith(("bad_field", "bad_co", "bad_tr", "bad_ex", "repeated", "length_and"))
]


@pytest.mark.parametrize(("block", "reason"), REFUSED)
def test_the_field_blocks_of_the_vectors(block: bytes, reason: str) -> None:
    with pytest.raises(RequestHeadError) as caught:
        parse_fields(block)
    assert caught.value.reason == reason
    if reason != "bad_expect":  # a response may hold such a field
        with pytest.raises(ResponseHeadError):
            parse_fields(block, response=True)


def test_the_field_blocks_of_the_accepted_vectors() -> None:
    for _, text, facts in json.loads((VECTORS / "accepted-requests.json").read_text("utf-8")):
        section = parse_fields(text.encode("latin-1").partition(b"\r\n")[2][:-2])
        assert section.content_length == facts.get("content_length", section.content_length)
        assert section.chunked == facts.get("chunked", False)


@pytest.mark.parametrize(
    ("block", "options", "upgrade"),
    [
        (b"Connection: keep-alive\r\nUpgrade: x\r\n", [b"keep-alive"], None),
        (
            b"Upgrade: a \r\nconnection: ,keep-alive ,\tUPGRADE,\r\nUpgrade: b/2\r\n",
            [b"keep-alive", b"upgrade"],
            b"a, b/2",
        ),
        (b"Connection: a\r\nConnection:\r\nConnection: b\r\n", [b"a", b"b"], None),
        (b"Connection:\r\n", [], None),
    ],
)
def test_lists_over_several_lines(
    block: bytes, options: list[bytes], upgrade: bytes | None
) -> None:
    section = parse_fields(block)
    assert (sorted(section.connection), section.upgrade) == (options, upgrade)


_PIECES = [
    b"Host",
    b"A",
    b":",
    b" ",
    b"\t",
    b"\r\n",
    b"\r",
    b"\n",
    b"x: y\r\n",
    b"\x00",
    b"\xe9",
    b"Content-Length: 1",
]


@given(st.lists(st.sampled_from(_PIECES)))
def test_a_block_is_lines_or_an_error(pieces: list[bytes]) -> None:
    block = b"".join(pieces)
    try:
        section = parse_fields(block)
    except ProtocolError:
        return
    lines = block.split(b"\r\n")
    assert lines.pop() == b""
    assert section.names == tuple(line.partition(b":")[0].lower() for line in lines)
    assert not any(set(line) & set(b"\r\n\x00") for line in lines)
    assert len(section.pairs()) == len(lines)


_KNOWN = KnownLines(limit=8, longest=12)


@given(st.lists(st.sampled_from(_PIECES)), st.booleans())
def test_known_lines_change_nothing(pieces: list[bytes], response: bool) -> None:
    block = b"".join(pieces)

    def outcome(known: KnownLines | None) -> object:
        try:
            return parse_fields(block, response=response, known=known)
        except ProtocolError as error:
            return type(error), str(error), error.reason

    assert outcome(_KNOWN) == outcome(None)
    assert len(_KNOWN) <= 8
    assert all(len(line) <= 12 for line in _KNOWN)


_REST = b"Accept: */*\r\nContent-Length: 3\r\nConnection: x\r\nExpect: 100-continue\r\n"
_HOSTS = [b"Host: a\r\n", b"hOST:b \t\r\n", b"Host:\r\n", b"Hosts: a\r\n", b""]
_HOSTS += [b"Host : a\r\n", b"Host: a\x00\r\n", b"Host: a\n\r\n", b"Host: a\r"]
_RESTS = [_REST, b"", b"\r\n", b"Host: c\r\n", _REST[:-1], b"X: y\r\n", b"A: long\r\n\tfolded\r\n"]


@given(
    st.sampled_from(_HOSTS),
    st.sampled_from(_RESTS),
    st.sampled_from(_HOSTS),
    st.sampled_from(_RESTS),
    st.booleans(),
)
def test_what_came_last_changes_nothing(
    host: bytes, rest: bytes, next_host: bytes, next_rest: bytes, response: bool
) -> None:
    def outcome(block: bytes, last: FieldSection | None) -> object:
        try:
            return parse_fields(block, response=response, last=last)
        except ProtocolError as error:
            return (type(error), str(error), error.reason, error.status_hint)

    first = outcome(host + rest, None)
    if isinstance(first, FieldSection):
        assert outcome(next_host + next_rest, first) == outcome(next_host + next_rest, None)


def test_only_a_leading_host_may_differ() -> None:
    last = parse_fields(b"Host: a\r\n" + _REST)
    again = parse_fields(b"host:\tb\r\n" + _REST, last=last)
    assert again == parse_fields(b"host:\tb\r\n" + _REST)
    assert again.names is last.names
    behind = parse_fields(_REST + b"Host: a\r\n")
    assert parse_fields(_REST + b"Host: b\r\n", last=behind).host == b"b"


def test_a_known_line_is_not_checked_again() -> None:
    known = KnownLines()
    first = parse_fields(b"Accept: */*\r\n", known=known)
    again = parse_fields(b"X: y\r\nAccept: */*\r\n", known=known)
    assert again.names[1] is first.names[0]
    with pytest.raises(ValueError):
        known[b"Accept : */*"]
    assert set(known) == {b"Accept: */*", b"X: y"}


def test_long_lines_are_not_kept_and_full_tables_begin_anew() -> None:
    known = KnownLines(limit=2, longest=8)
    assert known[b"A: long enough"] == b"a"
    assert not known
    for line in (b"A: 1", b"A: 2", b"A: 3"):
        assert known[line] == b"a"
    assert list(known) == [b"A: 3"]
