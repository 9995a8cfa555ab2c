"""What is read from the hellos of real clients: the standard library's in many settings, and those
kept in tests/vectors/tls.
"""

from __future__ import annotations

import json
import ssl
import warnings
from pathlib import Path

import pytest

from meshlib.errors import ClientHelloError
from meshlib.messages import ClientHello
from meshlib.need_data import NEED_DATA
from meshlib.tls import ClientHelloSniffer, ja4, parse_client_hello
from tests.vectors.tls.hellos import (
    ALPN,
    BASE,
    CASES,
    PSK,
    Case,
    ext,
    hello,
    numbers,
    records,
    sni,
    u8,
    u16,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "tls"
EXPECTED = json.loads((VECTORS / "expected.json").read_text())


BODY = hello(sni("a.example"), *BASE)[4:]


def read(data: bytes) -> ClientHello:
    result = ClientHelloSniffer().receive_data(data)
    assert isinstance(result, ClientHello)
    return result


@pytest.mark.parametrize("stem", sorted(EXPECTED))
def test_the_hello_of_a_real_client_is_read(stem: str) -> None:
    found = read((VECTORS / f"{stem}.bin").read_bytes())
    assert {
        "server_name": found.server_name,
        "alpn": [p.decode() for p in found.alpn_protocols],
        "versions": [hex(v) for v in found.versions],
        "key_shares": [hex(v) for v in found.key_shares],
        "session_id": len(found.session_id),
        "ticket": None if found.ticket is None else len(found.ticket),
        "psk_identities": len(found.psk_identities),
        "post_quantum": found.post_quantum,
        "grease": found.grease,
        "ech": found.ech,
        "ja4": ja4(found),
    } == EXPECTED[stem]
    assert found.server_name_valid
    assert set(found.key_shares) <= set(found.groups)


@pytest.mark.parametrize("stem", sorted(EXPECTED))
def test_a_real_client_cut_anywhere_and_with_more_behind(stem: str) -> None:
    wire = (VECTORS / f"{stem}.bin").read_bytes()
    whole = read(wire)
    for cut in range(1, len(wire)):
        sniffer = ClientHelloSniffer()
        assert sniffer.receive_data(wire[:cut]) is NEED_DATA, cut
        assert sniffer.receive_data(wire[cut:]) == whole, cut
        assert sniffer.bytes_consumed == len(wire)
    sniffer = ClientHelloSniffer()
    assert [sniffer.receive_data(wire[at : at + 1]) for at in range(len(wire))] == [NEED_DATA] * (
        len(wire) - 1
    ) + [whole]
    sniffer = ClientHelloSniffer()
    assert sniffer.receive_data(wire + b"early data, or anything") == whole
    assert sniffer.bytes_consumed == len(wire)
    message = wire[5:]
    again = b"".join(records(message[at : at + 100]) for at in range(0, len(message), 100))
    assert read(again) == whole


def test_every_vector_is_expected() -> None:
    assert {path.stem for path in VECTORS.glob("*.bin")} == set(EXPECTED)


def from_ssl(name: str | None, context: ssl.SSLContext) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


V = ssl.TLSVersion
RANGES = [
    (V.TLSv1, V.TLSv1_3),
    (V.TLSv1_2, V.TLSv1_2),
    (V.TLSv1_3, V.TLSv1_3),
    (V.TLSv1_2, V.TLSv1_3),
]


@pytest.mark.parametrize("versions", RANGES, ids=str)
@pytest.mark.parametrize("alpn", [[], ["h2"], ["http/1.1", "h2"], ["acme-tls/1"]], ids=str)
@pytest.mark.parametrize("ciphers", ["DEFAULT", "ECDHE+AESGCM", "ALL:@SECLEVEL=0"])
@pytest.mark.parametrize(
    "name", ["a.example", "A.EXAMPLE", "a.b.c.d.example", "x" * 63 + ".example", None]
)
def test_the_standard_library(
    versions: tuple[V, V], alpn: list[str], ciphers: str, name: str | None
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = versions
    context.set_ciphers(ciphers)
    if alpn:
        context.set_alpn_protocols(alpn)
    found = read(from_ssl(name, context))
    assert found.server_name == (name and name.lower())
    assert found.alpn_protocols == tuple(p.encode() for p in alpn)
    assert (max(found.versions), found.legacy_version) == (versions[1], 0x0303)
    assert found.versions == (
        (0x0303,) if versions[1] is V.TLSv1_2 else tuple(range(versions[1], versions[0] - 1, -1))
    )
    assert bool(found.key_shares) == (versions[1] is V.TLSv1_3)
    assert found.cipher_suites
    assert found.signature_algorithms
    assert found.ticket == b""
    assert not found.psk_identities


def test_every_field_of_a_hello_is_read() -> None:
    shares = ext(51, u16(numbers(0x2A2A) + u16(b"\x00") + numbers(0x11EC) + u16(bytes(1216))))
    groups = ext(10, u16(numbers(0x2A2A, 0x11EC, 0x001D)))
    rest = [part for part in BASE if part[:2] not in (b"\x00\x0a", b"\x00\x33")]
    ech = ext(0xFE0D, b"outer")
    data = hello(
        sni("a.example"),
        ALPN,
        *rest,
        groups,
        shares,
        ext(35, b"t1"),
        ext(42),
        ech,
        PSK,
        session_id=b"id",
        suites=numbers(0x1301),
    )
    found = parse_client_hello(data[4:])
    assert found == ClientHello(
        server_name="a.example",
        alpn_protocols=(b"h2", b"http/1.1"),
        legacy_version=0x0303,
        versions=(0x0304, 0x0303),
        session_id=b"id",
        cipher_suites=(0x1301,),
        extensions=(0, 16, 11, 13, 43, 45, 10, 51, 35, 42, 0xFE0D, 41),
        groups=(0x2A2A, 0x11EC, 0x001D),
        point_formats=(0,),
        signature_algorithms=(0x0403, 0x0804, 0x0401),
        key_shares=(0x2A2A, 0x11EC),
        ticket=b"t1",
        psk_identities=(b"ticket" * 20,),
        early_data=True,
        ech=True,
    )
    assert found.grease
    assert found.post_quantum


def test_what_is_absent() -> None:
    found = parse_client_hello(
        hello(block=b"", suites=numbers(0x2F), compression=u8(b"\x00")[1:])[4:]
    )
    assert found == ClientHello(cipher_suites=(0x2F,), session_id=bytes(32))
    assert not found.grease
    assert not found.post_quantum
    assert ClientHello(server_name="a").server_name_valid


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.data[:1] == b"\x16" and len(c.data) < 16_000],
    ids=lambda case: case.title,
)
def test_the_first_record_alone(case: Case) -> None:
    # Much of this is cut off or mixed up: it may be refused, and may not be misread.
    body = case.data[9 : 5 + int.from_bytes(case.data[3:5], "big")]
    try:
        found = parse_client_hello(body)
    except ClientHelloError as error:
        alert = error.alert
        assert alert in (10, 22, 40, 47, 50, 70, 109)
    else:
        assert found.server_name in (case.name, "a.example") or case.verdict == "bad_name"


