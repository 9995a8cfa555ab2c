"""The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): a header by which a proxy in
front names its client.

Bytes in, values out, and the PROXY header to send on. The caller decides whether to believe a
sender before it reads a byte: this module knows addresses, and no trust, socket or HTTP.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from meshlib.errors import LimitExceeded, ProxyProtocolError
from meshlib.need_data import NEED_DATA, NeedData

__all__ = [
    "ABSENT",
    "LONGEST_V2",
    "MAX_V1",
    "MAX_V2",
    "TLV",
    "Absent",
    "ProxyAddress",
    "ProxyHeader",
    "ProxyProtocolReader",
    "build_v1",
    "build_v2",
]

# The longest possible line of version 1: "PROXY UNKNOWN" with two full IPv6 addresses and ports,
# CRLF included (2.1).
MAX_V1: Final = 107
# Bytes behind the fixed 16 of version 2, unless the caller says otherwise. The protocol promises
# that a header fits the smallest TCP segment that every host must accept, 536 bytes (2); the
# largest addresses need 216 of them, which leaves room for TLVs that cloud balancers add.
MAX_V2: Final = 536
# What its two bytes of length can say. TLVs with a client's certificate need a few thousand.
LONGEST_V2: Final = 65535

_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED: Final = 16  # signature, version and command, family and transport, length

# Exactly one PROXY header: single spaces, ports without leading zeros.
_LINE: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]{2,39}) ([0-9A-Fa-f:.]{2,39}) "
    rb"(0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n"
)
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?\r\n")
# Tells version 1 from a request with the method PROXY: the target of a request begins otherwise.
_STARTS: Final = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", _V2)

_LOCAL, _PROXY = 0x20, 0x21
_CRC32C: Final = 0x03


class Absent(enum.Enum):
    """Type of `ABSENT`, the result "this connection does not begin with a PROXY protocol
    header".
    """

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


class ProxyAddress(NamedTuple):
    """An IP address in normal form, without zone, and a port; of a UNIX socket its path
    (undecodable bytes as surrogates) and 0.
    """

    host: str
    port: int


class TLV(NamedTuple):
    """A type and its value, unchanged (2.2.1 to 2.2.7)."""

    type: int
    value: bytes


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A PROXY protocol header. Without `source` and `destination` (LOCAL, UNKNOWN, UNSPEC) the
    connection is the proxy's own, a health check for instance.

    `transport` is "stream" or "datagram" ("" when there are no addresses); with `unix` the
    addresses are paths. `tlvs` are kept unchanged, those of LOCAL and UNSPEC left out; a CRC-32C
    among them is correct.
    """

    version: Literal[1, 2]
    source: ProxyAddress | None = None
    destination: ProxyAddress | None = None
    transport: Literal["stream", "datagram", ""] = ""
    unix: bool = False
    tlvs: tuple[TLV, ...] = ()


Result: TypeAlias = Literal[NeedData.NEED_DATA, Absent.ABSENT] | ProxyHeader


class ProxyProtocolReader:
    """Finds the PROXY header at the start of a connection, however it is cut into reads.

    `receive_data` takes bytes as read (none twice) and returns `NEED_DATA`, a `ProxyHeader`, or
    `ABSENT`; then `rest` holds the bytes behind the header, for `ABSENT` everything. Raises
    `ProxyProtocolError` for a malformed header and `LimitExceeded` for one that is too long: the
    connection is then to be closed (2, 2.2). `max_v2`: bytes behind the fixed 16 of version 2. At
    most `MAX_V1` or 16 + `max_v2` bytes are kept. One reader reads one connection.
    """

    __slots__ = ("_kept", "_max_v2", "_needed", "rest")

    def __init__(self, max_v2: int = MAX_V2) -> None:
        self._max_v2 = max_v2
        self._kept = b""
        self._needed = 0  # bytes of the whole header, once its length is known
        self.rest = b""

    def __repr__(self) -> str:
        return f"<ProxyProtocolReader {len(self._kept)} of {self._needed or '?'} bytes>"

    def receive_data(self, data: bytes) -> Result:
        """Read bytes, as the class says."""
        data = self._kept + data
        if not data.startswith(_STARTS):
            if any(start.startswith(data) for start in _STARTS):
                self._kept = data
                return NEED_DATA
            self._kept, self.rest = b"", data
            return ABSENT
        return self._version_2(data) if data.startswith(_V2) else self._version_1(data)

    def _version_1(self, data: bytes) -> Result:
        end = data.find(b"\r\n", 0, MAX_V1)
        if end < 0:
            if len(data) >= MAX_V1:
                raise LimitExceeded(
                    "bytes of a PROXY line", MAX_V1, reason="proxy_too_long", status_hint=400
                )
            self._kept = data
            return NEED_DATA
        line = data[: end + 2]
        header = _parse_line(line)
        self._kept, self.rest = b"", data[end + 2 :]
        return header

    def _version_2(self, data: bytes) -> Result:
        if not self._needed and len(data) >= _FIXED:
            length = int.from_bytes(data[14:16])
            if length > self._max_v2:
                raise LimitExceeded(
                    "bytes of a PROXY protocol header",
                    self._max_v2,
                    reason="proxy_too_long",
                    status_hint=400,
                )
            self._needed = _FIXED + length
        if not self._needed or len(data) < self._needed:
            self._kept = data
            return NEED_DATA
        header = _parse_binary(
            data[12], data[13], data[_FIXED : self._needed], data[: self._needed]
        )
        self._kept, self.rest = b"", data[self._needed :]
        return header


