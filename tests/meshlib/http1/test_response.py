import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ProtocolError, ResponseHeadError
from meshlib.http1 import BodyKind, body_kind, parse_response_head
from meshlib.http1.response import reason_phrase


def head(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("HTTP/1.1 200 OK", 200, b"OK"),
        ("HTTP/1.1 200 ", 200, b""),
        ("HTTP/1.1 200", 200, b""),
        ("HTTP/1.0 404 Not  Found é", 404, b"Not  Found \xe9"),
        ("HTTP/1.1 599 x\ty", 599, b"x\ty"),
    ],
)
def test_a_status_line_is_read(text: str, status: int, reason: bytes) -> None:
    parsed = parse_response_head(head(text))
    assert (parsed.status, parsed.reason) == (status, reason)


@pytest.mark.parametrize(
    "text",
    [
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 99 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1  200 OK",
        "HTTP/2 200",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1 200 a\x00b",
        "HTTP/1.1 2x0 OK",
        "hello",
        "\nHTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 5",
        "HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding: chunked",
        "HTTP/1.1 200 OK\nContent-Length: 5, 5",
        "HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked",
        "HTTP/1.0 200 OK\nTransfer-Encoding: chunked",
        "HTTP/1.1 200 OK\n folded",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 199 x\nContent-Length: 5",
        "HTTP/1.1 103 Early Hints\nTransfer-Encoding: chunked",
    ],
)
def test_a_broken_head_of_a_response_is_a_502(text: str) -> None:
    with pytest.raises(ResponseHeadError) as caught:
        parse_response_head(head(text))
    assert caught.value.status_hint == 502


@pytest.mark.parametrize(
    ("text", "method", "kind"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 5", b"GET", BodyKind.LENGTH),
        ("HTTP/1.1 200 OK\nContent-Length: 5", b"HEAD", BodyKind.NONE),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"HEAD", BodyKind.NONE),
        ("HTTP/1.1 200 OK\nContent-Length: 0", b"GET", BodyKind.NONE),
        ("HTTP/1.1 204 No Content\nContent-Length: 5", b"GET", BodyKind.NONE),
        ("HTTP/1.1 304 Not Modified\nContent-Length: 5", b"GET", BodyKind.NONE),
        ("HTTP/1.1 103 Early Hints", b"GET", BodyKind.NONE),
        ("HTTP/1.1 100 Continue\nContent-Length: 0", b"GET", BodyKind.NONE),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"GET", BodyKind.CHUNKED),
        ("HTTP/1.1 200 OK", b"GET", BodyKind.UNTIL_CLOSE),
        ("HTTP/1.0 200 OK", b"POST", BodyKind.UNTIL_CLOSE),
        ("HTTP/1.1 101 x\nConnection: upgrade\nUpgrade: websocket", b"GET", BodyKind.TUNNEL),
    ],
)
def test_where_the_body_ends(text: str, method: bytes, kind: BodyKind) -> None:
    assert body_kind(parse_response_head(head(text)), method) is kind


@given(st.binary(max_size=200))
def test_no_other_exception(data: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n"):
        try:
            parse_response_head(prefix + data + b"\r\n\r\n")
        except ProtocolError:
            pass


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (100, "Continue"),
        (200, "OK"),
        (308, "Permanent Redirect"),
        (404, "Not Found"),
        (431, "Request Header Fields Too Large"),
    ],
)
def test_phrases_are_the_registered_ones(status: int, text: str) -> None:
    assert reason_phrase(status) == text


@pytest.mark.parametrize("status", [0, 299, 599, 999])
def test_a_status_that_nobody_registered_is_an_error(status: int) -> None:
    assert reason_phrase(status) == "Error"


@given(st.integers(100, 999))
def test_every_phrase_can_stand_in_a_status_line(status: int) -> None:
    parsed = parse_response_head(
        (
            f"HTTP/1.1 {status} {reason_phrase(status)}\r\nUpgrade: x\r\n"
            "Connection: upgrade\r\n\r\n"
        ).encode()
    )
    assert (parsed.status, parsed.reason.decode()) == (status, reason_phrase(status))
