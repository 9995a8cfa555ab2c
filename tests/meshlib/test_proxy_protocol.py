"""PROXY protocol headers of both versions: what is taken, what is refused, in any cut; and that
what we build is what we read.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import LimitExceeded, ProtocolError, ProxyProtocolError
from meshlib.need_data import NEED_DATA
from meshlib.proxy_protocol import (
    ABSENT,
    MAX_V1,
    MAX_V2,
    TLV,
    ProxyAddress,
    ProxyHeader,
    ProxyProtocolReader,
    build_v1,
    build_v2,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "proxy_protocol"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
A4, B4 = ProxyAddress("192.0.2.1", 56324), ProxyAddress("192.0.2.2", 443)


def crc32c(data: bytes) -> int:
    """Bit by bit, as RFC 3720 describes it."""
    value = 0xFFFFFFFF
    for byte in data:
        for shift in range(8):
            bit = (value ^ (byte >> shift)) & 1
            value = (value >> 1) ^ (0x82F63B78 * bit)
    return value ^ 0xFFFFFFFF


def binary(text: str) -> bytes:
    compact = text.replace(" ", "")
    checksum = crc32c(bytes.fromhex(compact.replace("CRC", "00000000"))).to_bytes(4)
    return bytes.fromhex(compact.replace("CRC", checksum.hex()))


CASES: list[tuple[str, bytes, Any]] = [
    *(
        (name, text.encode("latin-1"), outcome)
        for name, text, outcome in json.loads((VECTORS / "v1.json").read_text())
    ),
    *(
        (name, binary(text), outcome)
        for name, text, outcome in json.loads((VECTORS / "v2.json").read_text())
    ),
]


@pytest.mark.parametrize(("name", "data", "outcome"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_vectors_in_any_cut(name: str, data: bytes, outcome: Any, step: int) -> None:
    reader = ProxyProtocolReader()
    taken = isinstance(outcome, list)
    sent = data + b"GET /" if taken else data
    if not taken:
        with pytest.raises(ProtocolError) as caught:
            for at in range(0, len(sent), step):
                assert reader.receive_data(sent[at : at + step]) is NEED_DATA
        assert (caught.value.reason, caught.value.status_hint) == (outcome, 400)
        return
    result: object = NEED_DATA
    at = 0
    while result is NEED_DATA:
        result = reader.receive_data(sent[at : at + step])
        at += step
    assert isinstance(result, ProxyHeader), outcome
    addresses = [
        list(address) if address else None for address in (result.source, result.destination)
    ]
    assert [*addresses, result.transport] == outcome
    assert reader.rest + sent[at:] == b"GET /"
    assert "ProxyProtocolReader" in repr(reader)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY / HTTP/1.1\r\n",
        b"PROXY TCP5 ",
        b"PROPFIND / HTTP/1.1\r\n",
        b"\r\nGET /",
        b"\r\n\r\nG",
        b"\x16\x03",
    ],
)
def test_no_proxy_header_and_nothing_lost(data: bytes) -> None:
    for step in (1, 3, 100):
        reader = ProxyProtocolReader()
        for at in range(0, len(data), step):
            result = reader.receive_data(data[at : at + step])
            if result is ABSENT:
                assert reader.rest + data[at + step :] == data
                break
            assert result is NEED_DATA
        else:
            pytest.fail("never decided")


def test_without_bytes_more_are_wanted() -> None:
    assert ProxyProtocolReader().receive_data(b"") is NEED_DATA


def test_sockets_by_path() -> None:
    paths = b"/run/a".ljust(108, b"\0") + b"\xff/b".ljust(108, b"\0")
    header = ProxyProtocolReader().receive_data(
        SIGNATURE + b"\x21\x31" + len(paths).to_bytes(2) + paths
    )
    assert header == ProxyHeader(
        2, ProxyAddress("/run/a", 0), ProxyAddress("\udcff/b", 0), "stream", unix=True
    )


def test_tlvs_are_kept_as_they_came() -> None:
    tlvs = (
        TLV(0x01, b"h2"),
        TLV(0x02, b"shop.example.com"),
        TLV(0xEA, b"\x01vpce-\xff"),
        TLV(0x04, b""),
    )
    header = ProxyProtocolReader().receive_data(build_v2(A4, B4, tlvs))
    assert isinstance(header, ProxyHeader)
    assert header.tlvs == tlvs


def test_a_full_proxy_header_fits_and_one_byte_more_does_not() -> None:
    room = MAX_V2 - 12 - 3
    assert isinstance(
        ProxyProtocolReader().receive_data(build_v2(A4, B4, [TLV(4, bytes(room))])), ProxyHeader
    )
    with pytest.raises(ValueError, match="more than"):
        build_v2(A4, B4, [TLV(4, bytes(room + 1))])


def test_the_limits_are_told() -> None:
    with pytest.raises(LimitExceeded) as caught:
        ProxyProtocolReader().receive_data(b"PROXY UNKNOWN ".ljust(MAX_V1, b"x"))
    assert caught.value.limit == MAX_V1


def test_what_is_sent_without_addresses() -> None:
    assert build_v1(None, B4) == b"PROXY UNKNOWN\r\n"
    assert build_v2(A4, None) == SIGNATURE + b"\x20\x00\x00\x00"


def test_families_are_never_mixed() -> None:
    six = ProxyAddress("2001:db8::1", 80)
    for build in (build_v1, build_v2):
        header = ProxyProtocolReader().receive_data(build(six, B4))
        assert isinstance(header, ProxyHeader)
        assert header.source == six
        assert header.destination is not None
        assert ipaddress.ip_address(header.destination.host) == ipaddress.ip_address(
            "::ffff:192.0.2.2"
        )
    assert build_v1(ProxyAddress("fe80::1%eth0", 1), six).startswith(b"PROXY TCP6 fe80::1 ")


@pytest.mark.parametrize(
    "wrong",
    [ProxyAddress("localhost", 1), ProxyAddress("192.0.2.1", 65536), ProxyAddress("192.0.2.1", -1)],
)
def test_what_cannot_be_sent(wrong: ProxyAddress) -> None:
    for build in (build_v1, build_v2):
        with pytest.raises(ValueError):
            build(wrong, B4)


ports = st.integers(0, 65535)
addresses = st.one_of(
    st.tuples(
        st.builds(ProxyAddress, st.ip_addresses(v=4).map(str), ports),
        st.builds(ProxyAddress, st.ip_addresses(v=4).map(str), ports),
    ),
    st.tuples(
        st.builds(ProxyAddress, st.ip_addresses(v=6).map(str), ports),
        st.builds(ProxyAddress, st.ip_addresses(v=6).map(str), ports),
    ),
)


@given(
    addresses,
    st.lists(st.builds(TLV, st.integers(4, 255), st.binary(max_size=40)), max_size=8),
    st.binary(max_size=9),
)
def test_what_is_built_is_what_is_read(
    pair: tuple[ProxyAddress, ProxyAddress], tlvs: list[TLV], rest: bytes
) -> None:
    pair = (
        ProxyAddress(pair[0].host.partition("%")[0], pair[0].port),
        ProxyAddress(pair[1].host.partition("%")[0], pair[1].port),
    )
    reader = ProxyProtocolReader()
    assert reader.receive_data(build_v1(*pair) + rest) == ProxyHeader(1, *pair, "stream")
    assert reader.rest == rest
    reader = ProxyProtocolReader()
    assert reader.receive_data(build_v2(*pair, tlvs) + rest) == ProxyHeader(
        2, *pair, "stream", tlvs=tuple(tlvs)
    )
    assert reader.rest == rest


PROXY = SIGNATURE + b"\x21\x11"
starts = st.sampled_from(
    [
        b"",
        b"PROXY ",
        b"PROXY TCP4 1.2.3.4 ",
        b"PROXY UNKNOWN",
        SIGNATURE,
        PROXY,
        PROXY + b"\x00\x0f",
    ]
)


@given(starts, st.binary(max_size=600), st.integers(1, 50))
def test_anything_at_all_has_one_of_the_outcomes_in_every_cut(
    start: bytes, noise: bytes, step: int
) -> None:
    def outcome(step: int) -> object:
        reader = ProxyProtocolReader()
        data = start + noise
        try:
            for at in range(0, len(data), step):
                result = reader.receive_data(data[at : at + step])
                if result is not NEED_DATA:
                    return result, reader.rest + data[at + step :]
        except (ProxyProtocolError, LimitExceeded) as error:
            return error.reason
        return NEED_DATA

    assert outcome(step) == outcome(10_000)


@pytest.mark.parametrize(("limit", "size"), [(536, 536), (537, 537), (4096, 4000), (65535, 65535)])
def test_a_long_header_is_read_where_that_is_allowed(limit: int, size: int) -> None:
    whole = build_v2(A4, B4)
    value = bytes(size - 15)
    data = whole[:14] + size.to_bytes(2) + whole[16:] + b"\xe0" + len(value).to_bytes(2) + value
    for step in (1000, len(data)):
        reader = ProxyProtocolReader(limit)
        results = [reader.receive_data(data[at : at + step]) for at in range(0, len(data), step)]
        assert results[-1] == ProxyHeader(2, A4, B4, "stream", tlvs=(TLV(0xE0, value),))
    with pytest.raises(LimitExceeded) as caught:
        ProxyProtocolReader(size - 1).receive_data(data[:16])
    assert caught.value.reason == "proxy_too_long"
