"""Forwarded as it is read: whose claims they are, and what is not one."""

from __future__ import annotations

import pytest

from meshlib.forwarded import Hop, forwarded_hops, x_forwarded


@pytest.mark.parametrize(
    ("values", "hops"),
    [
        ([], ()),
        ([b""], ()),
        ([b"for=192.0.2.43"], (Hop("192.0.2.43", ""),)),
        ([b"For=192.0.2.43;PROTO=HTTPS;by=203.0.113.43"], (Hop("192.0.2.43", "https"),)),
        ([b'for="[2001:db8:cafe::17]:4711"'], (Hop("2001:db8:cafe::17", ""),)),
        ([b'for="[2001:db8::1]"'], (Hop("2001:db8::1", ""),)),
        ([b'for="192.0.2.1:4711"'], (Hop("192.0.2.1", ""),)),
        ([b'for="192.0.2.1:_port"'], (Hop("192.0.2.1", ""),)),
        ([b"for=unknown, for=_hidden"], (Hop("unknown", ""), Hop("_hidden", ""))),
        (
            [b"for=1.1.1.1 , for=2.2.2.2", b"for=3.3.3.3"],
            tuple(Hop(f"{n}.{n}.{n}.{n}", "") for n in (1, 2, 3)),
        ),
        ([b"proto=http"], (Hop("", "http"),)),
        ([b'for="a,b;for=c"'], (Hop("a,b;for=c", ""),)),
        ([b'for="a\\"b"'], (Hop('a"b', ""),)),
        ([b"for=1.1.1.1;for=2.2.2.2"], (Hop("1.1.1.1", ""),)),
        ([b"for=1.1.1.1,"], (Hop("1.1.1.1", ""),)),
    ],
)
def test_hops_in_their_order(values: list[bytes], hops: tuple[Hop, ...]) -> None:
    assert forwarded_hops(values) == hops


@pytest.mark.parametrize(
    "value",
    [
        b"192.0.2.43",
        b"for",
        b"for=",
        b"for =1.1.1.1",
        b"for=1.1.1.1;",
        b";for=1.1.1.1",
        b"for=1.1.1.1 for=2.2.2.2",
        b",,for=1.1.1.1",
        b'for="1.1.1.1',
        b'for="1.1.1.1, for=2.2.2.2',
        b'for="1.1.1.1"x',
        b"for=[2001:db8::1]",
        b'for="a\x00b"',
    ],
)
def test_what_is_malformed_claims_nothing(value: bytes) -> None:
    assert forwarded_hops([value]) == ()
    assert forwarded_hops([value, b"for=3.3.3.3"]) == ()


def test_a_long_field_costs_what_it_is_long() -> None:
    assert len(forwarded_hops([b",".join([b"for=1.1.1.1"] * 5000)])) == 5000
    assert forwarded_hops([b'for="' + b"\\" * 100_000]) == ()


@pytest.mark.parametrize(
    ("values", "chain", "proto"),
    [
        (
            [b"for=1.1.1.1;proto=http", b'for="[fd00::1]:80";proto=https'],
            b"1.1.1.1, fd00::1",
            b"https",
        ),
        ([b"for=1.1.1.1;proto=https,for=_hidden"], b"1.1.1.1, unknown", None),
        ([b'for="1.1.1.1, 2.2.2.2";proto=gopher'], b"unknown", None),
        ([b"proto=http"], b"unknown", b"http"),
    ],
)
def test_the_same_in_the_fields_that_everybody_uses(
    values: list[bytes], chain: bytes, proto: bytes | None
) -> None:
    pairs = [(b"x-forwarded-for", chain)]
    if proto is not None:
        pairs.append((b"x-forwarded-proto", proto))
    assert x_forwarded(values) == pairs


def test_what_is_malformed_says_nothing_there_either() -> None:
    assert x_forwarded([b"for="]) == []
