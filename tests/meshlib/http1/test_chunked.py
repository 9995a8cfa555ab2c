import re

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError, ResponseHeadError
from meshlib.http1 import LAST_CHUNK, ChunkedReader, chunk_head

# (wire, payload, the same as sent on, bytes behind)
GOOD = [
    (b"0\r\n\r\n", b"", b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"GET"),
    (b"5\r\nhello\r\n00\r\n\r\n", b"hello", b"5\r\nhello\r\n00\r\n\r\n", b""),
    (b"A\r\n0123456789\r\n0\r\n\r\n\r\n", b"0123456789", b"A\r\n0123456789\r\n0\r\n\r\n", b"\r\n"),
    (
        b'1;a=b\r\nx\r\n1 \t;c="d e"\r\ny\r\n0;z\r\n\r\n',
        b"xy",
        b"1\r\nx\r\n1\r\ny\r\n0\r\n\r\n",
        b"",
    ),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", b"2\r\n\r\n\r\n0\r\n\r\n", b""),
    (
        b"1\r\nx\r\n0\r\nDigest: 1\r\nHost: evil\r\nX-Sum: 2\r\n\r\nrest",
        b"x",
        b"1\r\nx\r\n0\r\nDigest: 1\r\n\r\n",
        b"rest",
    ),
    (b"000000000000001\r\nx\r\n0\r\n\r\n", b"x", b"000000000000001\r\nx\r\n0\r\n\r\n", b""),
]


@pytest.mark.parametrize(("wire", "payload", "clean", "rest"), GOOD)
def test_a_chunked_body_is_decoded_or_relayed_clean(
    wire: bytes, payload: bytes, clean: bytes, rest: bytes
) -> None:
    reader = ChunkedReader()
    assert b"".join(reader.receive_data(wire)) == payload
    assert reader.done
    assert wire[reader.position :] == rest
    relay = ChunkedReader(relay=True)
    assert b"".join(relay.receive_data(wire)) == clean
    assert wire[relay.position :] == rest


@pytest.mark.parametrize(("wire", "payload", "clean", "rest"), GOOD)
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_chunked_body_may_be_cut_anywhere(
    wire: bytes, payload: bytes, clean: bytes, rest: bytes, step: int
) -> None:
    for relay, wanted in ((False, payload), (True, clean)):
        reader = ChunkedReader(relay=relay)
        out = b""
        position = 0
        while not reader.done:
            out += b"".join(reader.receive_data(wire[position : position + step]))
            position += reader.position
        assert wire[position:] == rest
        if step == 1 or wanted is payload:
            assert _plain(out) == _plain(wanted) if relay else out == wanted


def _plain(wire: bytes) -> bytes:
    # Size lines that were cut by a read are sent on without leading zeros; the chunks are the same.
    reader = ChunkedReader(relay=False)
    return b"|".join(
        [*reader.receive_data(wire), reader.trailers, b"done" if reader.done else b"cut"]
    )


def test_plain_chunks_are_sent_on_as_the_very_bytes() -> None:
    data = b"5\r\nhello\r\n5\r\nworld\r\n3\r\nabc"
    reader = ChunkedReader(relay=True)
    (piece,) = reader.receive_data(data)
    assert piece == data
    assert not reader.done


BAD = [
    (b"\r\n", "bad_chunk_size"),
    (b"x\r\n", "bad_chunk_size"),
    (b"+5\r\nhello", "bad_chunk_size"),
    (b"-5\r\nhello", "bad_chunk_size"),
    (b"0x5\r\nhello", "bad_chunk_size"),
    (b"5_0\r\nhello", "bad_chunk_size"),
    (b" 5\r\nhello", "bad_chunk_size"),
    (b"5 \r\nhello", "bad_chunk_size"),
    (b"5\nhello", "bad_chunk_size"),
    (b"5\rhello", "bad_chunk_size"),
    (b"5;a\nb\r\nhello", "bad_chunk_size"),
    (b"5;a\x00\r\nhello", "bad_chunk_size"),
    (b"ffffffffffffffff\r\n", "bad_chunk_size"),
    (b"5\r\nhelloX\r\n0\r\n\r\n", "bad_chunk_end"),
    (b"5\r\nhello\n0\r\n\r\n", "bad_chunk_end"),
    (b"5\r\nhello\r0\r\n\r\n", "bad_chunk_end"),
    (b"5\r\nhell\r\n0\r\n\r\n", "bad_chunk_end"),
    (b"0\r\nbad trailer\r\n\r\n", "bad_trailer"),
    (b"0\r\nX: a\nb: c\r\n\r\n", "bad_trailer"),
    (b"0\r\n\rX\r\n\r\n", "bad_trailer"),
]