@pytest.mark.parametrize(
    ("position", "body"),
    [
        (20, BODY[:20]),
        (0, b"\x02" + BODY[1:]),
        (34, BODY[:34] + b"\x21" + BODY[35:]),
        (60, BODY[:60]),
        (69, BODY[:67] + b"\x00\x00" + BODY[69:]),
        (69, BODY[:67] + b"\x00\x07" + BODY[69:]),
        (len(BODY), BODY[:77] + b"\xff" + BODY[78:]),
        (78, BODY[:78] + b"\x01" + BODY[79:]),
        (79, BODY[:80] + b"\xff" + BODY[81:]),
        (81, BODY[:79] + b"\x00\x02\x00\x00"),
        (81, BODY[:84] + b"\xff" + BODY[85:]),
        (85, BODY[:88] + b"\xff" + BODY[89:]),
        (None, hello(sni("a.example"), PSK, *BASE)[4:]),
    ],
)
def test_an_error_says_where(position: int | None, body: bytes) -> None:
    # A session id of 32 bytes ends at 67, four suites at 77, compression at 79; the first extension
    # is the name, its content at 85.
    with pytest.raises(ClientHelloError) as caught:
        parse_client_hello(body)
    assert caught.value.position == position


def test_the_second_of_two_like_extensions_is_where_it_is_wrong() -> None:
    with pytest.raises(ClientHelloError, match="extension 16 is there twice") as caught:
        parse_client_hello(hello(ALPN, *BASE, ALPN)[4:])
    assert caught.value.position == 81 + len(ALPN) + sum(map(len, BASE))
