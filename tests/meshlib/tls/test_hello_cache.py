"""The cache gives what the parser gives, whatever came before."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ClientHelloError
from meshlib.messages import ClientHello
from meshlib.tls import HelloCache, parse_client_hello
from tests.vectors.tls.hellos import BASE, BASE_12, CASES, PSK, ext, hello, sni, u16

VECTORS = Path(__file__).parents[2] / "vectors" / "tls"
BODIES = [path.read_bytes()[9:] for path in sorted(VECTORS.glob("*.bin"))]
BODY = hello(sni("a.example"), *BASE)[4:]
LARGE = hello(sni("a.example"), *BASE, ext(21, bytes(3000)))[4:]


def outcome(parse: object, body: bytes) -> ClientHello | tuple[str, int, int | None]:
    try:
        return parse(body)  # type: ignore[operator, no-any-return]
    except ClientHelloError as error:
        return error.reason, error.alert, error.position


def test_a_hello_like_one_before_is_known() -> None:
    cache = HelloCache()
    assert cache.parse(BODY) == cache.parse(BODY) == parse_client_hello(BODY)
    assert len(cache) == 1
    other = BODY[:2] + bytes(range(32)) + BODY[34:]
    assert cache.parse(other) is cache.parse(BODY)
    assert repr(cache) == "<HelloCache 1 of 256>"


def test_the_session_id_is_that_of_this_hello() -> None:
    cache = HelloCache()
    for filler in (b"\0", b"\7", b"\0"):
        body = hello(sni("a.example"), *BASE, session_id=filler * 32)[4:]
        assert cache.parse(body) == parse_client_hello(body)
        assert cache.parse(body).session_id == filler * 32
    assert len(cache) == 1


def test_real_clients_one_after_the_other() -> None:
    cache = HelloCache()
    for _ in range(3):
        for body in BODIES:
            assert cache.parse(body) == parse_client_hello(body)
    assert 0 < len(cache) < len(BODIES)


def test_the_broken_ones_after_a_good_one() -> None:
    cache = HelloCache()
    cache.parse(BODY)
    for case in CASES:
        body = case.data[9:]
        assert outcome(cache.parse, body) == outcome(parse_client_hello, body)


@pytest.mark.parametrize(
    "body",
    [
        hello(sni("a.example"), *BASE, PSK)[4:],
        hello(sni("a.example"), ext(35, b"t"), *BASE)[4:],
        hello(sni("a.example"), *BASE_12, ext(51, b"\x00\x40" + bytes(8)))[4:],
        LARGE,
    ],
)
def test_what_is_another_each_time_is_not_kept(body: bytes) -> None:
    cache = HelloCache()
    assert cache.parse(body) == parse_client_hello(body)
    assert len(cache) == 0


def test_what_is_kept_is_bounded() -> None:
    cache = HelloCache(limit=10)
    for number in range(100):
        cache.parse(hello(sni(f"a{number:03}.example"), *BASE)[4:])
        assert len(cache) <= 10


def test_another_shape_of_the_same_size_is_parsed() -> None:
    cache = HelloCache()
    whole = hello(sni("a" * 8 + ".example"), *BASE, session_id=bytes(32))[4:]
    other = hello(sni("a" * 9 + ".example"), *BASE, session_id=bytes(31))[4:]
    assert len(whole) == len(other)
    for body in (whole, other, other, whole):
        assert cache.parse(body) == parse_client_hello(body)
    assert len(cache) == 1


@given(
    st.sampled_from([BODY, *BODIES]),
    st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=4),
    st.integers(0, 40),
)
def test_as_the_parser_whatever_is_changed(
    body: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    cache = HelloCache()
    cache.parse(body)
    changed = bytearray(body)
    for position, value in changes:
        changed[position % len(changed)] = value
    for each in (bytes(changed), bytes(changed[:-cut]), body):
        assert outcome(cache.parse, each) == outcome(parse_client_hello, each)


# The first byte of a NIST group's key says whether it is a point as it has to be; the others say
# nothing.
KEYS = [bytes([first, second]) + bytes(63) for first, second in ((4, 1), (4, 2), (5, 1))]
POINTS = [hello(*BASE[:-1], ext(51, u16(b"\0\x17" + u16(key))))[4:] for key in KEYS]


def test_the_first_byte_of_a_key_says_something() -> None:
    cache = HelloCache()
    good, like_it, bad = POINTS
    assert cache.parse(good) is cache.parse(like_it)
    assert outcome(cache.parse, bad) == outcome(parse_client_hello, bad)
    assert isinstance(outcome(cache.parse, bad), tuple)


# Clients that differ in what the cache leaves out (random bytes, session ids, keys), in what it
# must not, and in the bytes that hold lengths; the same again and again, so that all that is kept
# is asked for.
ALIKE = [
    BODY,
    hello(sni("b.example"), *BASE)[4:],
    *(
        hello(sni("a" * (8 + size) + ".example"), *BASE, session_id=bytes(32 - size))[4:]
        for size in range(3)
    ),
    hello(sni("a.example"), *BASE, PSK)[4:],
    hello(sni("a.example"), ext(35, b""), *BASE)[4:],
    hello(sni("a.example"), ext(35, b"t"), *BASE)[4:],
    *POINTS,
]
CHANGES = st.lists(
    st.tuples(st.integers(0, 4095) | st.integers(0, 80), st.integers(0, 255)), max_size=2
)

HELLOS = st.tuples(
    st.sampled_from(ALIKE) | st.sampled_from(BODIES), CHANGES, st.just(0) | st.integers(0, 40)
)


@given(st.lists(HELLOS, min_size=2, max_size=12), st.integers(1, 6))
def test_as_a_fresh_cache_whatever_came_before(
    history: list[tuple[bytes, list[tuple[int, int]], int]], limit: int
) -> None:
    cache = HelloCache(limit)
    for body, changes, cut in history * 2:
        changed = bytearray(body)
        for position, value in changes:
            changed[position % len(changed)] = value
        asked = bytes(changed[: len(changed) - cut])
        assert (
            outcome(cache.parse, asked)
            == outcome(HelloCache().parse, asked)
            == outcome(parse_client_hello, asked)
        )
        assert len(cache) <= limit
