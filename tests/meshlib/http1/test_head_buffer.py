import json
from pathlib import Path
from typing import Any

import pytest

from meshlib.errors import LimitExceeded, RequestHeadError, ResponseHeadError
from meshlib.http1 import HeadBuffer, parse_request_head
from meshlib.need_data import NEED_DATA, NeedData

VECTORS = Path(__file__).parents[2] / "vectors" / "http1"
ACCEPTED = json.loads((VECTORS / "accepted-requests.json").read_text("utf-8"))


@pytest.mark.parametrize(("name", "text", "facts"), ACCEPTED, ids=[v[0] for v in ACCEPTED])
@pytest.mark.parametrize("before", [b"", b"\r\n"])
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n", b"\r\n\r\n"])
def test_a_head_may_be_cut_anywhere(
    name: str, text: str, facts: dict[str, Any], before: bytes, rest: bytes
) -> None:
    head = text.encode("latin-1")
    data = before + head + rest
    whole = HeadBuffer(4096)
    assert whole.receive_data(data) == head
    assert data[whole.position :] == rest
    assert whole.receive_data(b"BEFORE" + data, 6) == head
    assert (b"BEFORE" + data)[whole.position :] == rest
    single = HeadBuffer(4096)
    for index in range(len(data)):
        result = single.receive_data(data[index : index + 1])
        if result is not NEED_DATA:
            assert result == head
            assert index == len(before) + len(head) - 1
            break
    for cut in range(1, len(data)):
        buffer = HeadBuffer(4096)
        first = buffer.receive_data(data[:cut])
        if first is NEED_DATA:
            assert len(buffer) <= cut
            assert buffer.receive_data(data[cut:]) == head
            assert data[cut + buffer.position :] == rest
        else:
            assert first == head
            assert buffer.position == len(before) + len(head)


def test_a_buffer_is_used_again() -> None:
    buffer = HeadBuffer(100)
    for _ in range(3):
        assert buffer.receive_data(b"\r") is NEED_DATA
        assert buffer.receive_data(b"\nGET / HTT") is NEED_DATA
        assert len(buffer) == 9
        assert buffer.receive_data(b"P/1.1\r\n\r\nx") == b"GET / HTTP/1.1\r\n\r\n"
        assert buffer.position == 9


def test_heads_are_taken_out_of_one_read_one_by_one() -> None:
    """However many there are: what is copied is each head once, whatever stands behind it."""
    heads = [b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(500)]
    data = b"".join(heads) + b"GET /last HTT"
    buffer = HeadBuffer(100)
    taken: list[bytes] = []
    position = 0
    while not isinstance(head := buffer.receive_data(data, position), NeedData):
        taken.append(head)
        position = buffer.position
    assert (taken, buffer.position) == (heads, len(data))
    assert buffer.receive_data(b"P/1.1\r\n\r\nx") == b"GET /last HTTP/1.1\r\n\r\n"
    assert buffer.position == 9


