"""The extensions one by one, through the cases in which they are broken or whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.authority import is_ip_address, normalize_host
from meshlib.errors import AuthorityError, ClientHelloError
from meshlib.tls.extensions import PARSERS, ExtensionFacts
from meshlib.tls.hello import parse_client_hello
from tests.vectors.tls.hellos import BASE_12, CASES, Case, ext, hello, sni, u16

CUT = [
    c
    for c in CASES
    if c.data[:1] == b"\x16"
    and c.data[9:11] == b"\x03\x03"
    and len(c.data) < 16_000
    and "second" not in c.title
    and "too small" not in c.title
]


@pytest.mark.parametrize("case", CUT, ids=lambda case: case.title)
def test_extensions_are_read_as_openssl_reads_them(case: Case) -> None:
    body = case.data[9 : 5 + int.from_bytes(case.data[3:5], "big")]
    if case.verdict in ("route", "bad_name"):
        if len(body) + 4 == int.from_bytes(case.data[6:9], "big") + 4:
            assert parse_client_hello(body).server_name_valid == (case.verdict == "route")
    elif case.verdict.startswith("bad_") or case.verdict.startswith("extension_"):
        with pytest.raises(ClientHelloError) as caught:
            parse_client_hello(body)
        assert caught.value.reason == case.verdict


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=60))
def test_noise_in_an_extension_never_raises_anything_else(kind: int, data: bytes) -> None:
    facts = ExtensionFacts()
    try:
        PARSERS[kind](data, facts)
    except ClientHelloError as error:
        found = error.reason
        assert found.isascii()


@given(st.binary(max_size=300))
def test_a_name_is_either_a_host_or_cannot_match_one(raw: bytes) -> None:
    found = parse_client_hello(hello(sni(raw), *BASE_12)[4:])
    name = found.server_name
    assert name is not None
    assert name.isascii()
    assert name.isprintable()
    if found.server_name_valid:
        assert normalize_host(name) == name
    elif raw.isascii() and raw.decode().isprintable() and b"\\" not in raw:
        assert name == raw.decode() or is_ip_address(name)  # as it was sent
    else:
        with pytest.raises(AuthorityError):
            normalize_host(name)


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (b"\x01" + u16(b"") + u16(b""), True),
        (b"\x01" + u16(u16(b"\xa1\x02\x30\x00")) + u16(b"\x30\x00"), True),
        (b"\x01" + u16(u16(b"\xa1\x81\x02\x30\x00")) + u16(b""), True),
        (b"\x01" + u16(u16(b"\xa1\x02\x04\x00")) + u16(b""), False),
        (b"\x01" + u16(u16(b"\xa1")) + u16(b""), False),
        (b"\x01" + u16(u16(b"\xa1\x09\x30\x00")) + u16(b""), False),
    ],
)
def test_a_status_request_has_to_be_well_formed(content: bytes, good: bool) -> None:
    body = hello(ext(5, content), *BASE_12)[4:]
    if good:
        parse_client_hello(body)
    else:
        with pytest.raises(ClientHelloError, match="status request"):
            parse_client_hello(body)


def test_names_of_authorities() -> None:
    parse_client_hello(hello(ext(47, u16(u16(b"\x30\x02\x31\x00") * 2)), *BASE_12)[4:])
