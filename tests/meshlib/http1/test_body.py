import pytest

from meshlib.errors import RequestHeadError
from meshlib.http1 import RequestBody, parse_fields


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_length(step: int) -> None:
    body = RequestBody(parse_fields(b"Content-Length: 5\r\n"))
    data = b"helloNEXT"
    out, position = b"", 0
    while not body.done:
        out += body.receive_data(data[position : position + step])
        position += step
    assert (out, body.rest + data[position:], body.size) == (b"hello", b"NEXT", 5)


def test_no_body() -> None:
    for block in (b"", b"Content-Length: 0\r\n"):
        body = RequestBody(parse_fields(block))
        assert body.done
        assert body.receive_data(b"NEXT") == b""
        assert body.rest == b"NEXT"


def test_chunked_as_wire_and_as_payload() -> None:
    fields = parse_fields(b"Transfer-Encoding: chunked\r\n")
    wire = RequestBody(fields)
    assert wire.receive_data(b"2;x\r\nab\r\n1\r\nc\r\n0\r\n\r\nNEXT") == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert (wire.done, wire.rest) == (True, b"NEXT")
    payload = RequestBody(fields, payload=True)
    assert payload.receive_data(b"2;x\r\nab\r\n1\r\nc\r\n") == b"abc"
    assert not payload.done
    with pytest.raises(RequestHeadError):
        payload.receive_data(b"nonsense")
