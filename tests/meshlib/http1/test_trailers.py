"""Trailer fields: a list of what may pass, and of nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import LimitExceeded, RequestHeadError, ResponseHeadError
from meshlib.http1 import RequestBody, announced_trailers, may_trail, parse_fields, parse_trailers

NONE: frozenset[bytes] = frozenset()

GOVERNING = [
    *(
        b"content-length",
        b"transfer-encoding",
        b"trailer",
        b"connection",
        b"upgrade",
        b"te",
        b"keep-alive",
        b"proxy-connection",
    ),
    *(
        b"host",
        b"via",
        b"forwarded",
        b"max-forwards",
        b"x-forwarded-for",
        b"x-forwarded",
        b"x-original-url",
    ),
    *(b"x-rewrite-url", b"x-real-ip"),
    *(
        b"authorization",
        b"proxy-authorization",
        b"www-authenticate",
        b"proxy-authenticate",
        b"cookie",
        b"set-cookie",
        b"set-cookie2",
    ),
    *(
        b"client-cert",
        b"client-cert-chain",
        b"x-client-cert-subject",
        b"x-request-id",
        b"authentication-info",
    ),
    *(
        b"content-type",
        b"content-encoding",
        b"content-range",
        b"content-location",
        b"content-disposition",
        b"content-security-policy",
    ),
    *(
        b"cache-control",
        b"expires",
        b"age",
        b"date",
        b"vary",
        b"location",
        b"refresh",
        b"retry-after",
        b"pragma",
        b"warning",
    ),
    *(
        b"range",
        b"expect",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-range",
        b"accept",
        b"accept-encoding",
    ),
    *(
        b"strict-transport-security",
        b"access-control-allow-origin",
        b"x-frame-options",
        b"clear-site-data",
        b"alt-svc",
        b"link",
    ),
    *(b"x-http-method-override", b"sec-websocket-accept", b"http2-settings", b"proxy"),
]


@pytest.mark.parametrize("name", GOVERNING)
def test_what_governs_a_message_never_passes_though_it_was_announced(name: bytes) -> None:
    announced = announced_trailers(parse_fields(b"Trailer: %s, X-Sum\r\n" % name))
    assert not may_trail(name, announced)
    for written in (name, name.title(), name.upper()):
        assert parse_trailers(b"%s: 1\r\nX-Sum: 2\r\n" % written, announced) == b"X-Sum: 2\r\n"
        assert (
            parse_trailers(b"%s: 1\r\nX-Sum: 2\r\n" % written, announced, response=True)
            == b"X-Sum: 2\r\n"
        )


@pytest.mark.parametrize(
    "name", [b"x.forwarded.for", b"x_sum", b"set_cookie", b"grpc-s*", b"x!sum"]
)
def test_a_name_that_may_be_read_as_another_never_passes(name: bytes) -> None:
    assert not may_trail(name, frozenset({name}))


def test_what_was_not_announced_does_not_pass() -> None:
    block = b"X-Sum: 1\r\nX-User: admin\r\n"
    assert parse_trailers(block) == b""
    assert (
        parse_trailers(block, announced_trailers(parse_fields(b"Trailer: x-SUM\r\n")))
        == b"X-Sum: 1\r\n"
    )
    assert parse_trailers(b"") == b""


def test_what_everybody_knows_passes_unannounced() -> None:
    block = (
        b"grpc-status: 0\r\ngrpc-message: fine\r\ngrpc-status-details-bin: AA\r\n"
        b"Server-Timing: db;dur=53\r\n"
    )
    block += (
        b"Content-Digest: sha-256=:AA==:\r\nRepr-Digest: sha-256=:AA==:\r\nDigest: sha-256=AA==\r\n"
    )
    assert parse_trailers(block) == parse_trailers(block, response=True) == block


def test_announcements_of_several_lines_are_one_list() -> None:
    fields = parse_fields(b"Trailer: X-A , ,\tX-B\r\ntrailer: X-C\r\nTE: trailers\r\n")
    assert announced_trailers(fields) - {b""} == {b"x-a", b"x-b", b"x-c"}
    assert announced_trailers(parse_fields(b"TE: trailers\r\n")) == NONE


def test_what_connection_keeps_to_one_hop_does_not_pass_as_a_trailer_either() -> None:
    fields = parse_fields(b"Connection: X-Hop\r\nTrailer: X-Hop, X-Sum\r\n")
    assert announced_trailers(fields) == {b"x-sum"}


def test_a_request_body_passes_what_its_own_head_announced() -> None:
    wire = b"0\r\nX-Sum: 1\r\nX-User: admin\r\n\r\n"
    body = RequestBody(parse_fields(b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"))
    assert body.receive_data(wire) == b"0\r\nX-Sum: 1\r\n\r\n"
    body = RequestBody(parse_fields(b"Transfer-Encoding: chunked\r\n"))
    assert body.receive_data(wire) == b"0\r\n\r\n"


@pytest.mark.parametrize(
    "block",
    [b"a: b\nc: d\r\n", b" a: b\r\n", b"a : b\r\n", b"a: \x01\r\n", b"nonsense\r\n", b"a: b"],
)
def test_a_malformed_section_is_refused_and_not_repaired(block: bytes) -> None:
    with pytest.raises(RequestHeadError):
        parse_trailers(block)
    with pytest.raises(ResponseHeadError):
        parse_trailers(block, response=True)


def test_their_number_is_limited() -> None:
    block = b"a: b\r\n" * 100
    assert parse_trailers(block) == b""
    for response, status in ((False, 431), (True, 502)):
        with pytest.raises(LimitExceeded) as caught:
            parse_trailers(block + b"a: b\r\n", response=response)
        assert caught.value.status_hint == status


@given(
    st.text("abcdefghijklmnopqrstuvwxyz-_.!", min_size=1, max_size=24).map(str.encode),
    st.booleans(),
)
def test_nothing_passes_that_is_neither_known_nor_announced(name: bytes, response: bool) -> None:
    known = name in (
        b"content-digest",
        b"digest",
        b"repr-digest",
        b"server-timing",
    ) or name.startswith(b"grpc-")
    assert bool(parse_trailers(b"%s: 1\r\n" % name, response=response)) <= known
