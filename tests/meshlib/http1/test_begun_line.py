import re
from itertools import product

import pytest

from meshlib.http1.begun_line import BegunLine
from meshlib.http1.fields import LINE

# One of each kind of byte that a line tells apart.
KINDS = [b"a", b":", b" ", b"\t", b"\r", b"\x00", b"\xff"]
RESTS = [b"", *map(b"".join, product([b"", b"a"], [b"", b":"], [b"", b"\r"], [b"\n"]))]


def followed(line: bytes, step: int) -> bool:
    begun = BegunLine()
    begun.begin(2)
    return all(begun.follow(b"\r\n" + line[: at + step]) for at in range(0, len(line), step))


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_line_is_followed_exactly_while_there_is_a_right_rest(step: int) -> None:
    """For every line of up to four bytes, one of each kind: `fields.LINE` is the judge."""
    for length in range(1, 5):
        for kinds in product(KINDS, repeat=length):
            line = b"".join(kinds)
            lives = any(line + rest == b"\r\n" or LINE.fullmatch(line + rest) for rest in RESTS)
            assert followed(line, step) is lives, line


@pytest.mark.parametrize(
    ("line", "lives"), [(b" x: y\r", True), (b"x\x00", False), (b"\rx", False)]
)
def test_a_line_of_a_response_may_be_odd(line: bytes, lives: bool) -> None:
    begun = BegunLine(odd=True)
    assert [begun.follow(line[: at + 1]) for at in range(len(line))][-1] is lives


def test_it_is_shown_with_what_it_has_seen() -> None:
    begun = BegunLine()
    assert begun.follow(b"abc")
    assert repr(begun) == "<BegunLine from 0 to 3>"
    assert re.fullmatch(LINE, b"abc:\r\n")
