import json
from pathlib import Path
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ProtocolError, RequestHeadError
from meshlib.http1 import HeadBuffer, head_of, parse_request_head, section_of
from meshlib.need_data import NEED_DATA

VECTORS = Path(__file__).parents[2] / "vectors" / "http1"
REFUSED = json.loads((VECTORS / "refused-requests.json").read_text("utf-8"))
ACCEPTED = json.loads((VECTORS / "accepted-requests.json").read_text("utf-8"))


@pytest.mark.parametrize(("name", "text", "status", "reason"), REFUSED, ids=[v[0] for v in REFUSED])
def test_a_bad_head_is_refused_with_status_and_reason(
    name: str, text: str, status: int, reason: str
) -> None:
    with pytest.raises(RequestHeadError) as caught:
        parse_request_head(text.encode("latin-1"))
    assert (caught.value.status_hint, caught.value.reason) == (status, reason)
    assert str(caught.value)


@pytest.mark.parametrize(("name", "text", "facts"), ACCEPTED, ids=[v[0] for v in ACCEPTED])
def test_a_good_head_is_read_with_its_facts(name: str, text: str, facts: dict[str, Any]) -> None:
    head = parse_request_head(text.encode("latin-1"))
    for key, value in facts.items():
        seen: Any = getattr(head, key, None) if hasattr(head, key) else getattr(head.fields, key)
        if isinstance(seen, bytes):
            seen = seen.decode("latin-1")
        if isinstance(seen, frozenset):
            seen = sorted(option.decode() for option in seen)
        assert seen == value, key
    assert head.fields.block == text.encode("latin-1").partition(b"\r\n")[2][:-2]


@pytest.mark.parametrize(("name", "text", "facts"), ACCEPTED, ids=[v[0] for v in ACCEPTED])
def test_h11_reads_the_same(name: str, text: str, facts: dict[str, Any]) -> None:
    ours = parse_request_head(text.encode("latin-1"))
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(text.encode("latin-1"))
    event = theirs.next_event()
    assert isinstance(event, h11.Request)
    assert event.method == ours.method
    # h11 writes the coding's name in lower case.
    assert [(k.lower(), v.lower()) for k, v in ours.fields.pairs()] == [
        (k, v.lower()) for k, v in event.headers
    ]
    if not event.target.lower().startswith(b"http"):
        assert event.target == ours.target


@given(st.binary(max_size=300))
def test_no_other_exception(data: bytes) -> None:
    try:
        parse_request_head(data + b"\r\n\r\n")
    except ProtocolError:
        pass


_WORDS = [
    b"GET",
    b" ",
    b"/",
    b" HTTP/1.1",
    b"\r\n",
    b"\n",
    b"\r",
    b"Host: a",
    b"Content-Length: ",
    b"5",
    b"\x00",
    b":",
    b"\t",
]
_WORDS += [
    b"Transfer-Encoding: chunked",
    b"X: y",
    b"Connection: ",
    b"close",
    b",",
    b"http://h",
    b"*",
    b"OPTIONS",
    b"#",
    b"\xff",
]
_PIECES = st.sampled_from(_WORDS)


@given(st.lists(_PIECES, max_size=14))
def test_what_we_accept_h11_reads_the_same(pieces: list[bytes]) -> None:
    data = b"".join(pieces) + b"\r\n\r\n"
    buffer = HeadBuffer(4096)
    try:
        raw = buffer.receive_data(data)
        if raw is NEED_DATA:
            return
        ours = parse_request_head(raw)
    except ProtocolError:
        return
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(raw)
    event = theirs.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, [v for k, v in event.headers if k == b"host"]) == (
        ours.method,
        ours.fields.get_all(b"host"),
    )
    lengths = [int(v) for k, v in event.headers if k == b"content-length"]
    assert lengths == ([] if ours.fields.content_length is None else [ours.fields.content_length])


def test_head_of_parts() -> None:
    fields = section_of([(b"Host", b"a")])
    assert head_of(b"GET", b"/x?y", 1, fields) == parse_request_head(
        b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert head_of(b"OPTIONS", b"*", 0, fields).target == b"*"


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        (b"GET", b"", 400),
        (b"GET", b"a", 400),
        (b"GET", b"*", 400),
        (b"GET", b"/#", 400),
        (b"GET", b"/ x", 400),
        (b"GET", b"/\xc3\xa4", 400),
        (b"GET", b"/ HTTP/1.1\r\nX: y", 400),
        (b"GET", b"/\r\n", 400),
        (b"", b"/", 400),
        (b"GET /", b"/", 400),
        (b"GET / HTTP/1.1\r\nX:", b"/", 400),
        (b"G\xff", b"/", 400),
        (b"CONNECT", b"a:80", 405),
        (b"TRACE", b"/", 405),
    ],
)
def test_head_of_refuses_what_the_wire_does(method: bytes, target: bytes, status: int) -> None:
    with pytest.raises(RequestHeadError) as caught:
        head_of(method, target, 1, section_of([(b"host", b"a")]))
    assert caught.value.status_hint == status


@given(st.binary(max_size=6), st.binary(max_size=12), st.sampled_from([0, 1, 2]))
def test_head_of_never_makes_another_line(method: bytes, target: bytes, version: int) -> None:
    try:
        head = head_of(method, b"/" + target, version, section_of([(b"host", b"a")]))
    except ProtocolError:
        return
    assert (
        parse_request_head(b"%s %s HTTP/1.%d\r\nhost: a\r\n\r\n" % (method, b"/" + target, version))
        == head
    )
