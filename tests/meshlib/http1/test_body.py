import pytest

from meshlib.errors import RequestHeadError
from meshlib.http1 import RequestBody, parse_fields


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_a_body_with_a_length_ends_there_however_it_is_cut(step: int) -> None:
    body = RequestBody(parse_fields(b"Content-Length: 5\r\n"))
    data = b"helloNEXT"
    out, position = b"", 0
    while not body.done:
        piece = data[position : position + step]
        out += body.receive_data(piece)
        position += body.position
    assert (out, data[position:], body.size) == (b"hello", b"NEXT", 5)


def test_a_request_without_a_body_takes_no_bytes() -> None:
    for block in (b"", b"Content-Length: 0\r\n"):
        body = RequestBody(parse_fields(block))
        assert body.done
        assert body.receive_data(b"NEXT") == b""
        assert body.position == 0


def test_chunked_as_wire_and_as_payload() -> None:
    fields = parse_fields(b"Transfer-Encoding: chunked\r\n")
    wire = RequestBody(fields)
    assert (
        wire.receive_data(b"2;x\r\nab\r\n1\r\nc\r\n0\r\n\r\nNEXT")
        == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    assert (wire.done, wire.position) == (True, 20)
    payload = RequestBody(fields, payload=True)
    assert payload.receive_data(b"2;x\r\nab\r\n1\r\nc\r\n") == b"abc"
    assert not payload.done
    with pytest.raises(RequestHeadError):
        payload.receive_data(b"nonsense")


def test_a_body_in_the_middle_of_a_read() -> None:
    """What stands before and behind it is not touched, and nothing of that is copied."""
    for block, wire in (
        (b"Content-Length: 5\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ):
        body = RequestBody(parse_fields(block))
        assert body.receive_data(b"BEFORE" + wire + b"BEHIND", 6) == wire
        assert (body.done, body.position) == (True, 6 + len(wire))


def test_as_many_chunks_as_are_wanted() -> None:
    body = RequestBody(parse_fields(b"Transfer-Encoding: chunked\r\n"))
    data = b"1\r\nx\r\n" * 5 + b"0\r\n\r\nNEXT"
    assert body.receive_data(data, 0, 2) == b"1\r\nx\r\n" * 2
    assert (body.done, body.position, body.chunks) == (False, 12, 2)
    assert body.receive_data(data, body.position, 100) == b"1\r\nx\r\n" * 3 + b"0\r\n\r\n"
    assert (body.done, data[body.position :], body.chunks) == (True, b"NEXT", 4)
    assert (body.receive_data(data, body.position), body.chunks, data[body.position :]) == (
        b"",
        0,
        b"NEXT",
    )