@pytest.mark.parametrize(("wire", "reason"), BAD)
@pytest.mark.parametrize("step", [100, 1, 2, 3])
@pytest.mark.parametrize("relay", [False, True])
def test_bad_chunks_are_refused_with_a_reason(
    wire: bytes, reason: str, step: int, relay: bool
) -> None:
    reader = ChunkedReader(relay=relay)
    with pytest.raises(RequestHeadError) as caught:
        for position in range(0, len(wire), step):
            reader.receive_data(wire[position : position + step])
    assert caught.value.reason == reason
    reader = ChunkedReader(relay=relay, response=True)
    if b"5 " in wire:  # the one thing that responses may
        reader.receive_data(wire)
        return
    with pytest.raises(ResponseHeadError):
        reader.receive_data(wire)


@pytest.mark.parametrize("step", [1, 2, 3, 100])
@pytest.mark.parametrize("relay", [False, True])
def test_sizes_in_responses_may_be_filled_up_with_blanks(step: int, relay: bool) -> None:
    wire = b"5 \r\nhello\r\n5;x\r\nagain\r\n0 \t \r\n\r\n"
    reader = ChunkedReader(relay=relay, response=True)
    pieces: list[bytes] = []
    for position in range(0, len(wire), step):
        pieces += reader.receive_data(wire[position : position + step])
    clean = b"5\r\nhello\r\n5\r\nagain\r\n0\r\n\r\n"
    assert b"".join(pieces) == (clean if relay else b"helloagain")
    assert reader.done


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (b"5;" + b"a" * 2000, "chunk size line"),
        (b"5;" + b"a" * 2000 + b"\r\n", "chunk extensions"),
        ((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20, "chunk extensions"),
        (b"0\r\n" + b"X: " + b"a" * 10000, "trailer section"),
    ],
)
@pytest.mark.parametrize("step", [100_000, 1, 13])
@pytest.mark.parametrize("response", [False, True])
def test_chunks_have_limits(wire: bytes, what: str, step: int, response: bool) -> None:
    reader = ChunkedReader(response=response)
    with pytest.raises(LimitExceeded) as caught:
        for position in range(0, len(wire), step):
            reader.receive_data(wire[position : position + step])
    assert caught.value.what == what or step != 100_000
    assert caught.value.status_hint == (502 if response else 400)


def test_the_parts_we_write() -> None:
    wire = chunk_head(5) + b"hello\r\n" + LAST_CHUNK
    assert ChunkedReader().receive_data(wire) == [b"hello"]


def test_after_the_end_nothing_is_taken() -> None:
    reader = ChunkedReader()
    reader.receive_data(b"0\r\n\r\n")
    assert reader.receive_data(b"more") == []
    assert reader.position == 0
    assert reader.receive_data(b"more", 2) == []
    assert reader.position == 2


