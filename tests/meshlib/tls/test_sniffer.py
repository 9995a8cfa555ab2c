"""The ClientHello sniffer on hand-built hellos, in every cut, against OpenSSL, and on noise."""

from __future__ import annotations

import itertools
import ssl
import sys
from types import FrameType
from typing import TYPE_CHECKING

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.errors import ClientHelloError
from meshlib.messages import ClientHello
from meshlib.need_data import NEED_DATA
from meshlib.tls import ClientHelloSniffer, NotTLS
from meshlib.tls.extensions import PARSERS
from tests.vectors.tls.hellos import BASE, BASE_12, CASES, Case, ext, hello, records, sni

if TYPE_CHECKING:
    from _typeshed import TraceFunction

BY_TITLE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
ROUTED = [case for case in CASES if case.verdict == "route"]
SHORT = [case for case in CASES if len(case.data) < 1000]


def verdict(sniffer: ClientHelloSniffer, *pieces: bytes) -> tuple[str, str | None]:
    """What the sniffer says at last, as in `Case`; after a result it gets no more."""
    for piece in pieces:
        try:
            result = sniffer.receive_data(piece)
        except ClientHelloError as error:
            return error.reason, None
        if isinstance(result, NotTLS):
            return f"not_tls:{result.kind}", None
        if isinstance(result, ClientHello):
            return ("route" if result.server_name_valid else "bad_name"), result.server_name
    return "need_data", None


def expected(case: Case, found: tuple[str, str | None]) -> bool:
    return found[0] == case.verdict and (case.verdict != "route" or found[1] == case.name)


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    assert len({case.title for case in CASES}) == len(CASES) > 200
    assert sum(case.verdict not in ("route", "bad_name") for case in CASES) > 100


@BY_TITLE
def test_a_whole_hello_has_its_verdict(case: Case) -> None:
    assert expected(case, verdict(ClientHelloSniffer(), case.data))


@BY_TITLE
def test_byte_by_byte(case: Case) -> None:
    pieces = [case.data[i : i + 1] for i in range(len(case.data))]
    assert expected(case, verdict(ClientHelloSniffer(), *pieces))


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.title)
def test_cut_once_at_each_position(case: Case) -> None:
    for cut in range(1, len(case.data)):
        assert expected(case, verdict(ClientHelloSniffer(), case.data[:cut], case.data[cut:])), cut


@pytest.mark.parametrize("case", ROUTED, ids=lambda case: case.title)
def test_nothing_is_decided_before_the_last_byte(case: Case) -> None:
    sniffer = ClientHelloSniffer()
    verdict(sniffer, case.data)
    end = sniffer.bytes_consumed
    for cut in {end - 1, end // 2, 5, 6}:
        assert verdict(ClientHelloSniffer(), case.data[:cut]) == ("need_data", None)


@pytest.mark.parametrize("case", ROUTED, ids=lambda case: case.title)
@pytest.mark.parametrize("size", [1, 50, 1 << 20])
def test_what_follows_the_hello_is_not_counted(case: Case, size: int) -> None:
    sniffer = ClientHelloSniffer()
    verdict(sniffer, case.data)
    end = sniffer.bytes_consumed
    hello_bytes = case.data[:end]
    again = ClientHelloSniffer()
    data = hello_bytes + b"\x17\x03\x03\x00\x05early"
    found = verdict(again, *(data[i : i + size] for i in range(0, len(data), size)))
    assert expected(case, found)
    assert again.bytes_consumed == end


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_cut_gives_the_same_result(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(SHORT))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(case.data)), max_size=8)))
    edges = [0, *cuts, len(case.data)]
    assert expected(
        case, verdict(ClientHelloSniffer(), *(case.data[a:b] for a, b in itertools.pairwise(edges)))
    )


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_records_give_the_same_hello(data: st.DataObject) -> None:
    message = hello(sni("a.example"), *BASE)
    sizes = data.draw(st.lists(st.integers(0, 300), max_size=20))
    sniffer = ClientHelloSniffer()
    assert sniffer.receive_data(records(message, sizes)) == ClientHelloSniffer().receive_data(
        records(message)
    )


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_corrupted_hellos_never_raise_anything_else(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(SHORT)).data)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    whole = verdict(ClientHelloSniffer(), bytes(raw))
    assert verdict(ClientHelloSniffer(), bytes(raw[:cut]), bytes(raw[cut:])) == whole
    assert whole[1] is None or (whole[1].isascii() and whole[1].isprintable())


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03"]),
)
@settings(max_examples=500, deadline=None)
def test_noise_never_raises_anything_else(noise: bytes, prefix: bytes) -> None:
    data = prefix + noise
    assert verdict(ClientHelloSniffer(), data) == verdict(
        ClientHelloSniffer(), *(data[i : i + 1] for i in range(len(data)))
    )


