"""ClientHellos built by hand: good ones, odd ones and broken ones, each with the verdict we want.

`openssl` is what OpenSSL 3.0 says when it differs from our verdict; `why` is then the reason for
the difference.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = ["CASES", "Case", "ext", "hello", "records", "sni", "u8", "u16"]


def u8(data: bytes) -> bytes:
    """`data` as a vector with one byte of length."""
    return bytes((len(data),)) + data


def u16(data: bytes) -> bytes:
    """`data` as a vector with two bytes of length."""
    return struct.pack("!H", len(data)) + data


def numbers(*values: int) -> bytes:
    return struct.pack(f"!{len(values)}H", *values)


def ext(kind: int, data: bytes = b"") -> bytes:
    """One extension."""
    return struct.pack("!H", kind) + u16(data)


def sni(name: bytes | str) -> bytes:
    """A server_name extension with one name."""
    raw = name.encode() if isinstance(name, str) else name
    return ext(0, u16(b"\x00" + u16(raw)))


X25519: Final = b"\x09" + bytes(31)
SUITES: Final = numbers(0x1301, 0x1302, 0xC02B, 0xC02F)
GROUPS: Final = ext(10, u16(numbers(0x001D, 0x0017)))
POINTS: Final = ext(11, u8(b"\x00"))
SIGALGS: Final = ext(13, u16(numbers(0x0403, 0x0804, 0x0401)))
VERSIONS: Final = ext(43, u8(numbers(0x0304, 0x0303)))
MODES: Final = ext(45, u8(b"\x01"))
SHARE: Final = ext(51, u16(numbers(0x001D) + u16(X25519)))
PSK: Final = ext(41, u16(u16(b"ticket" * 20) + bytes(4)) + u16(u8(bytes(32))))
ALPN: Final = ext(16, u16(u8(b"h2") + u8(b"http/1.1")))
OCSP_ID: Final = b"\xa2\x16\x04\x14" + bytes(20)
BASE: Final = (GROUPS, POINTS, SIGALGS, VERSIONS, MODES, SHARE)
BASE_12: Final = (GROUPS, POINTS, SIGALGS)
NAME: Final = sni("a.example")


def hello(
    *extensions: bytes,
    version: int = 0x0303,
    session_id: bytes = bytes(32),
    suites: bytes = SUITES,
    compression: bytes = b"\x00",
    block: bytes | None = None,
) -> bytes:
    """A handshake message with a ClientHello; `block` replaces the extensions with their length."""
    body = (
        struct.pack("!H", version)
        + bytes(range(32))
        + u8(session_id)
        + u16(suites)
        + u8(compression)
    )
    body += u16(b"".join(extensions)) if block is None else block
    return message(body)


def message(body: bytes, *, kind: int = 1, length: int | None = None) -> bytes:
    return bytes((kind,)) + (len(body) if length is None else length).to_bytes(3, "big") + body


def records(
    data: bytes, sizes: Iterable[int] = (), *, version: int = 0x0301, rest: int = 1 << 14
) -> bytes:
    """`data` in handshake records of the given sizes, then of `rest` bytes each."""
    out, position = bytearray(), 0
    for size in sizes:
        out += b"\x16" + struct.pack("!H", version) + u16(data[position : position + size])
        position += size
    while position < len(data):
        out += b"\x16" + struct.pack("!H", version) + u16(data[position : position + rest])
        position += rest
    return bytes(out)


class Case(NamedTuple):
    """`verdict`: "route" (with `name`), "bad_name", "need_data", "not_tls:KIND", or the reason of
    the error.
    """

    title: str
    data: bytes
    verdict: str
    name: str | None = None
    openssl: str = ""
    why: str = ""


def _good() -> list[Case]:
    whole = hello(NAME, *BASE)
    name_at = whole.index(b"a.example")
    big = ext(21, bytes(15_000))
    pq = ext(
        51,
        u16(
            numbers(0x11EC)
            + u16(bytes(1216))
            + numbers(0x4588)
            + u16(bytes(1584))
            + numbers(0x001D)
            + u16(X25519)
        ),
    )
    pq_groups = ext(10, u16(numbers(0x11EC, 0x4588, 0x001D)))
    rest = (POINTS, SIGALGS, VERSIONS, MODES)
    found = {
        "plain": records(whole),
        "TLS 1.2": records(hello(NAME, *BASE_12)),
        "TLS 1.2 as client version 0301": records(hello(NAME, *BASE_12, version=0x0301)),
        "client version 0304 without supported_versions": records(
            hello(NAME, *BASE_12, version=0x0304)
        ),
        "client version 0399 without supported_versions": records(
            hello(NAME, *BASE_12, version=0x0399)
        ),
        "client version 0403 without supported_versions": records(
            hello(NAME, *BASE_12, version=0x0403)
        ),
        "SRP": records(hello(NAME, ext(12, u8(b"user")), *BASE_12)),
        "no session id": records(hello(NAME, *BASE, session_id=b"")),
        "record boundary after byte 1": records(whole, [1]),
        "record boundary after the handshake header": records(whole, [4]),
        "record boundary inside the name": records(whole, [name_at + 3]),
        "records of one byte": records(whole, rest=1),
        "records of seven bytes": records(whole, rest=7),
        "an empty record before": records(whole, [0]),
        "an empty record between": records(whole, [10, 0]),
        "32 empty records in a row": records(whole, [0] * 32),
        "two runs of 20 empty records": records(whole, [0] * 20 + [5] + [0] * 20),
        "15 KB of padding before the name": records(hello(big, NAME, *BASE)),
        "17 KB over two records": records(hello(big, ext(35, bytes(2200)), NAME, *BASE)),
        "60 KB over four records": records(hello(ext(21, bytes(60_000)), NAME, *BASE)),
        "6 KB ticket": records(hello(ext(35, bytes(6000)), NAME, *BASE_12)),
        "8 KB PSK": records(
            hello(NAME, *BASE, ext(41, u16(u16(bytes(8000)) + bytes(4)) + u16(u8(bytes(48)))))
        ),
        "post-quantum shares before the name": records(hello(pq, pq_groups, *rest, NAME)),
        "ECH outer": records(
            hello(
                NAME,
                *BASE,
                ext(0xFE0D, b"\x00" + numbers(1, 1) + b"\x07" + u16(bytes(32)) + u16(bytes(200))),
            )
        ),
        "GREASE everywhere": records(
            hello(
                ext(0x1A1A),
                NAME,
                POINTS,
                SIGALGS,
                MODES,
                ext(10, u16(numbers(0x2A2A, 0x001D))),
                ext(43, u8(numbers(0x3A3A, 0x0304, 0x0303))),
                ext(51, u16(numbers(0x2A2A) + u16(b"\x00") + numbers(0x001D) + u16(X25519))),
                ext(0x4A4A, b"\x00"),
                suites=numbers(0x0A0A) + SUITES,
            )
        ),
        "PSK and early data, its bytes behind the hello": records(hello(NAME, *BASE, ext(42), PSK))
        + b"\x17\x03\x03\x00\x10"
        + bytes(16),
        "a change_cipher_spec record behind the hello": records(whole)
        + b"\x14\x03\x03\x00\x01\x01",
        "compression methods deflate and null, TLS 1.2": records(
            hello(NAME, *BASE_12, compression=b"\x01\x00")
        ),
        "empty ALPN-less, empty ticket": records(hello(NAME, ext(35), *BASE)),
        "ALPN": records(hello(NAME, ALPN, *BASE)),
        "status_request": records(
            hello(NAME, ext(5, b"\x01" + u16(u16(OCSP_ID)) + u16(b"")), *BASE)
        ),
        "status_request of another type": records(hello(NAME, ext(5, b"\x09junk"), *BASE)),
        "max_fragment_length": records(hello(NAME, ext(1, b"\x02"), *BASE)),
        "extended master secret, renegotiation_info, post handshake auth": records(
            hello(NAME, ext(23), ext(0xFF01, b"\x00"), ext(49), *BASE)
        ),
        "signature_algorithms_cert": records(hello(NAME, ext(50, u16(numbers(0x0403))), *BASE)),
        "an extension nobody knows": records(hello(NAME, ext(0xABCD, b"?" * 300), *BASE)),
    }
    cases = [Case(title, data, "route", "a.example") for title, data in found.items()]
    for minor in range(5):
        cases.append(
            Case(
                f"record version 030{minor}",
                records(whole, version=0x0300 + minor),
                "route",
                "a.example",
            )
        )
    cases += [
        Case("upper case", records(hello(sni("A.ExAmPlE"), *BASE)), "route", "a.example"),
        Case("trailing dot", records(hello(sni("a.example."), *BASE)), "route", "a.example"),
        Case("underscore", records(hello(sni("my_app.example"), *BASE)), "route", "my_app.example"),
        Case(
            "A-label",
            records(hello(sni("xn--bcher-kva.example"), *BASE)),
            "route",
            "xn--bcher-kva.example",
        ),
        Case("one label", records(hello(sni("localhost"), *BASE)), "route", "localhost"),
        Case(
            "longest label",
            records(hello(sni("x" * 63 + ".example"), *BASE)),
            "route",
            "x" * 63 + ".example",
        ),
        Case("no server_name", records(hello(*BASE)), "route", None),
        Case(
            "no extensions",
            records(hello(block=b"", suites=numbers(0x002F, 0x009C))),
            "route",
            None,
        ),
        Case(
            "an empty extensions block",
            records(hello(suites=numbers(0x002F, 0x009C))),
            "route",
            None,
        ),
    ]
    return cases


_NO_NAME: Final = (
    "OpenSSL hands any bytes to the application; these are no host name, "
    "and no route may match them"
)


def _bad_names() -> list[Case]:
    names: dict[str, bytes] = {
        "UTF-8": "bücher.example".encode(),
        "Latin-1": "bücher.example".encode("latin-1"),
        "a wildcard": b"*.example",
        "a port": b"a.example:443",
        "IPv4": b"192.0.2.1",
        "IPv4 look-alike": b"192.0.2.400",
        "IPv6": b"2001:db8::1",
        "IPv6 in brackets": b"[2001:db8::1]",
        "a space": b"a.example ",
        "CR LF": b"a.example\r\nX: y",
        "two dots": b"a..example",
        "a leading dot": b".a.example",
        "only a dot": b".",
        "per cent": b"a%2eexample",
        "a label of 64": b"x" * 64 + b".example",
        "254 bytes": b".".join([b"x" * 61] * 4) + b".example"[:7],
        "a full-width dot": "a\uff0eexample".encode(),
        "a Kelvin sign": "\u212aelvin.example".encode(),
        "escape codes": b"\x1b[2Ja.example",
        "a slash": b"a.example/x",
        "a leading hyphen": b"-a.example",
        "an empty name": b"",
    }
    cases = [
        Case(
            f"name: {t}", records(hello(sni(n), *BASE)), "bad_name", openssl="accept", why=_NO_NAME
        )
        for t, n in names.items()
    ]
    cases.append(Case("name: NUL", records(hello(sni(b"a.example\x00.b"), *BASE)), "bad_name"))
    cases.append(Case("name: 256 bytes", records(hello(sni(b"x." * 128), *BASE)), "bad_name"))
    return cases


def _broken_extensions() -> list[Case]:
    def case(
        title: str,
        reason: str,
        *parts: bytes,
        base: Sequence[bytes] = BASE,
        openssl: str = "",
        why: str = "",
    ) -> Case:
        return Case(title, records(hello(*parts, *base)), reason, openssl=openssl, why=why)

    def without(*absent: bytes) -> tuple[bytes, ...]:
        return tuple(part for part in BASE if part not in absent)

    name = b"\x00" + u16(b"a.example")
    listed = "bad_server_name_list"
    late = (GROUPS, POINTS, SIGALGS, VERSIONS, MODES)
    binder = u8(bytes(32))
    return [
        case("two server_name extensions", "duplicate_extension", NAME, NAME),
        case("two different server_name extensions", "duplicate_extension", NAME, sni("b.example")),
        case("two names in one extension", listed, ext(0, u16(name + name))),
        case("a name of another type", listed, ext(0, u16(b"\x01" + u16(b"a.example")))),
        case("another type, then a name", listed, ext(0, u16(b"\x01" + u16(b"x") + name))),
        case("an empty list of names", listed, ext(0, u16(b""))),
        case("server_name without content", listed, ext(0)),
        case("server_name with one byte", listed, ext(0, b"\x00")),
        case("list of names longer than its extension", listed, ext(0, b"\x00\x20" + name)),
        case("list of names shorter than its extension", listed, ext(0, b"\x00\x05" + name)),
        case("name longer than its list", listed, ext(0, u16(b"\x00\x00\x20a.example"))),
        case("name shorter than its list", listed, ext(0, u16(b"\x00\x00\x02a.example"))),
        case("garbage behind the list of names", listed, ext(0, u16(name) + b"!")),
        case("two ALPN extensions", "duplicate_extension", NAME, ALPN, ALPN),
        case("two supported_groups", "duplicate_extension", NAME, GROUPS),
        case("ALPN without content", "bad_alpn", NAME, ext(16)),
        case("ALPN, empty list", "bad_alpn", NAME, ext(16, u16(b""))),
        case("ALPN, empty protocol", "bad_alpn", NAME, ext(16, u16(u8(b"h2") + u8(b"")))),
        case("ALPN, protocol longer than the list", "bad_alpn", NAME, ext(16, u16(b"\x09h2"))),
        case("ALPN, wrong list length", "bad_alpn", NAME, ext(16, b"\x00\x09" + u8(b"h2"))),
        case("ALPN, garbage behind", "bad_alpn", NAME, ext(16, u16(u8(b"h2")) + b"x")),
        case(
            "supported_versions, empty",
            "bad_supported_versions",
            NAME,
            ext(43, u8(b"")),
            base=without(VERSIONS),
        ),
        case(
            "supported_versions, odd",
            "bad_supported_versions",
            NAME,
            ext(43, u8(b"\x03\x04\x03")),
            base=without(VERSIONS),
        ),
        case(
            "supported_versions, too long",
            "bad_supported_versions",
            NAME,
            ext(43, b"\x08\x03\x04"),
            base=without(VERSIONS),
        ),
        case(
            "supported_versions, garbage",
            "bad_supported_versions",
            NAME,
            ext(43, u8(b"\x03\x04") + b"!"),
            base=without(VERSIONS),
        ),
        case(
            "supported_groups, empty",
            "bad_supported_groups",
            NAME,
            ext(10, u16(b"")),
            base=without(GROUPS),
        ),
        case(
            "supported_groups, odd",
            "bad_supported_groups",
            NAME,
            ext(10, u16(b"\x00\x1d\x00")),
            base=without(GROUPS),
        ),
        case(
            "supported_groups, wrong length",
            "bad_supported_groups",
            NAME,
            ext(10, b"\x00\x09\x00\x1d"),
            base=without(GROUPS),
        ),
        case(
            "point formats, empty",
            "bad_ec_point_formats",
            NAME,
            ext(11, u8(b"")),
            base=(GROUPS, SIGALGS),
        ),
        case(
            "point formats, wrong length",
            "bad_ec_point_formats",
            NAME,
            ext(11, b"\x05\x00"),
            base=(GROUPS, SIGALGS),
        ),
        case(
            "signature_algorithms, empty",
            "bad_signature_algorithms",
            NAME,
            ext(13, u16(b"")),
            base=without(SIGALGS),
        ),
        case(
            "signature_algorithms, odd",
            "bad_signature_algorithms",
            NAME,
            ext(13, u16(b"\x04\x03\x08")),
            base=without(SIGALGS),
        ),
        case(
            "signature_algorithms_cert, odd",
            "bad_signature_algorithms_cert",
            NAME,
            ext(50, u16(b"\x04\x03\x08")),
        ),
        case(
            "max_fragment_length of two bytes", "bad_max_fragment_length", NAME, ext(1, b"\x01\x01")
        ),
        case("max_fragment_length 9", "bad_max_fragment_length", NAME, ext(1, b"\x09")),
        case("status_request without content", "bad_status_request", NAME, ext(5)),
        case("status_request cut", "bad_status_request", NAME, ext(5, b"\x01\x00")),
        case(
            "status_request, empty id",
            "bad_status_request",
            NAME,
            ext(5, b"\x01" + u16(u16(b"")) + u16(b"")),
        ),
        case(
            "status_request, id too long",
            "bad_status_request",
            NAME,
            ext(5, b"\x01" + u16(b"\x00\x09id") + u16(b"")),
        ),
        case(
            "status_request, an id that is not DER",
            "bad_status_request",
            NAME,
            ext(5, b"\x01" + u16(u16(b"id")) + u16(b"")),
        ),
        case(
            "status_request, extensions that are not DER",
            "bad_status_request",
            NAME,
            ext(5, b"\x01" + u16(b"") + u16(b"x")),
        ),
        case(
            "status_request, garbage behind",
            "bad_status_request",
            NAME,
            ext(5, b"\x01" + u16(b"") + u16(b"") + b"!"),
        ),
        case("early_data with content", "bad_extension", NAME, ext(42, b"!")),
        case("post handshake auth with content", "bad_extension", NAME, ext(49, b"!")),
        case(
            "TLS 1.2, extended master secret with content",
            "bad_extension",
            NAME,
            ext(23, b"!"),
            base=BASE_12,
        ),
        case(
            "PSK that ends behind its extension",
            "bad_pre_shared_key",
            NAME,
            *BASE,
            ext(41, b"\x09"),
            base=(),
        ),
        case(
            "PSK modes, empty",
            "bad_psk_key_exchange_modes",
            NAME,
            ext(45, u8(b"")),
            base=without(MODES),
        ),
        case(
            "PSK modes, wrong length",
            "bad_psk_key_exchange_modes",
            NAME,
            ext(45, b"\x09\x01"),
            base=without(MODES),
        ),
        case(
            "certificate_authorities, empty name",
            "bad_certificate_authorities",
            NAME,
            ext(47, u16(u16(b""))),
        ),
        case(
            "certificate_authorities, not DER",
            "bad_certificate_authorities",
            NAME,
            ext(47, u16(u16(b"\x30\x05\x00"))),
        ),
        case(
            "certificate_authorities, too long",
            "bad_certificate_authorities",
            NAME,
            ext(47, u16(b"\x00\x09x")),
        ),
        case(
            "renegotiation_info with content",
            "bad_renegotiation_info",
            NAME,
            ext(0xFF01, u8(b"verify")),
            base=BASE_12,
        ),
        case(
            "renegotiation_info, wrong length",
            "bad_renegotiation_info",
            NAME,
            ext(0xFF01, b"\x05"),
            base=BASE_12,
        ),
        case(
            "renegotiation_info, nothing", "bad_renegotiation_info", NAME, ext(0xFF01), base=BASE_12
        ),
        case("key_share, nothing", "bad_key_share", NAME, ext(51), base=late),
        case(
            "key_share, half an entry",
            "bad_key_share",
            NAME,
            ext(51, u16(b"\x00\x1d\x00")),
            base=late,
        ),
        case(
            "key_share, wrong list length",
            "bad_key_share",
            NAME,
            ext(51, b"\x00\x09" + b"\x00\x1d"),
            base=late,
        ),
        case(
            "key_share, empty share",
            "bad_key_share",
            NAME,
            ext(51, u16(numbers(0x1D, 0))),
            base=late,
        ),
        case(
            "key_share, share longer than the list",
            "bad_key_share",
            NAME,
            ext(51, u16(numbers(0x1D, 64) + X25519)),
            base=late,
        ),
        case(
            "key_share, x25519 of 31 bytes",
            "bad_key_share",
            NAME,
            ext(51, u16(numbers(0x1D) + u16(X25519[1:]))),
            base=late,
        ),
        case(
            "key_share, P-256 compressed",
            "bad_key_share",
            NAME,
            ext(51, u16(numbers(0x17) + u16(b"\x02" * 65))),
            base=late,
        ),
        case(
            "key_share of a group not offered",
            "bad_key_share",
            NAME,
            ext(51, u16(numbers(0x18) + u16(b"\x04" * 97))),
            base=late,
        ),
        case("TLS 1.3 without key_share", "missing_extension", NAME, base=without(SHARE)),
        case("TLS 1.3 without supported_groups", "missing_extension", NAME, base=without(GROUPS)),
        case(
            "TLS 1.3 without groups and shares",
            "missing_extension",
            NAME,
            base=without(GROUPS, SHARE),
        ),
        case(
            "TLS 1.3 without signature_algorithms", "missing_extension", NAME, base=without(SIGALGS)
        ),
        case("SRP with a wrong length", "bad_srp", NAME, ext(12, b"\x09user"), base=BASE_12),
        case("SRP with a NUL", "bad_srp", NAME, ext(12, u8(b"us\x00er")), base=BASE_12),
        case(
            "use_srtp, which is DTLS's",
            "extension_out_of_place",
            NAME,
            ext(14, u16(b"\x00\x01") + u8(b"")),
        ),
        case("PSK not last, TLS 1.2", "psk_not_last", PSK, NAME, base=BASE_12),
        case("PSK not last", "psk_not_last", PSK, NAME),
        case("PSK without modes", "missing_extension", NAME, *without(MODES), PSK, base=()),
        case(
            "PSK, identity too long",
            "bad_pre_shared_key",
            NAME,
            *BASE,
            ext(41, u16(b"\x00\x99id") + u16(binder)),
            base=(),
        ),
        case(
            "PSK, empty identity",
            "bad_pre_shared_key",
            NAME,
            *BASE,
            ext(41, u16(bytes(6)) + u16(binder)),
            base=(),
        ),
    ]


def _broken_messages() -> list[Case]:
    whole = hello(NAME, *BASE)
    body = whole[4:]
    block = u16(b"".join((NAME, *BASE)))
    suites_at = 2 + 32 + 33
    found: dict[str, tuple[str, bytes]] = {
        "compression without null": (
            "bad_compression",
            records(hello(NAME, *BASE, compression=b"\x01")),
        ),
        "no compression methods": ("bad_compression", records(hello(NAME, *BASE, compression=b""))),
        "compression with TLS 1.3": (
            "bad_compression",
            records(hello(NAME, *BASE, compression=b"\x01\x00")),
        ),
        "two null methods with TLS 1.3": (
            "bad_compression",
            records(hello(NAME, *BASE, compression=b"\x00\x00")),
        ),
        "session id of 33 bytes": (
            "bad_session_id",
            records(hello(NAME, *BASE, session_id=bytes(33))),
        ),
        "no cipher suites": ("bad_cipher_suites", records(hello(NAME, *BASE, suites=b""))),
        "cipher suites of odd length": (
            "bad_cipher_suites",
            records(hello(NAME, *BASE, suites=SUITES + b"\x00")),
        ),
        "cipher suites longer than the hello": (
            "truncated",
            records(message(body[:suites_at] + b"\xff\xff" + body[suites_at + 2 :])),
        ),
        "client version 0200": ("bad_version", records(hello(NAME, *BASE_12, version=0x0200))),
        "client version 0300 with supported_versions": (
            "bad_version",
            records(hello(NAME, *BASE, version=0x0300)),
        ),
        "extensions length too small": (
            "bad_extensions_length",
            records(hello(block=struct.pack("!H", len(block) - 3) + block[2:])),
        ),
        "extensions length too large": (
            "bad_extensions_length",
            records(hello(block=struct.pack("!H", len(block) + 3) + block[2:])),
        ),
        "half an extensions length": ("bad_extensions_length", records(hello(block=b"\x00"))),
        "garbage behind the extensions": (
            "bad_extensions_length",
            records(hello(block=block + b"!!!")),
        ),
        "an extension longer than the rest": (
            "bad_extension_length",
            records(hello(block=u16(NAME + b"".join(BASE) + b"\xab\xcd\x00\x09!"))),
        ),
        "half an extension header": (
            "bad_extension_length",
            records(hello(block=u16(NAME + b"".join(BASE) + b"\xab\xcd\x00"))),
        ),
        "an empty hello": ("truncated", records(message(b""))),
        "a hello of 34 bytes": ("truncated", records(message(body[:34]))),
        "the hello ends in its session id": ("truncated", records(message(body[:40]))),
        "the hello ends in its cipher suites": (
            "truncated",
            records(message(body[: suites_at + 5])),
        ),
        "the hello ends before compression": (
            "truncated",
            records(message(body[: suites_at + 2 + len(SUITES)])),
        ),
        "the hello ends in compression": (
            "truncated",
            records(message(body[: suites_at + 2 + len(SUITES)] + b"\x09\x00")),
        ),
        "handshake length one too small": (
            "bad_extensions_length",
            records(message(body, length=len(body) - 1)),
        ),
        "a ServerHello": ("unexpected_handshake", records(message(body, kind=2))),
        "a HelloRequest": ("unexpected_handshake", records(message(b"", kind=0))),
        "16 MB claimed": ("hello_too_large", records(message(body, length=0xFFFFFF))),
        "33 empty records in a row": ("empty_records", records(whole, [0] * 33)),
        "a record of 16385 bytes": (
            "record_too_large",
            b"\x16\x03\x01\x40\x01" + hello(ext(21, bytes(16385 - len(whole) - 4)), NAME, *BASE),
        ),
        "an alert between two fragments": (
            "unexpected_record",
            records(whole[:20]) + b"\x15\x03\x01\x00\x02\x01\x00" + records(whole[20:]),
        ),
        "application data between two fragments": (
            "unexpected_record",
            records(whole[:20]) + b"\x17\x03\x03\x00\x01!" + records(whole[20:]),
        ),
        "an alert first": ("unexpected_record", b"\x15\x03\x01\x00\x02\x02\x28"),
        "application data first": ("unexpected_record", b"\x17\x03\x03\x00\x05hello"),
        "change_cipher_spec first": ("unexpected_record", b"\x14\x03\x01\x00\x01\x01"),
        "the second record is none": (
            "unexpected_record",
            records(whole[:20]) + b"GET / HTTP/1.1\r\n\r\n",
        ),
        "the second record has version 0500": (
            "bad_record_version",
            records(whole[:20]) + records(whole[20:], version=0x0500),
        ),
    }
    return [Case(t, data, reason) for t, (reason, data) in found.items()] + [
        Case(
            "70 KB",
            records(_large()),
            "hello_too_large",
            openssl="accept",
            why="our limit is 64 KiB as nginx's, OpenSSL's 128 KiB",
        ),
    ]


_BEHIND: Final = (
    "OpenSSL refuses it because it chooses TLS 1.3; with TLS 1.2 it goes on, and which of the two "
    "a server chooses is not known here"
)


def _left_to_the_server() -> list[Case]:
    # Forbidden, and yet OpenSSL goes on: the name is clear in all of them.
    def tls13(*parts: bytes) -> bytes:
        return records(hello(NAME, *BASE, *parts))

    def tls12(*parts: bytes) -> bytes:
        return records(hello(NAME, *BASE_12, *parts))

    def psk(identities: bytes, rest: bytes) -> bytes:
        return tls13(ext(41, u16(identities) + rest))

    whole, older = hello(NAME, *BASE), hello(NAME, *BASE_12)
    pair = u16(b"id") + bytes(4)
    binder = u8(bytes(32))
    found = {
        "an unknown extension twice": tls13(ext(0xABCD), ext(0xABCD)),
        "TLS 1.3, extended master secret with content": tls13(ext(23, b"!")),
        "TLS 1.3, no certificate_authorities": tls13(ext(47, u16(b""))),
        "two encrypted hellos": tls13(ext(0xFE0D, b"x"), ext(0xFE0D, b"y")),
        "TLS 1.2, renegotiation_info, garbage behind": tls12(ext(0xFF01, b"\x00\x00")),
        "TLS 1.3, renegotiation_info with content": tls13(ext(0xFF01, u8(b"verify"))),
        "TLS 1.3, renegotiation_info, wrong length": tls13(ext(0xFF01, b"\x05")),
        "TLS 1.3, renegotiation_info, nothing": tls13(ext(0xFF01)),
        "TLS 1.3, SRP with a wrong length": tls13(ext(12, b"\x09user")),
        "TLS 1.3, point formats, empty": records(
            hello(NAME, GROUPS, ext(11, u8(b"")), SIGALGS, VERSIONS, MODES, SHARE)
        ),
        "TLS 1.2 with a broken key_share": tls12(ext(51, b"!")),
        "TLS 1.2, key_share that ends behind its extension": tls12(
            ext(51, b"\x00\x40" + numbers(0x1D, 0x100)), ext(0xABCD, bytes(80))
        ),
        "TLS 1.2, PSK modes, empty": tls12(ext(45, u8(b""))),
        "TLS 1.2, early_data with content": tls12(ext(42, b"!")),
        "TLS 1.2, post handshake auth with content": tls12(ext(49, b"!")),
        "TLS 1.2, certificate_authorities, not DER": tls12(ext(47, u16(u16(b"\x30\x05\x00")))),
        "PSK, no identity": psk(b"", u16(binder)),
        "PSK, no binders": psk(pair, b""),
        "PSK, garbage behind": psk(pair, u16(binder) + b"!"),
        "PSK, short binder": psk(pair, u16(u8(bytes(9)))),
        "PSK, binder too long": psk(pair, u16(b"\x40" + bytes(32))),
        "PSK, two binders for one identity": psk(pair, u16(binder * 2)),
        "TLS 1.2, bytes behind the hello in its record": records(older + b"\x10\x00\x00\x00"),
        "TLS 1.2, half a message behind the hello": records(older + older[:20]),
        "TLS 1.2, two hellos in one record": records(older + hello(sni("b.example"), *BASE_12)),
        "TLS 1.2, bytes behind a hello in two records": records(older + b"\x0e\x00\x00\x00", [30]),
    }
    refused = {
        "half a message behind the hello": records(whole + whole[:20]),
        "two hellos in one record": records(whole + whole),
        "two hellos with different names in one record": records(
            whole + hello(sni("b.example"), *BASE)
        ),
    }
    return [Case(t, data, "route", "a.example") for t, data in found.items()] + [
        Case(t, data, "route", "a.example", openssl="reject", why=_BEHIND)
        for t, data in refused.items()
    ]


def _large() -> bytes:
    # Two bytes of extensions length end at 65,535; only cipher suites can make a hello larger than
    # that.
    return hello(ext(21, bytes(40_000)), NAME, *BASE, suites=SUITES + numbers(*[0x5A5A] * 15_000))


def _foreign() -> list[Case]:
    found = {
        "http": [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /x HTTP/1.0\r\n",
            b"OPTIONS * HTTP/1.1\r\n",
            b"M-SEARCH /x",
            b"PUT /",
        ],
        "http2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
        "ssh": [b"SSH-2.0-OpenSSH_9.2\r\n"],
        "proxy_v1": [b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", b"PROXY UNKNOWN\r\n"],
        "proxy_v2": [b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12)],
        "postgres": [b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"\x00\x00\x00\x08\x04\xd2\x16\x30"],
        "unknown": [
            b"\x00" * 20,
            b"\xff" * 20,
            b"\r\nGET / HTTP/1.1\r\n",
            b"EHLO\r\n",
            b"* OK IMAP\r\n",
            b"\x16\x02\x00\x00\x01",
            b"\x03\x00\x00\x13\x0e\xe0",
            b"get / http/1.1\r\n",
            b"\x80\x2e\x04",
            b"\x80\x2e\x01\x07",
            b"A" * 40,
            b"\x15\x00",
        ],
    }
    cases = [
        Case(f"{kind}: {data[:14]!r}", data, f"not_tls:{kind}")
        for kind, items in found.items()
        for data in items
    ]
    why = (
        "OpenSSL still reads the hello of SSL 2; it has no server name, "
        "and nobody has sent one for years"
    )
    v2 = b"\x01\x03\x01" + numbers(3, 0, 16) + b"\x00\x00\x2f" + bytes(16)
    cases.append(
        Case(
            "SSLv2 hello for TLS 1.0", b"\x80" + u8(v2), "not_tls:sslv2", openssl="accept", why=why
        )
    )
    cases.append(
        Case("SSLv2 hello for SSL 2", b"\x80" + u8(b"\x01\x00\x02" + v2[3:]), "not_tls:sslv2")
    )
    return cases


CASES: Final = tuple(
    _good()
    + _bad_names()
    + _broken_extensions()
    + _broken_messages()
    + _left_to_the_server()
    + _foreign()
)
