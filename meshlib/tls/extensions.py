"""Extensions of a ClientHello that we read, each checked as strictly as OpenSSL checks it.

A malformed extension raises `ClientHelloError`; the content of an extension becomes keyword
arguments of a `ClientHello`. Extensions that are not listed here are opaque: their content is the
business of the two ends. So is the content of those that a server does not read in the version that
it chooses (`is_read`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Never, TypeAlias

from meshlib.authority import is_ip_address, normalize_host
from meshlib.errors import AuthorityError, ClientHelloError
from meshlib.tls.alerts import DECODE_ERROR, HANDSHAKE_FAILURE, ILLEGAL_PARAMETER

__all__ = [
    "PARSERS",
    "VERSIONED",
    "ExtensionFacts",
    "ExtensionType",
    "is_read",
    "numbers_16",
    "vector_8",
    "vector_16",
]


class ExtensionType:
    """Numbers of the extensions that mean something here (IANA, TLS ExtensionType Values)."""

    SERVER_NAME: Final = 0
    MAX_FRAGMENT_LENGTH: Final = 1
    STATUS_REQUEST: Final = 5
    SUPPORTED_GROUPS: Final = 10
    EC_POINT_FORMATS: Final = 11
    SIGNATURE_ALGORITHMS: Final = 13
    SRP: Final = 12
    USE_SRTP: Final = 14
    ALPN: Final = 16
    EXTENDED_MASTER_SECRET: Final = 23
    SESSION_TICKET: Final = 35
    PRE_SHARED_KEY: Final = 41
    EARLY_DATA: Final = 42
    SUPPORTED_VERSIONS: Final = 43
    PSK_KEY_EXCHANGE_MODES: Final = 45
    CERTIFICATE_AUTHORITIES: Final = 47
    POST_HANDSHAKE_AUTH: Final = 49
    SIGNATURE_ALGORITHMS_CERT: Final = 50
    KEY_SHARE: Final = 51
    ENCRYPTED_CLIENT_HELLO: Final = 0xFE0D
    RENEGOTIATION_INFO: Final = 0xFF01


@dataclass(slots=True)
class ExtensionFacts:
    """Facts from the extensions read so far; the names are those of `ClientHello`, where an absent
    extension leaves the default. `faults` are the errors of extensions that count in some versions
    only, with their types.
    """

    server_name: str | None = None
    server_name_valid: bool = True
    alpn_protocols: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    point_formats: tuple[int, ...] = ()
    signature_algorithms: tuple[int, ...] = ()
    key_shares: tuple[int, ...] = ()
    ticket: bytes | None = None
    psk_identities: tuple[bytes, ...] = ()
    early_data: bool = False
    ech: bool = False
    types: list[int] = field(default_factory=list)
    faults: tuple[tuple[int, ClientHelloError], ...] = ()


ExtensionParser: TypeAlias = Callable[[bytes, ExtensionFacts], None]


def vector_8(data: bytes, reason: str) -> bytes:
    """The content of a vector with one byte of length that fills `data` exactly and is not
    empty.
    """
    if len(data) < 2 or data[0] != len(data) - 1:
        _refuse(reason)
    return data[1:]


def vector_16(data: bytes, reason: str) -> bytes:
    """The content of a vector with two bytes of length that fills `data` exactly and is not
    empty.
    """
    if len(data) < 3 or (data[0] << 8) + data[1] != len(data) - 2:
        _refuse(reason)
    return data[2:]


def numbers_16(data: bytes, reason: str) -> tuple[int, ...]:
    """`data` as numbers of two bytes."""
    if len(data) & 1:
        _refuse(reason)
    return struct.unpack(f"!{len(data) >> 1}H", data)


def _refuse(reason: str, alert: int = DECODE_ERROR) -> Never:
    what = reason.removeprefix("bad_").replace("_", " ")
    raise ClientHelloError(f"the {what} of the hello is malformed", reason=reason, alert=alert)


def _server_name(data: bytes, facts: ExtensionFacts) -> None:
    # RFC 6066 3 has a list of names of several types; only one type was ever defined and one name
    # of it is allowed, so the only well-formed content is: length of the list, type 0, length of
    # the name, name. OpenSSL demands exactly this.
    size = len(data)
    if (
        size < 5
        or data[2] != 0
        or (data[0] << 8) + data[1] != size - 2
        or (data[3] << 8) + data[4] != size - 5
    ):
        _refuse("bad_server_name_list")
    facts.server_name, facts.server_name_valid = _read_name(data[5:])


def _read_name(raw: bytes) -> tuple[str, bool]:
    if raw.isascii():
        text = raw.decode("ascii")
        try:
            name = normalize_host(text)
        except AuthorityError:
            return _escape(raw), False
        # RFC 6066 3: an address is not permitted. A router that took one would send it to whoever
        # claimed that "name".
        return name, not is_ip_address(name)
    return (
        _escape(raw),
        False,
        # RFC 6066: A-labels. A name that folds to ASCII only in Unicode (a Kelvin sign) is another
        # name.
    )


def _escape(raw: bytes) -> str:
    return raw.decode("latin-1").encode("unicode_escape").decode("ascii")


def _alpn(data: bytes, facts: ExtensionFacts) -> None:
    content = vector_16(data, "bad_alpn")
    names = []
    position, size = 0, len(content)
    while position < size:
        end = position + 1 + content[position]
        if end == position + 1 or end > size:
            _refuse("bad_alpn")
        names.append(content[position + 1 : end])
        position = end
    facts.alpn_protocols = tuple(names)


def _versions(data: bytes, facts: ExtensionFacts) -> None:
    facts.versions = numbers_16(vector_8(data, "bad_supported_versions"), "bad_supported_versions")


def _groups(data: bytes, facts: ExtensionFacts) -> None:
    facts.groups = numbers_16(vector_16(data, "bad_supported_groups"), "bad_supported_groups")


def _point_formats(data: bytes, facts: ExtensionFacts) -> None:
    facts.point_formats = tuple(vector_8(data, "bad_ec_point_formats"))


def _signature_algorithms(data: bytes, facts: ExtensionFacts) -> None:
    facts.signature_algorithms = numbers_16(
        vector_16(data, "bad_signature_algorithms"), "bad_signature_algorithms"
    )


def _signature_algorithms_cert(data: bytes, facts: ExtensionFacts) -> None:
    numbers_16(vector_16(data, "bad_signature_algorithms_cert"), "bad_signature_algorithms_cert")


def _max_fragment_length(data: bytes, facts: ExtensionFacts) -> None:
    if len(data) != 1:
        _refuse("bad_max_fragment_length")
    if not 1 <= data[0] <= 4:
        _refuse("bad_max_fragment_length", ILLEGAL_PARAMETER)


def _status_request(data: bytes, facts: ExtensionFacts) -> None:
    # RFC 6066 8: type, responder ids, extensions. The content of types other than OCSP is
    # undefined.
    if not data:
        _refuse("bad_status_request")
    if data[0] != 1:
        return
    end = 3 + int.from_bytes(data[1:3], "big")
    for responder in _list_16(data[3:end], "bad_status_request"):
        if not any(
            _is_der(responder, outer, inner) for outer, inner in ((0xA1, 0x30), (0xA2, 0x04))
        ):
            _refuse("bad_status_request")
    extensions = data[end + 2 :]
    if len(data) < end + 2 or int.from_bytes(data[end : end + 2], "big") != len(extensions):
        _refuse("bad_status_request")
    if extensions and not _is_der(extensions, 0x30):
        _refuse("bad_status_request")


def _list_16(content: bytes, reason: str) -> list[bytes]:
    # Items with two bytes of length, none of them empty.
    items = []
    position, size = 0, len(content)
    while position < size:
        start = position + 2
        position = start + int.from_bytes(content[position:start], "big")
        if position == start or position > size:
            _refuse(reason)
        items.append(content[start:position])
    return items


def _is_der(data: bytes, tag: int, inner: int | None = None) -> bool:
    # Whether `data` is one DER element with this tag and a length that fits; `inner` is the tag of
    # the one inside.
    if len(data) < 2 or data[0] != tag:
        return False
    head = 2 + (data[1] & 0x7F if data[1] & 0x80 else 0)
    length = int.from_bytes(data[2:head], "big") if data[1] & 0x80 else data[1]
    return length == len(data) - head and (inner is None or _is_der(data[head:], inner))


def _ticket(data: bytes, facts: ExtensionFacts) -> None:
    facts.ticket = data


def _early_data(data: bytes, facts: ExtensionFacts) -> None:
    _empty(data, facts)
    facts.early_data = True


def _empty(data: bytes, facts: ExtensionFacts) -> None:
    if data:
        _refuse("bad_extension")


def _psk_modes(data: bytes, facts: ExtensionFacts) -> None:
    vector_8(data, "bad_psk_key_exchange_modes")


def _certificate_authorities(data: bytes, facts: ExtensionFacts) -> None:
    if data == b"\x00\x00":  # against RFC 8446 4.2.4, and clear
        return
    for name in _list_16(
        vector_16(data, "bad_certificate_authorities"), "bad_certificate_authorities"
    ):
        if not _is_der(name, 0x30):
            _refuse("bad_certificate_authorities")


def _renegotiation_info(data: bytes, facts: ExtensionFacts) -> None:
    # RFC 5746 3.6: in a first hello renegotiated_connection is empty. What is behind it, OpenSSL
    # does not look at.
    if data[:1] != b"\x00":
        _refuse(
            "bad_renegotiation_info",
            HANDSHAKE_FAILURE if data and data[0] == len(data) - 1 else DECODE_ERROR,
        )


# Lengths of the shares of the groups that every TLS library knows; NIST's are uncompressed points
# (RFC 8446 4.2.8.2).
_SHARE_SIZES: Final = {0x0017: 65, 0x0018: 97, 0x0019: 133, 0x001D: 32, 0x001E: 56}


def _key_share(data: bytes, facts: ExtensionFacts) -> None:
    # An empty list is well formed: it asks for a HelloRetryRequest (RFC 8446 4.2.8).
    size = len(data)
    if size < 2 or (data[0] << 8) + data[1] != size - 2:
        _refuse("bad_key_share")
    groups = []
    position = 2
    while position < size:
        start = position + 4
        if start >= size:
            _refuse("bad_key_share")
        group, length = struct.unpack_from("!HH", data, position)
        position = start + length
        if not length or position > size:
            _refuse("bad_key_share")
        if _SHARE_SIZES.get(group, length) != length or (
            0x0017 <= group <= 0x0019 and data[start] != 4
        ):
            _refuse("bad_key_share", ILLEGAL_PARAMETER)
        groups.append(group)
    facts.key_shares = tuple(groups)


def _pre_shared_key(data: bytes, facts: ExtensionFacts) -> None:
    # RFC 8446 4.2.11: identities (each with four bytes of age), then as many binders. Those are
    # read by a server that knows the identity, and by nobody else.
    size = len(data)
    end = 2 + int.from_bytes(data[:2], "big")
    identities = []
    position = 2
    if end > size:
        _refuse("bad_pre_shared_key")
    while position < end:
        start = position + 2
        length = int.from_bytes(data[position:start], "big")
        position = start + length + 4
        if not length or position > end:
            _refuse("bad_pre_shared_key")
        identities.append(data[start : start + length])
    facts.psk_identities = tuple(identities)


def _srp(data: bytes, facts: ExtensionFacts) -> None:
    # RFC 5054 2.8.1: a user name.
    if not data or data[0] != len(data) - 1 or 0 in data[1:]:
        _refuse("bad_srp")


def _out_of_place(data: bytes, facts: ExtensionFacts) -> None:
    # use_srtp belongs to DTLS (RFC 5764).
    _refuse("extension_out_of_place", ILLEGAL_PARAMETER)


def _ech(data: bytes, facts: ExtensionFacts) -> None:
    facts.ech = True


PARSERS: Final[dict[int, ExtensionParser]] = {
    ExtensionType.SERVER_NAME: _server_name,
    ExtensionType.MAX_FRAGMENT_LENGTH: _max_fragment_length,
    ExtensionType.STATUS_REQUEST: _status_request,
    ExtensionType.SUPPORTED_GROUPS: _groups,
    ExtensionType.EC_POINT_FORMATS: _point_formats,
    ExtensionType.SIGNATURE_ALGORITHMS: _signature_algorithms,
    ExtensionType.SRP: _srp,
    ExtensionType.USE_SRTP: _out_of_place,
    ExtensionType.ALPN: _alpn,
    ExtensionType.EXTENDED_MASTER_SECRET: _empty,
    ExtensionType.SESSION_TICKET: _ticket,
    ExtensionType.PRE_SHARED_KEY: _pre_shared_key,
    ExtensionType.EARLY_DATA: _early_data,
    ExtensionType.SUPPORTED_VERSIONS: _versions,
    ExtensionType.PSK_KEY_EXCHANGE_MODES: _psk_modes,
    ExtensionType.CERTIFICATE_AUTHORITIES: _certificate_authorities,
    ExtensionType.POST_HANDSHAKE_AUTH: _empty,
    ExtensionType.SIGNATURE_ALGORITHMS_CERT: _signature_algorithms_cert,
    ExtensionType.KEY_SHARE: _key_share,
    ExtensionType.ENCRYPTED_CLIENT_HELLO: _ech,
    ExtensionType.RENEGOTIATION_INFO: _renegotiation_info,
}

# Extensions that servers read in TLS 1.3 only, and up to TLS 1.2 only (RFC 8446 4.2, and the
# specifications of the others); OpenSSL skips them otherwise, whatever they hold.
_TLS13_ONLY: Final = frozenset(
    {
        ExtensionType.EARLY_DATA,
        ExtensionType.PSK_KEY_EXCHANGE_MODES,
        ExtensionType.CERTIFICATE_AUTHORITIES,
        ExtensionType.POST_HANDSHAKE_AUTH,
        ExtensionType.KEY_SHARE,
    }
)
_TLS12_ONLY: Final = frozenset(
    {
        ExtensionType.EC_POINT_FORMATS,
        ExtensionType.EXTENDED_MASTER_SECRET,
        ExtensionType.SRP,
        ExtensionType.RENEGOTIATION_INFO,
    }
)
VERSIONED: Final = _TLS13_ONLY | _TLS12_ONLY


def is_read(kind: int, *, tls13: bool) -> bool:
    """Whether a server reads extensions of this type where TLS 1.3 is offered, or not."""
    return kind not in (_TLS12_ONLY if tls13 else _TLS13_ONLY)