def test_a_cr_that_begins_no_empty_line_is_kept() -> None:
    buffer = HeadBuffer(100)
    assert buffer.receive_data(b"\r") is NEED_DATA
    with pytest.raises(RequestHeadError):
        parse_request_head(bytes(buffer.receive_data(b"G\r\n\r\n")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "reason", "status"),
    [
        (b"GET /" + b"a" * 200, "start_line_too_long", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 200, "head_too_large", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 200 + b"\r\n\r\n", "head_too_large", 431),
        (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\n\r\n", "start_line_too_long", 414),
    ],
)
def test_the_limit_is_on_the_head(data: bytes, reason: str, status: int) -> None:
    for step in (len(data), 1, 7):
        buffer = HeadBuffer(128)
        with pytest.raises(LimitExceeded) as caught:
            for index in range(0, len(data), step):
                buffer.receive_data(data[index : index + step])
        assert (caught.value.reason, caught.value.status_hint) == (reason, status)
    response = HeadBuffer(128, response=True)
    with pytest.raises(LimitExceeded) as caught:
        response.receive_data(data)
    assert caught.value.status_hint == 502


def test_the_limit_itself_fits() -> None:
    head = b"GET / HTTP/1.0\r\nX: " + b"a" * 105 + b"\r\n\r\n"
    assert HeadBuffer(len(head)).receive_data(head) == head
    buffer = HeadBuffer(len(head))
    assert [buffer.receive_data(head[i : i + 1]) for i in range(len(head))][-1] == head


def test_whether_an_empty_line_has_come() -> None:
    buffer = HeadBuffer(100)
    assert not buffer.skipped
    assert isinstance(buffer.receive_data(b"\r\n"), NeedData)
    assert buffer.skipped
    buffer.clear()
    assert not buffer.skipped


def test_an_response_has_no_leading_empty_line() -> None:
    buffer = HeadBuffer(100, response=True)
    assert not buffer.skipped
    assert buffer.receive_data(b"\r\nHTTP/1.1 200 OK\r\n\r\n") == b"\r\nHTTP/1.1 200 OK\r\n\r\n"


def test_each_byte_is_scanned_once() -> None:
    # Not a time: bytes handed to the search. A buffer that starts over at each read would scan n**2
    # / 2 of them.
    class Counting(bytearray):
        scanned = 0

        def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
            Counting.scanned += len(self) - (start or 0)
            return super().find(sub, start)

        def rfind(self, sub: Any, start: Any = 0, end: Any = None) -> int:
            Counting.scanned += len(self) - (start or 0)
            return super().rfind(sub, start)

    for begin in (b"GET /", b"GET / HTTP/1.1\r\nX: "):
        for size in (1000, 10_000):
            Counting.scanned = 0
            buffer = HeadBuffer(1 << 20)
            buffer._buffer = Counting()
            buffer.receive_data(begin)
            for _ in range(size):
                buffer.receive_data(b"a")
            assert Counting.scanned <= 7 * size


@pytest.mark.parametrize("response", [False, True])
def test_a_cleared_buffer_is_as_new(response: bool) -> None:
    buffer = HeadBuffer(64, response=response)
    raw = b"HTTP/1.1 200 OK\r\n\r\n" if response else b"GET / HTTP/1.0\r\n\r\n"
    for before in (b"\r", b"\r\n", raw[:7], raw[:-1], raw + raw):
        if response and before.startswith(b"\r"):
            continue
        buffer.receive_data(before)
        buffer.clear()
        assert (len(buffer), buffer.position) == (0, 0)
        if not response:
            assert buffer.receive_data(b"\r\n") is NEED_DATA  # one empty line is skipped again
        assert buffer.receive_data(raw) == raw


@pytest.mark.parametrize(
    "start",
    [
        b"\x16\x03\x01",
        b"GET /\r\n",
        b"GET /\n",
        b" GET",
        b"PRI * HTTP/2.0\r\n",
        b"GET / HTTP/1.1\n",
        b"\r\nGET\r\n",
        b"\rG",
        b"\r\n\r",
        b"\n",
    ],
)
def test_what_can_become_no_request_is_not_waited_for(start: bytes) -> None:
    for step in (1, 2, len(start)):
        buffer = HeadBuffer(64)
        with pytest.raises(RequestHeadError) as caught:
            for at in range(0, len(start), step):
                buffer.receive_data(start[at : at + step])
        assert caught.value.reason == "bad_request_line"


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\n", "bad_field"),
        (b"GET / HTTP/1.1\r\nHost: a\n", "bad_field"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "bad_field"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\ra", "bad_field"),
        (b"GET / HTTP/1.1\r\nno field\r\n", "bad_field"),
        (b"GET / HTTP/1.1\r\n folded", "bad_field"),
        (b"GET / HTTP/1.1\r\nHost : a", "bad_field"),
        (b"GET / HTTP/1.1\r\n\r", "missing_host"),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n", "bad_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nHost: a\r\n", "repeated_host"),
    ],
)
def test_what_can_become_no_head_is_not_waited_for(start: bytes, reason: str) -> None:
    """One empty line may stand before it, which changes nothing; and nor does it where the reads
    end.
    """
    for data in (start, b"\r\n" + start):
        for step in (1, 2, 1000):
            buffer = HeadBuffer(1000)
            with pytest.raises(RequestHeadError) as caught:
                for at in range(0, len(data), step):
                    buffer.receive_data(data[at : at + step])
            assert caught.value.reason == reason


def test_more_fields_than_may_be_are_not_waited_for() -> None:
    buffer = HeadBuffer(1000, max_fields=2)
    assert buffer.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n") is NEED_DATA
    with pytest.raises(LimitExceeded) as caught:
        buffer.receive_data(b"X: 2\r\n")
    assert (caught.value.status_hint, caught.value.limit) == (431, 2)


def test_what_can_is_waited_for() -> None:
    for start in (
        b"G",
        b"!",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nX: y\r\nHost: a\r\n\r",
        b"\r\nOPTIONS * HTTP/1.0\r\n",
    ):
        buffer = HeadBuffer(64)
        for at in range(len(start)):
            assert buffer.receive_data(start[at : at + 1]) is NEED_DATA


def test_an_response_has_another_first_line() -> None:
    buffer = HeadBuffer(64, response=True)
    assert buffer.receive_data(b"HTTP/1.1 200 OK\r\n") is NEED_DATA
    assert buffer.receive_data(b"X") is NEED_DATA
    with pytest.raises(ResponseHeadError):
        HeadBuffer(64, response=True).receive_data(b"GET")


def test_a_lenient_buffer_ends_at_any_empty_line() -> None:
    wire = b"\r\n\n\r\nHTTP/1.1 200 OK\nA: b\n\r\nrest"
    end = len(wire) - 4
    for step in (1, 2, 3, 100):
        buffer = HeadBuffer(100, response=True, lenient=True)
        for at in range(0, len(wire), step):
            head = buffer.receive_data(wire[at : at + step])
            if isinstance(head, bytes):
                assert head == b"HTTP/1.1 200 OK\nA: b\n\r\n"
                assert at + buffer.position == end
                break
        else:
            raise AssertionError("no end was found")
        assert len(buffer) == 0


def test_a_lenient_buffer_has_its_limit_too() -> None:
    buffer = HeadBuffer(20, response=True, lenient=True)
    assert buffer.receive_data(b"HTTP/1.1 200 OK\n") is NEED_DATA
    with pytest.raises(LimitExceeded) as caught:
        buffer.receive_data(b"A: bcdefgh\n\n")
    assert caught.value.status_hint == 502