@pytest.mark.parametrize("relay", [False, True])
def test_a_call_reads_no_more_chunks_than_it_may(relay: bool) -> None:
    data = b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
    reader = ChunkedReader(relay=relay)
    pieces, position = [], 0
    for read, end in ((1, 6), (1, 12), (1, len(data))):
        pieces.append(b"".join(reader.receive_data(data, position, 1)))
        position = reader.position
        assert (reader.chunks, position) == (read, end)
    assert pieces == ([b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"] if relay else [b"a", b"b", b""])
    assert reader.done


_WIRE = st.lists(
    st.sampled_from(
        [
            b"5\r\nhello\r\n",
            b"1;x\r\na\r\n",
            b"0\r\n",
            b"\r\n",
            b"X: y\r\n",
            b"5",
            b"\r",
            b"\n",
            b";",
            b"hello",
            b"0",
            b"g",
        ]
    ),
    max_size=10,
).map(b"".join)


@given(_WIRE, st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_splits_do_not_matter(wire: bytes, steps: list[int]) -> None:
    whole, wanted = _run(wire, [len(wire) or 1])
    parts, seen = _run(wire, steps)
    assert (whole is None) == (parts is None) or not wanted[1]
    if whole is not None and parts is not None:
        assert wanted == seen


def _run(wire: bytes, steps: list[int]) -> tuple[bytes | None, tuple[bytes, bool, bytes]]:
    reader = ChunkedReader()
    out, position, index = b"", 0, 0
    try:
        while position < len(wire) and not reader.done:
            step = steps[index % len(steps)]
            out += b"".join(reader.receive_data(wire[position : position + step]))
            position += reader.position
            index += 1
    except ProtocolError:
        return None, (out, False, b"")
    return out, (out, reader.done, wire[position:] if reader.done else b"")


@given(_WIRE, st.integers(1, 3), st.booleans(), st.binary(max_size=3))
def test_how_many_chunks_a_call_may_read_does_not_matter(
    wire: bytes, most: int, relay: bool, before: bytes
) -> None:
    """Nor where in the data they begin; and it never reads more than it may."""
    data = before + wire
    whole, parts = ChunkedReader(relay=relay), ChunkedReader(relay=relay)
    try:
        out = b"".join(whole.receive_data(wire))
    except ProtocolError as error:
        with pytest.raises(type(error), match=re.escape(str(error))):
            _in_turns(parts, data, len(before), most)
        return
    assert _in_turns(parts, data, len(before), most) == out
    assert (parts.done, parts.position, parts.trailers) == (
        whole.done,
        whole.position + len(before),
        whole.trailers,
    )


def _in_turns(reader: ChunkedReader, data: bytes, position: int, most: int) -> bytes:
    out = b""
    while True:
        out += b"".join(reader.receive_data(data, position, most))
        assert reader.chunks <= most
        if reader.done or reader.position == len(data):
            return out
        assert reader.chunks == most
        position = reader.position


@given(_WIRE)
def test_what_we_accept_h11_reads_the_same(wire: bytes) -> None:
    out, (payload, done, rest) = _run(wire, [len(wire) or 1])
    if out is None or not done:
        return
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    theirs.next_event()
    data = b""
    while isinstance(event := theirs.next_event(), h11.Data):
        data += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert data == payload
    assert theirs.trailing_data[0] == rest


_LAST = (b"\r\n0\r\n\r\n", b"\n0\r\n\r\n", b"0\r\n\r\n", *(b"a: b\r\n\r\n"[at:] for at in range(8)))
_RESTS = [
    size + b"x" * left + last
    for size in (b"", b"\n", b"\r\n", b";\r\n")
    for last in _LAST
    for left in ((0, 1, 5) if size else range(6))
]


def _can_become_right(wire: bytes) -> bool:
    for rest in _RESTS:
        reader = ChunkedReader()
        try:
            reader.receive_data(wire + rest)
        except ProtocolError:
            continue
        if reader.done:
            return True
    return False


@given(
    st.lists(
        st.sampled_from(
            [
                b"1\r\na\r\n",
                b"5;x\r\nhello\r\n",
                b"0\r\n",
                b"0\r\n\n",
                b"X: y\r\n",
                b"X: y\n",
                b"0",
                b"\r",
                b"\n",
                b" ",
                b";",
                b"g",
                b"\x00",
            ]
        ),
        max_size=5,
    ).map(b"".join)
)
@settings(max_examples=60)
def test_what_no_rest_could_make_right_is_refused_with_the_byte_that_has_it_so(wire: bytes) -> None:
    """In every part: size lines, ends of chunks, trailers. The judge reads what has come, with
    every rest that there may be, in one piece.
    """
    reader = ChunkedReader()
    for size in range(1, len(wire) + 1):
        try:
            reader.receive_data(wire[size - 1 : size])
        except ProtocolError:
            assert not _can_become_right(wire[:size]), wire[:size]
            return
        if reader.done:
            return
        assert _can_become_right(wire[:size]), wire[:size]


@pytest.mark.parametrize(
    "wire",
    [
        b"0\r\n\n",
        b"0\r\n\ra",
        b"0\r\nX: y\n",
        b"0\r\nX: y\r\n\n",
        b"0\r\nX: y\r\n\ra",
        b"0\r\nno trailer\r\n",
        b"0\r\n folded",
        b"1 \r",
        b"\r",
    ],
)
@pytest.mark.parametrize("step", [1, 100])
def test_a_wrong_byte_is_not_waited_behind(wire: bytes, step: int) -> None:
    reader = ChunkedReader(relay=True)
    with pytest.raises(RequestHeadError):
        for at in range(0, len(wire), step):
            reader.receive_data(wire[at : at + step])


def test_padded_sizes_are_no_extensions() -> None:
    reader = ChunkedReader(response=True)
    chunk = b"5       \r\nhello\r\n"
    assert len(b"".join(reader.receive_data(chunk * 4000, most=5000))) == 5 * 4000
    wide = b"5" + b" " * 1000 + b"\r\nhello\r\n"
    with pytest.raises(LimitExceeded):
        ChunkedReader(response=True).receive_data(wide * 17, most=50)