def lines_run(pieces: list[bytes]) -> int:
    """Lines of our code that run while the pieces are read: work that does not depend on the
    machine.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal count
        count += event == "line"
        return trace

    sniffer = ClientHelloSniffer()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        found = verdict(sniffer, *pieces)
    finally:
        sys.settrace(before)
    assert found == ("route", "a.example")
    return count


@pytest.mark.parametrize("record", [1, 16384])
def test_work_grows_with_the_bytes(record: int) -> None:
    def pieces(padding: int) -> list[bytes]:
        data = records(hello(ext(21, bytes(padding)), sni("a.example"), *BASE), rest=record)
        return [data[i : i + 1] for i in range(len(data))]

    small, large = pieces(500), pieces(5000)
    assert lines_run(large) / lines_run(small) < 1.3 * len(large) / len(small)


def test_limits_can_be_set() -> None:
    data = records(hello(sni("a.example"), *BASE))
    size = len(data) - 5
    assert verdict(ClientHelloSniffer(max_hello=size), data)[0] == "route"
    assert verdict(ClientHelloSniffer(max_hello=size - 1), data)[0] == "hello_too_large"
    assert verdict(ClientHelloSniffer(max_wire=size + 5), data)[0] == "route"
    assert verdict(ClientHelloSniffer(max_wire=size + 4), data)[0] == "hello_too_large"


def test_nothing_is_kept_beyond_the_claim() -> None:
    sniffer = ClientHelloSniffer()
    with pytest.raises(ClientHelloError) as caught:
        sniffer.receive_data(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(10_000))
    assert (caught.value.reason, caught.value.alert) == ("hello_too_large", 47)
    assert "of" in repr(sniffer)
    assert sniffer.bytes_consumed == 9


def test_no_data_is_no_verdict() -> None:
    sniffer = ClientHelloSniffer()
    assert sniffer.receive_data(b"") is NEED_DATA
    assert sniffer.receive_data(b"\x16") is NEED_DATA
    assert sniffer.receive_data(b"") is NEED_DATA
    assert sniffer.bytes_consumed == 1
    assert repr(sniffer) == "<ClientHelloSniffer 0 of ? bytes, 1 on the wire>"


# ---- OpenSSL as the judge

# What OpenSSL would say to a well-formed hello that this server does not want.
POLICY = {"NO_SHARED_CIPHER", "NO_SUITABLE_SIGNATURE_ALGORITHM", "NO_SHARED_SIGNATURE_ALGORITHMS"}
# Where our alert is another one than OpenSSL's, with the reason.
OTHER_ALERT = {
    "bad_supported_versions": (
        "decode_error, as for every other malformed extension; OpenSSL says protocol_version"
    ),
    "bad_version": "protocol_version; OpenSSL's own choice here is handshake_failure",
    "unexpected_record": (
        "unexpected_message, RFC 8446 5; OpenSSL says protocol_version when the "
        "bytes are no TLS at all"
    ),
    "bad_record_version": "as above",
}


@pytest.fixture(scope="module")
def judge() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("a.example").configure_cert(context)
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def openssl_verdict(context: ssl.SSLContext, data: bytes) -> tuple[str, int | None]:
    """ "accept", "reject" or "need_data", and the alert."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(data)
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    try:
        server.do_handshake()
    except ssl.SSLWantReadError:
        return ("accept" if outgoing.read(1) == b"\x16" else "need_data"), None
    except ssl.SSLError as error:
        reply = outgoing.read()
        accepted = reply[:1] == b"\x16" or error.reason in POLICY
        return ("accept" if accepted else "reject"), reply[6] if len(reply) > 6 else None
    return "accept", None