def _parse_line(line: bytes) -> ProxyHeader:
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(1)  # the rest of the line is to be ignored
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProxyProtocolError("not a line of the PROXY protocol", reason="proxy_syntax")
    version = 4 if match[1] == b"TCP4" else 6
    try:
        hosts = [ipaddress.ip_address(text.decode()) for text in match.group(2, 3)]
    except ValueError:
        raise ProxyProtocolError("an address that is none", reason="proxy_address") from None
    ports = [int(text) for text in match.group(4, 5)]
    if any(host.version != version for host in hosts) or max(ports) > 65535:
        raise ProxyProtocolError(
            "an address of another family, or a port that does not exist", reason="proxy_address"
        )
    return ProxyHeader(
        1, ProxyAddress(str(hosts[0]), ports[0]), ProxyAddress(str(hosts[1]), ports[1]), "stream"
    )


def _parse_binary(command: int, family: int, data: bytes, whole: bytes) -> ProxyHeader:
    if command == _LOCAL:
        return ProxyHeader(
            2
        )  # the proxy's own connection; all else is to be ignored, the family included (2.2)
    if command != _PROXY:
        raise ProxyProtocolError("a version or command that does not exist", reason="proxy_command")
    if family == 0:
        return ProxyHeader(2)
    size = {1: 4, 2: 16, 3: 108}.get(family >> 4)
    if size is None or family & 15 not in (1, 2):
        raise ProxyProtocolError("a family or transport that does not exist", reason="proxy_family")
    unix = family >> 4 == 3
    at = 2 * size if unix else 2 * size + 4
    if len(data) < at:
        raise ProxyProtocolError("shorter than its addresses", reason="proxy_length")
    hosts = data[:size], data[size : 2 * size]
    if unix:
        source, destination = (
            ProxyAddress(path.partition(b"\0")[0].decode("utf-8", "surrogateescape"), 0)
            for path in hosts
        )
    else:
        ports = int.from_bytes(data[at - 4 : at - 2]), int.from_bytes(data[at - 2 : at])
        source, destination = (
            ProxyAddress(str(ipaddress.ip_address(h)), p) for h, p in zip(hosts, ports, strict=True)
        )
    tlvs = _parse_tlvs(data, at, whole)
    return ProxyHeader(
        2, source, destination, "stream" if family & 15 == 1 else "datagram", unix, tlvs
    )


def _parse_tlvs(data: bytes, at: int, whole: bytes) -> tuple[TLV, ...]:
    found: list[TLV] = []
    checksums = 0
    while at < len(data):
        value = data[at + 3 : at + 3 + int.from_bytes(data[at + 1 : at + 3])]
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3])
        if end > len(data) or at + 3 > len(data):
            raise ProxyProtocolError("a TLV that ends behind the PROXY header", reason="proxy_tlv")
        if data[at] == _CRC32C:
            checksums += 1
            place = _FIXED + at + 3
            if (
                checksums > 1
                or len(value) != 4
                or _crc32c(whole[:place] + bytes(4) + whole[place + 4 :]) != int.from_bytes(value)
            ):
                raise ProxyProtocolError("the checksum does not fit", reason="proxy_checksum")
        found.append(TLV(data[at], value))
        at = end
    return tuple(found)


def _crc32c(data: bytes) -> int:
    """Castagnoli's CRC (RFC 3720 12.1), which the standard library does not have; for the few
    hundred bytes of a PROXY protocol header.
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE: Final = tuple(map(_table_entry, range(256)))


def build_v1(source: ProxyAddress | None, destination: ProxyAddress | None) -> bytes:
    """The line for a TCP connection between two IP addresses; "PROXY UNKNOWN" without one of them.

    Where one is IPv4 and the other IPv6, the first is written as an IPv6 address (::ffff:...).
    Raises ValueError for text that is not an address.
    """
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    left, right = _of_one_family(source.host, destination.host)
    return (
        f"PROXY TCP{left.version} {left} {right} {_port(source)} {_port(destination)}\r\n".encode()
    )


def build_v2(
    source: ProxyAddress | None, destination: ProxyAddress | None, tlvs: Iterable[TLV] = ()
) -> bytes:
    """The binary PROXY header for a TCP connection; LOCAL, without addresses and TLVs, when one of
    the addresses is missing.

    Families as in `build_v1`. Raises ValueError for text that is not an address, and for TLVs that
    do not fit `MAX_V2`.
    """
    if source is None or destination is None:
        return _V2 + bytes((_LOCAL, 0, 0, 0))
    left, right = _of_one_family(source.host, destination.host)
    data = left.packed + right.packed + _port(source).to_bytes(2) + _port(destination).to_bytes(2)
    data += b"".join(bytes((tlv.type,)) + len(tlv.value).to_bytes(2) + tlv.value for tlv in tlvs)
    if len(data) > MAX_V2:
        raise ValueError(f"{len(data)} bytes of addresses and TLVs are more than {MAX_V2}")
    return _V2 + bytes((_PROXY, 0x11 if left.version == 4 else 0x21)) + len(data).to_bytes(2) + data


_IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def _of_one_family(left: str, right: str) -> tuple[_IP, _IP]:
    first, second = (
        ipaddress.ip_address(left.partition("%")[0]),
        ipaddress.ip_address(right.partition("%")[0]),
    )
    if first.version == second.version:
        return first, second
    return _as_v6(first), _as_v6(second)


def _as_v6(address: _IP) -> ipaddress.IPv6Address:
    return (
        address
        if isinstance(address, ipaddress.IPv6Address)
        else ipaddress.IPv6Address(f"::ffff:{address}")
    )


def _port(address: ProxyAddress) -> int:
    if not 0 <= address.port <= 65535:
        raise ValueError(f"{address.port} is no port")
    return address.port
