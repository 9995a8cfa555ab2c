"""What waits for a client's windows: bytes in order, in few pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib_adapters.http2.send_buffer import SendBuffer


def test_small_pieces_are_kept_as_one_and_share_a_frame() -> None:
    buffer = SendBuffer()
    assert [buffer.append([b"x"]) for _ in range(1024)] == [1] * 1024
    assert (buffer.pieces, buffer.size) == (1, 1024)
    assert buffer.append([b"y" * 1000, b"z" * 24]) == 1024
    assert buffer.append([b"a" * 2000]) == 2000
    assert (buffer.pieces, buffer.size) == (3, 4048)
    assert buffer.take(2050) == b"x" * 1024 + b"y" * 1000 + b"z" * 24
    assert buffer.take(1500) == b"a" * 1500
    assert repr(buffer) == "<SendBuffer size=500>"
    assert buffer.take(1500) == b"a" * 500
    assert (buffer.take(10), buffer.pieces, buffer.size) == (b"", 0, 0)


def test_nothing_is_no_piece() -> None:
    buffer = SendBuffer()
    assert buffer.append([]) == buffer.append([b""]) == buffer.append([b"", b""]) == 0
    assert (buffer.pieces, buffer.size) == (0, 0)


def test_what_is_dropped_is_gone() -> None:
    buffer = SendBuffer()
    buffer.append([b"abcdef"])
    assert buffer.take(2) == b"ab"
    assert buffer.clear() == 4
    assert (buffer.size, buffer.pieces, buffer.clear()) == (0, 0, 0)
    buffer.append([b"ghi"])
    assert buffer.take(10) == b"ghi"


def test_the_pace_is_that_of_what_is_there() -> None:
    buffer = SendBuffer()
    buffer.append([b"x" * 10_000])
    assert not buffer.too_slow(0, 0.0, 100.0, 1.0)  # the first look only begins
    assert any(buffer.too_slow(0, float(now), 100.0, 1.0) for now in range(1, 60))
    other = SendBuffer()
    other.append([b"x" * 10_000])
    assert not any(other.too_slow(1000 * now, float(now), 100.0, 1.0) for now in range(60))


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 3000).map(lambda n: b"z" * n))),
    st.lists(st.integers(1, 2500), min_size=1),
)
def test_bytes_come_out_as_they_went_in(parts: list[bytes], rooms: list[int]) -> None:
    buffer = SendBuffer()
    got = []
    for number, part in enumerate(parts):
        buffer.append([part[:3], part[3:]])
        if number % 3 == 0:
            got.append(buffer.take(rooms[number % len(rooms)]))
    number = 0
    while buffer.size:
        room = rooms[number % len(rooms)]
        taken = buffer.take(room)
        assert 0 < len(taken) <= room
        got.append(taken)
        number += 1
    assert b"".join(got) == b"".join(parts)