# The verdicts are those of this version: with another one there is nothing to compare.
if ssl.OPENSSL_VERSION_INFO[:2] == (3, 0):

    @BY_TITLE
    def test_openssl_agrees_or_we_know_why(case: Case, judge: ssl.SSLContext) -> None:
        if case.verdict == "not_tls:unknown":
            assert openssl_verdict(judge, case.data)[0] in ("reject", "need_data")
            return
        found, alert = openssl_verdict(judge, case.data)
        assert found == (case.openssl or ("accept" if case.verdict == "route" else "reject"))
        assert bool(case.openssl) == bool(case.why)
        if (
            found == "reject"
            and alert is not None
            and case.verdict not in {*OTHER_ALERT, "bad_name", "route"}
            and ":" not in case.verdict
        ):
            with pytest.raises(ClientHelloError) as caught:
                ClientHelloSniffer().receive_data(case.data)
            assert caught.value.alert == alert


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_what_openssl_refuses_as_malformed_is_refused(
    data: st.DataObject, judge: ssl.SSLContext
) -> None:
    raw = bytearray(data.draw(st.sampled_from([c for c in ROUTED if len(c.data) < 700])).data)
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found = verdict(ClientHelloSniffer(), bytes(raw))
    if found[0] != "route":
        return
    theirs, alert = openssl_verdict(judge, bytes(raw))
    # The record may go on behind the hello. Left to the server: whether a share is a point it can
    # use (47), what is missing when it does not know the ticket (109), and bytes behind the hello
    # in its record (10).
    assert theirs in ("accept", "need_data") or alert in (10, 40, 47, 70, 109)


# What OpenSSL takes and we do not: no host is known then.
REFUSED_NAMES = {"bad_name", "bad_server_name_list"}
CONTENTS = [
    b"",
    b"\x00",
    b"!",
    b"\x00\x00",
    b"\x05\x00",
    b"\x01\x00\x00",
    b"\x00\x01\x00",
    b"\x00\x09\x00\x1d",
    bytes(12),
    b"\xff" * 12,
]


@pytest.mark.parametrize("base", [BASE, BASE_12], ids=["TLS 1.3", "TLS 1.2"])
@pytest.mark.parametrize("kind", [*PARSERS, 17, 18, 21, 22, 23, 27, 44, 0x3374, 0x7A7A, 0xABCD])
def test_what_openssl_goes_on_with_is_taken(
    kind: int, base: tuple[bytes, ...], judge: ssl.SSLContext
) -> None:
    """Odd and broken extensions, alone and twice, and bytes behind the hello."""
    others = [part for part in (sni("a.example"), *base) if part[:2] != kind.to_bytes(2)]
    hellos = [hello(*others, ext(kind, content)) for content in CONTENTS]
    hellos += [hello(*others, ext(kind, content), ext(kind, content)) for content in CONTENTS]
    hellos += [found + b"\x10\x00\x00\x00" for found in hellos]
    for message in hellos:
        data = records(message)
        found = verdict(ClientHelloSniffer(), data)[0]
        theirs, alert = openssl_verdict(judge, data)
        if theirs == "accept":
            assert found == "route" or found in REFUSED_NAMES, message.hex()
        elif found == "route":
            assert alert in (10, 40, 47, 70, 109), message.hex()
