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
        # Empty elements and empty pairs (RFC 9110 5.6.1, RFC 7239 4).
        ([b"for=1.1.1.1,"], (Hop("1.1.1.1", ""),)),
        ([b",, \t,for=1.1.1.1 ,,"], (Hop("1.1.1.1", ""),)),
        ([b"for=2.2.2.2,,for=1.1.1.1"], (Hop("2.2.2.2", ""), Hop("1.1.1.1", ""))),
        ([b"", b"for=1.1.1.1;proto=https", b""], (Hop("1.1.1.1", "https"),)),
        ([b"for=1.1.1.1;"], (Hop("1.1.1.1", ""),)),
        ([b"; \t;for=1.1.1.1;;proto=http ; "], (Hop("1.1.1.1", "http"),)),
        ([b";"], (Hop("", ""),)),
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
        b"for=1.1.1.1 for=2.2.2.2",
        b'for="1.1.1.1',
        b'for="1.1.1.1, for=2.2.2.2',
        b'for=2.2.2.2, for="1.1.1.1',
        b'for="1.1.1.1\\"',
        b'for="1.1.1.1"x',
        b'"for=1.1.1.1, for=2.2.2.2"',
        b"for=[2001:db8::1]",
        b"for=1.1.1.1;proto=https;[",
        b'for="a\x00b"',
        b"\x01",
    ],
)
def test_what_is_malformed_claims_nothing_and_takes_nothing_away(value: bytes) -> None:
    """It may be a client's, in front of what the proxy writes."""
    assert forwarded_hops([value]) == (Hop("", ""),)
    near = Hop("3.3.3.3", "https")
    assert forwarded_hops([value, b"for=3.3.3.3;proto=https"]) == (Hop("", ""), near)
    assert forwarded_hops([b"for=3.3.3.3;proto=https", value]) == (near, Hop("", ""))


@pytest.mark.parametrize(
    ("value", "hops"),
    [
        (b"for=[, for=3.3.3.3", (Hop("", ""), Hop("3.3.3.3", ""))),
        (b'a"b,c", for=3.3.3.3', (Hop("", ""), Hop("3.3.3.3", ""))),
        # What a proxy appends to a quotation mark that a client left open is nobody's.
        (b'for=", for=3.3.3.3', (Hop("", ""),)),
        (b'for=", for="[2001:db8::1]:80";proto=https', (Hop("", ""),)),
        (b'for="\\, for="3.3.3.3:80"', (Hop("", ""),)),
    ],
)
def test_elements_of_one_line(value: bytes, hops: tuple[Hop, ...]) -> None:
    assert forwarded_hops([value]) == hops


def test_a_long_field_costs_what_it_is_long() -> None:
    assert len(forwarded_hops([b",".join([b"for=1.1.1.1"] * 5000)])) == 5000
    for bad in (b'for="' + b"\\" * 100_000, b'"' * 99_999, b" " * 100_000 + b"x"):
        assert forwarded_hops([bad]) == (Hop("", ""),)
    assert forwarded_hops([b"," * 100_000]) == ()


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


def test_what_is_malformed_is_known_to_be_a_claim_there_too() -> None:
    assert x_forwarded([b"for="]) == [(b"x-forwarded-for", b"unknown")]
    assert x_forwarded([b"", b","]) == []
