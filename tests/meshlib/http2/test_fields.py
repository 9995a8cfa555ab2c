"""Field lists of requests, responses and trailers, to lines and back; what RFC 9113 8 calls
malformed is no request.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError
from meshlib.http1 import (
    announced_trailers,
    parse_request_head,
)
from meshlib.http2.fields import request_fields, request_head
from meshlib.http2.sections import MalformedRequest, Pair, pair_section, pairs_of, trailer_pairs
from meshlib.messages import RequestHead

GET = (b":method", b"GET")
HTTPS = (b":scheme", b"https")
AUTHORITY = (b":authority", b"shop.example")
ROOT = (b":path", b"/")
PSEUDO = (GET, HTTPS, AUTHORITY, ROOT)
LIMIT = 8192


def with_method(method: bytes, *regular: Pair) -> list[Pair]:
    return [(b":method", method), *PSEUDO[1:], *regular]


def with_path(path: bytes, method: bytes = b"GET") -> list[Pair]:
    return [(b":method", method), HTTPS, AUTHORITY, (b":path", path)]


def without_authority(*regular: Pair) -> list[Pair]:
    return [GET, HTTPS, ROOT, *regular]


def read(pairs: list[Pair], *, ended: bool = True, limit: int = LIMIT) -> RequestHead:
    """What a connection does: the list to a section, the head of all."""
    method, path, regular = request_fields(pairs, ended=ended, limit=limit)
    return request_head(method, path, pair_section(regular), ended=ended)


def lines_of(pairs: list[Pair], *, ended: bool = True) -> list[bytes]:
    return read(pairs, ended=ended).fields.block.split(b"\r\n")[:-1]


def test_a_request_is_written_as_lines_of_http1() -> None:
    pairs = [
        HTTPS,
        ROOT,
        AUTHORITY,
        GET,
        (b"accept", b"*/*"),
        (b"x-empty", b""),
        (b"x-colon", b"a:b"),
        (b"accept", b"text/html"),
    ]
    method, path, regular = request_fields(pairs, ended=True, limit=LIMIT)
    assert (method, path) == (b"GET", b"/")
    assert regular == [(b"host", b"shop.example"), *pairs[4:]]
    fields = pair_section(regular)
    assert request_head(method, path, fields, ended=True) == RequestHead(
        b"GET", b"/", b"shop.example", 2, fields
    )


# RFC 9113 8.3, 8.3.1.
BAD_PSEUDO_FIELDS: dict[str, list[Pair]] = {
    "none at all": [],
    "no :method": [HTTPS, AUTHORITY, ROOT],
    "no :scheme": [GET, AUTHORITY, ROOT],
    "no :path": [GET, HTTPS, AUTHORITY],
    "an empty :method": with_method(b""),
    "an empty :scheme": [GET, (b":scheme", b""), AUTHORITY, ROOT],
    "an empty :path": with_path(b""),
    **{f"{name.decode()} twice": [*PSEUDO, (name, value)] for name, value in PSEUDO},
    "one of responses": [*PSEUDO, (b":status", b"200")],
    "an unknown one": [*PSEUDO, (b":unknown", b"x")],
    "one without a name": [*PSEUDO, (b":", b"x")],
    "one in capitals": [(b":Method", b"GET"), HTTPS, AUTHORITY, ROOT],
    "one behind a regular field": [GET, HTTPS, AUTHORITY, (b"accept", b"*/*"), ROOT],
    "one behind Cookie": [GET, HTTPS, AUTHORITY, (b"cookie", b"a=1"), ROOT],
    "one behind Host": [GET, HTTPS, (b"host", b"shop.example"), ROOT],
    # RFC 8441 needs a setting by which servers offer it.
    "an extended CONNECT": [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        HTTPS,
        AUTHORITY,
        ROOT,
    ],
}
BAD_FIELDS: dict[str, list[Pair]] = {
    "a name in upper case": [*PSEUDO, (b"Accept", b"*/*")],
    "Connection in upper case": [*PSEUDO, (b"Connection", b"close")],
    "Host in upper case": [*PSEUDO, (b"Host", b"shop.example")],
    "no name": [*PSEUDO, (b"", b"x")],
    "a space in a name": [*PSEUDO, (b"x y", b"z")],
    "a colon in a name": [*PSEUDO, (b"x:y", b"z")],
    "a line end in a name": [*PSEUDO, (b"x\r\ny", b"z")],
    "a line end behind a name": [*PSEUDO, (b"x\n", b"z")],
    "eight bits in a name": [*PSEUDO, (b"x\xe9", b"z")],
    **{
        f"{bad!r} as a value": [*PSEUDO, (b"x", bad)]
        for bad in (
            b"a\r\nb: c",
            b"a\nb",
            b"a\rb",
            b"a\x00b",
            b" a",
            b"\ta",
            b"a ",
            b"a\t",
            b" ",
            b"a\n",
            b"a\x01b",
        )
    },
    "white space around one of two cookies": [*PSEUDO, (b"cookie", b"a=1 "), (b"cookie", b"b=2")],
    "a space before a path": with_path(b" /"),
    "a line end in a method": with_method(b"GET\n"),
    "a line end in a scheme": [GET, (b":scheme", b"https\r"), AUTHORITY, ROOT],
    "a line end in an authority": [GET, HTTPS, (b":authority", b"a\r\nx: y"), ROOT],
    "a line end in a cookie": [*PSEUDO, (b"cookie", b"a=1\r\nx: y")],
    "a line end in Host": without_authority((b"host", b"a\nb")),
}
# RFC 9113 8.2.2.
CONNECTION_FIELDS: dict[str, list[Pair]] = {
    f"{name.decode()}: {value.decode()}": [*PSEUDO, (name, value)]
    for name, value in (
        (b"connection", b"close"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"keep-alive"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"te", b""),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
    )
}
# RFC 9113 8.3.1.
BAD_AUTHORITIES: dict[str, list[Pair]] = {
    "none": without_authority(),
    "an empty one": [GET, HTTPS, (b":authority", b""), ROOT],
    "an empty Host": without_authority((b"host", b"")),
    "an empty one beside Host": [
        GET,
        HTTPS,
        (b":authority", b""),
        ROOT,
        (b"host", b"shop.example"),
    ],
    "an empty Host beside it": [*PSEUDO, (b"host", b"")],
    "another Host": [*PSEUDO, (b"host", b"other.example")],
    "a Host with a port": [*PSEUDO, (b"host", b"shop.example:443")],
    "two of Host": without_authority((b"host", b"shop.example"), (b"host", b"shop.example")),
    "two of Host beside it": [*PSEUDO, (b"host", b"shop.example"), (b"host", b"shop.example")],
    "a user name": [GET, HTTPS, (b":authority", b"user@shop.example"), ROOT],
    "a user name in Host": without_authority((b"host", b"user@shop.example")),
}
BAD_PATHS: dict[str, list[Pair]] = {
    "no slash": with_path(b"x"),
    "a URL": with_path(b"https://shop.example/"),
    "a query alone": with_path(b"?x"),
    "more than a star": with_path(b"*x", b"OPTIONS"),
}
MALFORMED = [
    pytest.param(pairs, reason, id=f"{reason}: {name}")
    for reason, cases in (
        ("bad_pseudo_field", BAD_PSEUDO_FIELDS),
        ("bad_field", BAD_FIELDS),
        ("connection_field", CONNECTION_FIELDS),
        ("bad_authority", BAD_AUTHORITIES),
        ("bad_target", BAD_PATHS),
    )
    for name, pairs in cases.items()
]


@pytest.mark.parametrize(("pairs", "reason"), MALFORMED)
@pytest.mark.parametrize("ended", [True, False])
def test_a_malformed_request_is_refused_with_a_reason(
    pairs: list[Pair], reason: str, ended: bool
) -> None:
    with pytest.raises(MalformedRequest) as caught:
        read(pairs, ended=ended)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("pairs", "reason", "status"),
    [
        ([(b":method", b"CONNECT"), (b":authority", b"shop.example:443")], "method_refused", 405),
        (with_method(b"CONNECT"), "method_refused", 405),
        (with_method(b"TRACE"), "method_refused", 405),
        ([GET, (b":scheme", b"ftp"), AUTHORITY, ROOT], "bad_scheme", 400),
        ([GET, (b":scheme", b"HTTPS"), AUTHORITY, ROOT], "bad_scheme", 400),
        (with_path(b"*"), "bad_target", 400),
        (with_path(b"/#x"), "bad_target", 400),
        (with_path(b"/a b"), "bad_request_line", 400),
        (with_path(b"/\xe9"), "bad_request_line", 400),
        (with_method(b"G T"), "bad_request_line", 400),
        (with_method(b"GET", (b"content-length", b"+1")), "bad_content_length", 400),
        (
            with_method(b"GET", (b"content-length", b"0"), (b"content-length", b"0")),
            "repeated_content_length",
            400,
        ),
        (with_method(b"GET", (b"expect", b"more")), "bad_expect", 417),
    ],
)
def test_well_formed_but_refused(pairs: list[Pair], reason: str, status: int) -> None:
    """Those have a response, unlike malformed ones."""
    with pytest.raises(RequestHeadError) as caught:
        read(pairs)
    assert (caught.value.reason, caught.value.status_hint) == (reason, status)
    assert not isinstance(caught.value, MalformedRequest)


@pytest.mark.parametrize(
    ("pairs", "authority"),
    [
        (list(PSEUDO), b"shop.example"),
        ([*PSEUDO, (b"host", b"shop.example")], b"shop.example"),
        ([*PSEUDO, (b"host", b"SHOP.example")], b"shop.example"),
        (
            [GET, HTTPS, (b":authority", b"Shop.example"), ROOT, (b"host", b"shop.example")],
            b"Shop.example",
        ),
        (without_authority((b"x", b"y"), (b"host", b"shop.example:8443")), b"shop.example:8443"),
        ([GET, HTTPS, (b":authority", b"[2001:db8::1]:443"), ROOT], b"[2001:db8::1]:443"),
    ],
)
def test_the_authority_is_the_only_host_and_in_front(pairs: list[Pair], authority: bytes) -> None:
    head = read(pairs)
    assert (head.authority, head.fields.host) == (authority, authority)
    assert head.fields.names[0] == b"host"
    assert head.fields.names.count(b"host") == 1


@pytest.mark.parametrize("scheme", [b"http", b"https"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        (b"GET", b"/a?b=c&d=%20"),
        (b"OPTIONS", b"*"),
        (b"OPTIONS", b"/"),
        (b"get", b"//x"),
        (b"connect", b"/"),
        (b"M-SEARCH", b"/"),
    ],
)
def test_methods_and_paths_stay_as_they_are(scheme: bytes, method: bytes, path: bytes) -> None:
    head = read([(b":method", method), (b":scheme", scheme), AUTHORITY, (b":path", path)])
    assert (head.method, head.target, head.minor_version) == (method, path, 2)


@pytest.mark.parametrize("value", [b"trailers", b"Trailers"])
def test_te_may_say_trailers(value: bytes) -> None:
    assert lines_of([*PSEUDO, (b"te", value)])[1:] == [b"te: " + value]


@pytest.mark.parametrize(
    ("regular", "lines"),
    [
        ([(b"cookie", b"a=1")], [b"cookie: a=1"]),
        ([(b"cookie", b"a=1; b=2")], [b"cookie: a=1; b=2"]),
        (
            [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b"c=3")],
            [b"cookie: a=1; b=2; c=3"],
        ),
        (
            [(b"x", b"1"), (b"cookie", b"a=1"), (b"x", b"2"), (b"cookie", b"b=2")],
            [b"x: 1", b"cookie: a=1; b=2", b"x: 2"],
        ),
    ],
)
def test_cookies_are_joined_where_the_first_was(regular: list[Pair], lines: list[bytes]) -> None:
    assert lines_of([*PSEUDO, *regular])[1:] == lines


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH"])
def test_a_method_with_a_body_that_has_none_says_so(method: bytes) -> None:
    head = read(with_method(method))
    assert head.fields.names == (b"host", b"content-length")
    assert head.fields.content_length == 0
    assert read(with_method(method, (b"content-length", b"0"))) == head
    assert read(with_method(method), ended=False).fields.content_length is None
    assert (
        read(with_method(method, (b"content-length", b"5")), ended=False).fields.content_length == 5
    )


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"post"])
def test_other_methods_have_no_length_of_ours(method: bytes) -> None:
    assert read(with_method(method)).fields.names == (b"host",)
    assert read(with_method(method, (b"content-length", b"0"))).fields.content_length == 0


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_length_without_a_body_is_malformed(method: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        read(with_method(method, (b"content-length", b"1")))
    assert caught.value.reason == "bad_body_length"


def test_the_size_of_a_list_is_that_of_rfc_9113() -> None:
    pairs = [
        *PSEUDO,
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"host", b"shop.example"),
        (b"x", b""),
    ]
    size = sum(len(name) + len(value) + 32 for name, value in pairs)
    assert read(pairs, limit=size).authority == b"shop.example"
    with pytest.raises(LimitExceeded) as caught:
        read(pairs, limit=size - 1)
    assert (caught.value.reason, caught.value.status_hint, caught.value.limit) == (
        "head_too_large",
        431,
        size - 1,
    )


# Both ways, and whatever a peer may send.

_TOKEN = st.text(
    "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+-.^_`|~", min_size=1, max_size=12
).map(str.encode)
# Names that say something about framing or the connection are tested above.
_SPOKEN_FOR = frozenset({b"host", b"cookie", b"content-length", b"te", b"expect"}) | {
    pairs[-1][0] for pairs in CONNECTION_FIELDS.values()
}
_NAMES = _TOKEN.filter(lambda name: name.lower() not in _SPOKEN_FOR)
_VALUES = st.text(
    st.characters(max_codepoint=255, exclude_categories=["Cc"], include_characters="\t"),
    max_size=20,
).map(lambda text: text.encode("latin-1").strip(b" \t"))
_PAIRS = st.lists(st.tuples(_NAMES, _VALUES), max_size=6)


@given(
    st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND"]),
    st.text("abcXYZ019/?&=%.~:@", max_size=20).map(lambda text: b"/" + text.encode()),
    st.sampled_from([b"shop.example", b"Shop.Example:8443", b"[2001:db8::1]", b"192.0.2.1:80"]),
    _PAIRS,
    st.lists(st.sampled_from([b"a=1", b"b=2; c=3", b"d="]), max_size=1),
    st.sampled_from([None, b"0", b"17"]),
)
def test_a_request_of_http1_written_as_a_list_reads_as_the_same(
    method: bytes,
    path: bytes,
    authority: bytes,
    more: list[Pair],
    cookie: list[bytes],
    length: bytes | None,
) -> None:
    """But for the names, which are in lower case in HTTP/2."""
    regular = [*more[:3], *((b"Cookie", value) for value in cookie), *more[3:]]
    if length is not None:
        regular.append((b"Content-Length", length))
    lines = b"".join(b"%s: %s\r\n" % pair for pair in [(b"Host", authority), *regular])
    before = parse_request_head(b"%s %s HTTP/1.1\r\n%s\r\n" % (method, path, lines))
    pairs = [(name, value) for name, value in pairs_of(before.fields.block) if name != b"host"]
    whole = [
        (b":method", before.method),
        HTTPS,
        (b":authority", before.authority),
        (b":path", before.target),
        *pairs,
    ]
    after = read(whole, ended=False)
    assert after[:4] == (method, path, authority, 2)
    assert after.fields.pairs() == [(name.lower(), value) for name, value in before.fields.pairs()]
    assert after.fields[1:] == before.fields[1:]
    # And once more: a list that was read is written as it was.
    assert pairs_of(after.fields.block) == [(b"host", authority), *pairs]


@given(
    _PAIRS,
    st.lists(_VALUES, max_size=4),
)
def test_cookies_sent_apart_are_those_sent_together(more: list[Pair], values: list[bytes]) -> None:
    cookies = [b"c=" + value + b"." for value in values]
    regular = [(name.lower(), value) for name, value in more]
    apart = [(b"cookie", value) for value in cookies]
    together = [(b"cookie", b"; ".join(cookies))] if cookies else []
    assert request_fields([*PSEUDO, *apart, *regular], ended=True, limit=LIMIT) == request_fields(
        [*PSEUDO, *together, *regular], ended=True, limit=LIMIT
    )


_ANY = st.one_of(
    st.tuples(st.binary(max_size=4), st.binary(max_size=6)),
    st.tuples(
        st.sampled_from(
            [
                *(name for name, _ in PSEUDO),
                b":status",
                b"host",
                b"cookie",
                b"content-length",
                b"te",
                b"connection",
                b"x",
            ]
        ),
        st.sampled_from(
            [b"", b"a", b"/", b"*", b"0", b"https", b"shop.example", b"a\r\nb: c", b" a", b"a\n"]
        ),
    ),
)


@given(st.lists(_ANY, max_size=6), st.booleans(), st.booleans())
def test_what_is_taken_is_what_was_sent_and_nothing_more(
    more: list[Pair], complete: bool, ended: bool
) -> None:
    pairs = [*PSEUDO, *more] if complete else more
    try:
        head = read(pairs, ended=ended)
    except ProtocolError:
        return
    sent = [pair for pair in pairs if pair[0][:1] != b":" and pair[0] not in (b"host", b"cookie")]
    added = (
        [(b"content-length", b"0")] if ended and head.method in (b"POST", b"PUT", b"PATCH") else []
    )
    assert [pair for pair in head.fields.pairs() if pair[0] not in (b"host", b"cookie")] in (
        sent,
        sent + added,
    )
    assert head.fields.get_all(b"host") == [head.authority]
    assert head.authority in {value for name, value in pairs if name in (b":authority", b"host")}
    cookies = [value for name, value in pairs if name == b"cookie"]
    assert head.fields.get_all(b"cookie") == (
        [b"; ".join(cookies).strip(b" \t")] if cookies else []
    )
    assert dict(pairs)[b":method"] == head.method
    assert dict(pairs)[b":path"] == head.target


def test_trailers_that_a_head_announces_are_taken() -> None:
    """As a connection does it: the head's own Trailer field decides."""
    head = read([*PSEUDO, (b"te", b"trailers"), (b"trailer", b"X-Sum, content-type")], ended=False)
    sent = [(b"x-sum", b"1"), (b"x-user", b"admin"), (b"content-type", b"no")]
    assert trailer_pairs(sent, announced_trailers(head.fields)) == [(b"x-sum", b"1")]
