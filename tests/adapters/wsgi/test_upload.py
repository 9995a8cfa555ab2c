from __future__ import annotations

import io

import pytest

from meshlib.errors import RequestHeadError
from meshlib_adapters.wsgi.upload import PIECE, Upload


class Trickling(io.BytesIO):
    """Gives three bytes at a time, whatever is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3)


class Generous(io.BytesIO):
    """Gives all there is, whatever is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read()


def pieces(upload: Upload) -> list[bytes]:
    found = []
    done = False
    while not done:
        data, done = upload.read()
        found.append(data)
    return found


def test_a_body_is_read_in_pieces_to_its_length() -> None:
    stream = io.BytesIO(b"x" * (PIECE + 1) + b"the next request")
    assert [len(piece) for piece in pieces(Upload(stream, PIECE + 1))] == [PIECE, 1]
    assert stream.read() == b"the next request"
    assert pieces(Upload(Trickling(b"12345"), 5)) == [b"123", b"45"]


def test_a_body_without_a_length_ends_with_its_stream() -> None:
    assert pieces(Upload(io.BytesIO(b"12345"), None)) == [b"12345", b""]
    assert pieces(Upload(Trickling(b"345"), None, b"12")) == [b"12", b"345", b""]
    assert pieces(Upload(io.BytesIO(), None)) == [b""]


@pytest.mark.parametrize(("stream", "length"), [(io.BytesIO(b"1234"), 5), (Generous(b"123456"), 5)])
def test_a_body_of_another_length_is_an_error(stream: io.BytesIO, length: int) -> None:
    with pytest.raises(RequestHeadError) as caught:
        pieces(Upload(stream, length))
    assert (caught.value.status_hint, caught.value.reason) == (400, "bad_body_length")
