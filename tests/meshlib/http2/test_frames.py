"""Frames, however their bytes come."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import FrameError
from meshlib.http2 import Flag, FrameReader, Kind, block_of, body_of

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def read(reader: FrameReader) -> list[tuple[int, int, int, bytes]]:
    frames = []
    while (raw := reader.next_frame()) is not None:
        frames.append((*raw[:3], bytes(raw[3])))
    return frames


PIECES = st.one_of(
    st.builds(
        lambda size, end: frame(Kind.DATA, end, 1, b"d" * size),
        st.integers(0, 300),
        st.sampled_from([0, Flag.END_STREAM]),
    ),
    st.just(frame(Kind.HEADERS, Flag.END_HEADERS, 3, b"h" * 20)),
    st.just(
        frame(Kind.HEADERS, 0, 5, b"h")
        + frame(Kind.CONTINUATION, 0, 5, b"")
        + frame(Kind.CONTINUATION, Flag.END_HEADERS, 5, b"i")
    ),
    st.just(frame(Kind.PRIORITY, 0, 7, b"12345")),
    st.just(frame(Kind.RST_STREAM, 0, 7, b"1234")),
    st.just(frame(Kind.SETTINGS, 0, 0, b"123456" * 32)),
    st.just(frame(Kind.SETTINGS, Flag.ACK)),
    st.just(frame(Kind.PING, 0, 0, b"12345678")),
    st.just(frame(Kind.GOAWAY, 0, 0, b"12345678and why")),
    st.just(frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\1")),
    st.just(frame(Kind.WINDOW_UPDATE, 0, 1, b"\0\0\1\0")),
    st.just(frame(0x42, 255, 0, b"unknown")),
)


@given(
    st.lists(PIECES, max_size=12),
    st.lists(st.integers(1, 60), max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_pieces_make_no_difference(
    wires: list[bytes], cuts: list[int], greedy: bool, preface: bool
) -> None:
    """The frames are the same in one piece and in many, and whether they are asked for after each
    piece or at the end.
    """
    wire = b"".join(wires)
    whole = FrameReader()
    whole.receive_data(wire)
    expected = read(whole)
    assert b"".join(frame(*raw) for raw in expected) == wire
    reader = FrameReader(preface=PREFACE if preface else b"")
    rest = PREFACE + wire if preface else wire
    found = []
    for size in cuts:
        reader.receive_data(rest[:size])
        rest = rest[size:]
        if greedy:
            found += read(reader)
    reader.receive_data(rest)
    found += read(reader)
    assert found == expected
    assert reader.unread == 0
    assert not reader.in_head


def test_the_reserved_bit_of_a_stream_is_ignored() -> None:
    reader = FrameReader()
    reader.receive_data(frame(Kind.DATA, 0, 0x80000001))
    assert read(reader) == [(Kind.DATA, 0, 1, b"")]


@pytest.mark.parametrize(
    ("wire", "code", "stream"),
    [
        (frame(Kind.DATA, 0, 0), 1, 0),
        (frame(Kind.HEADERS, 4, 0), 1, 0),
        (frame(Kind.PRIORITY, 0, 0, b"12345"), 1, 0),
        (frame(Kind.RST_STREAM, 0, 0, b"1234"), 1, 0),
        (frame(Kind.SETTINGS, 0, 1), 1, 0),
        (frame(Kind.PING, 0, 1, b"12345678"), 1, 0),
        (frame(Kind.GOAWAY, 0, 1, b"12345678"), 1, 0),
        (frame(Kind.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), 1, 0),
        (frame(Kind.CONTINUATION, 4, 1), 1, 0),
        (frame(Kind.CONTINUATION, 4, 0), 1, 0),
        (frame(Kind.PRIORITY, 0, 3, b"1234"), 6, 3),
        (frame(Kind.PRIORITY, 0, 3, b"123456"), 6, 3),
        (frame(Kind.RST_STREAM, 0, 3, b"12345"), 6, 0),
        (frame(Kind.PING, 0, 0, b"1234567"), 6, 0),
        (frame(Kind.GOAWAY, 0, 0, b"1234567"), 6, 0),
        (frame(Kind.SETTINGS, 0, 0, b"12345"), 6, 0),
        (frame(Kind.SETTINGS, 1, 0, b"123456"), 6, 0),
        (frame(Kind.SETTINGS, 0, 0, b"123456" * 33), 11, 0),
        (frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\1"), 6, 0),
        (frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), 1, 0),
        (frame(Kind.WINDOW_UPDATE, 0, 9, b"\x80\0\0\0"), 1, 9),
        (frame(Kind.HEADERS, 0, 1) + frame(Kind.DATA, 0, 1), 1, 0),
        (frame(Kind.HEADERS, 0, 1) + frame(0x42, 0, 1), 1, 0),
        (frame(Kind.HEADERS, 0, 1) + frame(Kind.CONTINUATION, 4, 3), 1, 0),
        (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", 6, 0),
    ],
)
def test_frames_that_must_not_be(wire: bytes, code: int, stream: int) -> None:
    """RFC 9113 6: what ends the connection, and what only a stream. A frame that is too large is
    refused by its nine bytes.
    """
    reader = FrameReader()
    reader.receive_data(wire)
    with pytest.raises(FrameError) as caught:
        read(reader)
    assert (caught.value.code, caught.value.stream) == (code, stream)


def test_a_stream_that_fails_takes_nothing_along() -> None:
    reader = FrameReader()
    reader.receive_data(frame(Kind.WINDOW_UPDATE, 0, 9, bytes(4)) + frame(Kind.DATA, 0, 11, b"x"))
    with pytest.raises(FrameError):
        reader.next_frame()
    assert read(reader) == [(Kind.DATA, 0, 11, b"x")]


@pytest.mark.parametrize("wire", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSX"])
def test_another_preface_is_an_error(wire: bytes) -> None:
    reader = FrameReader(preface=PREFACE)
    reader.receive_data(wire[:2])
    reader.receive_data(wire[2:])
    with pytest.raises(FrameError, match="preface"):
        reader.next_frame()


def test_a_head_that_has_begun() -> None:
    reader = FrameReader()
    wire = frame(Kind.HEADERS, 0, 1, b"abc") + frame(Kind.CONTINUATION, Flag.END_HEADERS, 1, b"def")
    seen = []
    for index in range(len(wire)):
        reader.receive_data(wire[index : index + 1])
        read(reader)
        seen.append(reader.in_head)
    assert seen == [index >= 3 for index in range(len(wire) - 1)] + [False]
    reader.receive_data(frame(Kind.PING, 0, 0, b"12345678")[:12])
    assert read(reader) == []
    assert not reader.in_head


def test_what_comes_next() -> None:
    reader = FrameReader()
    assert reader.next_kind == -1
    reader.receive_data(frame(Kind.DATA, 0, 1) + frame(Kind.RST_STREAM, 0, 1, b"1234"))
    reader.next_frame()
    assert reader.next_kind == Kind.RST_STREAM
    reader.next_frame()
    assert reader.next_kind == -1
    assert re.fullmatch(r"<FrameReader unread=0>", repr(reader))


def test_no_byte_is_looked_at_again_and_again() -> None:
    """A frame of 16 KiB that comes byte by byte, many of them: what is kept is less than a frame,
    and is not copied for each byte.
    """
    reader = FrameReader()
    wire = frame(Kind.DATA, 0, 1, b"x" * 16384)
    copied = 0
    for index in range(len(wire)):
        before = reader._data
        reader.receive_data(wire[index : index + 1])
        if (raw := reader.next_frame()) is not None:
            copied += len(raw[3])
        if reader._data is not before:
            copied += len(reader._data)
        assert reader.unread <= len(wire)
    assert copied < 3 * len(wire)


def test_padding_and_priority() -> None:
    assert bytes(body_of(0, memoryview(b"abc"))) == b"abc"
    assert bytes(body_of(Flag.PADDED, memoryview(b"\2abc12"))) == b"abc"
    assert bytes(body_of(Flag.PADDED, memoryview(b"\0"))) == b""
    block, depends_on = block_of(Flag.END_HEADERS, memoryview(b"abc"))
    assert (bytes(block), depends_on) == (b"abc", -1)
    block, depends_on = block_of(Flag.PRIORITY | Flag.PADDED, memoryview(b"\1\x80\0\0\7wabc1"))
    assert (bytes(block), depends_on) == (b"abc", 7)


@pytest.mark.parametrize(
    ("flags", "payload", "code"),
    [(8, b"", 1), (8, b"\x01", 1), (8, b"\x03ab", 1), (32, b"1234", 6), (40, b"\x0412345678", 6)],
)
def test_frames_that_have_less_than_they_say(flags: int, payload: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        block_of(flags, memoryview(payload))
    assert (caught.value.code, caught.value.stream) == (code, 0)
