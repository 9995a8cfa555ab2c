"""Host and port, parsed once, in one place, for labels, Host fields and server names alike.

One normal form makes a Host field, a server name and a label comparable: ASCII lower case, A-labels
(IDNA), no trailing dot, IPv6 compressed and without brackets. This module knows nothing of HTTP or
TLS.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import NamedTuple

from meshlib.errors import AuthorityError

__all__ = [
    "Authority",
    "client_network",
    "host_of",
    "is_ip_address",
    "normalize_host",
    "parse_authority",
    "parse_port",
]

# 253 characters is the longest name DNS can carry (RFC 1035 2.3.4, without the root dot). IDNA text
# may be longer than its A-label only by case folding tricks, and the standard library's codec has
# been quadratic in long labels (CVE-2022-45061), so longer text is refused before anything else
# reads it.
MAX_HOST = 253
_MAX_LABEL = 63

# Letters, digits, hyphen (RFC 952, 1123) and the underscore, which DNS allows and Docker names
# have.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# Characters that IDNA treats as a dot (RFC 3490 3.1).
_DOT = re.compile("[.\u3002\uff0e\uff61]")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
# Never part of a host, whatever their position: spaces, control bytes, and characters that end or
# split an authority.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f/?#@\\<>\"^`{|}%,;=!$&'()*+~]")


class Authority(NamedTuple):
    """`host` in normal form, "" when the text had none; `port` 1-65535 or None."""

    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def parse_authority(text: str, *, default_port: int | None = None) -> Authority:
    """Parse `host [ ":" port ]` (RFC 3986 3.2.2, 3.2.3), IPv6 in brackets.

    `default_port` is used when the text has no port, or an empty one ("example.com:"). Raises
    `AuthorityError` for userinfo, spaces, control bytes, paths, an empty host, bad labels, IPv4
    look-alikes ("1.2.3.400"), zone identifiers and ports outside 1-65535.
    """
    if text.startswith("["):
        end = text.find("]")
        if end < 0:
            raise AuthorityError("the bracket of the IPv6 address is not closed", reason="bad_ipv6")
        host = _ipv6(text[1:end])
        rest = text[end + 1 :]
        if not rest:
            return Authority(host, default_port)
        if not rest.startswith(":"):
            raise AuthorityError(
                "only a port may follow the IPv6 address", reason="bad_host", position=end + 1
            )
        port_text, port_at = rest[1:], end + 2
    else:
        host_text, colon, port_text = text.partition(":")
        port_at = len(host_text) + 1
        if ":" in port_text and "@" not in text:
            raise AuthorityError(
                "more than one colon; put an IPv6 address in brackets",
                reason="bad_host",
                position=port_at,
            )
        host = normalize_host(host_text if "@" not in text else text)
        if not colon:
            return Authority(host, default_port)
    if not port_text:
        return Authority(host, default_port)
    return Authority(host, parse_port(port_text, position=port_at))


def parse_port(text: str, *, position: int = 0) -> int:
    """Parse a port: 1-65535 in ASCII digits, nothing else (no sign, no space, no underscore);
    raises `AuthorityError`.
    """
    if not _PORT.fullmatch(text):
        raise AuthorityError(
            "a port is a number from 1 to 65535", reason="bad_port", position=position
        )
    port = int(text)
    if not 1 <= port <= 65535:
        raise AuthorityError(
            "a port is a number from 1 to 65535", reason="bad_port", position=position
        )
    return port


def normalize_host(text: str) -> str:
    """The normal form of a host name or IPv4 address, or of an IPv6 address without brackets.

    Raises `AuthorityError`; its `position` counts characters in `text`.
    """
    bad = _FORBIDDEN.search(text)
    if bad:
        what = (
            "a user name does not belong here"
            if bad.group() == "@"
            else "this character cannot be in a host name"
        )
        raise AuthorityError(what, reason="bad_host", position=bad.start())
    if len(text) > MAX_HOST + 1:
        raise AuthorityError(
            f"a host name has at most {MAX_HOST} characters", reason="bad_host", position=MAX_HOST
        )
    if ":" in text:
        return _ipv6(text)
    name = text.lower() if text.isascii() else _to_ascii(text)
    if name.endswith("."):
        name = name[:-1]
    if not name:
        raise AuthorityError("the host is empty", reason="empty_host")
    if len(name) > MAX_HOST:
        raise AuthorityError(
            f"a host name has at most {MAX_HOST} characters", reason="bad_host", position=MAX_HOST
        )
    position = 0
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            what = (
                "an empty label (two dots?)"
                if not label
                else f"{label[:70]!r} is not a label of a host name"
            )
            raise AuthorityError(
                what, reason="bad_host", position=min(position, max(len(text) - 1, 0))
            )
        position += len(label) + 1
    if name.rpartition(".")[2].isdigit():  # RFC 3986 7.4: a look-alike of IPv4 must be IPv4
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise AuthorityError(
                "this looks like an IPv4 address but is none", reason="bad_ipv4"
            ) from None
    return name


def is_ip_address(host: str) -> bool:
    """Return whether `host`, in normal form, is an IPv4 or IPv6 address."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def _ipv6(text: str) -> str:
    if "%" in text:
        raise AuthorityError(
            "a zone identifier means nothing on another machine", reason="bad_ipv6"
        )
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise AuthorityError("this is not an IPv6 address", reason="bad_ipv6") from None


def _to_ascii(text: str) -> str:
    # IDNA 2003 of the standard library (the core has no other). It differs from IDNA 2008 in four
    # letters ("ß" becomes "ss"); a label that needs those can be written as its A-label.
    _refuse_long(text)
    try:
        return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise AuthorityError("this name has no ASCII form (IDNA)", reason="bad_host") from None


def _refuse_long(text: str) -> None:
    # The codec's work grows with the square of a label's length, and one character may stand for
    # eighteen (U+FDFA). An A-label is never shorter than its text in NFKC, which costs nothing by
    # comparison; characters that IDNA drops (a soft hyphen) count here.
    position = length = 0
    for label in _DOT.split(text):
        size = len(unicodedata.normalize("NFKC", label))
        if size > _MAX_LABEL:
            raise AuthorityError(
                f"a label of a host name has at most {_MAX_LABEL} characters",
                reason="bad_host",
                position=position,
            )
        position += len(label) + 1
        length += size + 1
    if length - 1 > MAX_HOST + 1:  # the last may be the root's dot
        raise AuthorityError(
            f"a host name has at most {MAX_HOST} characters", reason="bad_host", position=0
        )


def host_of(authority: bytes) -> str:
    """The host that a raw authority names, in normal form, "" for an empty one; `AuthorityError`
    when it names none.
    """
    if not authority:
        return ""
    try:
        text = authority.decode("ascii")
    except UnicodeDecodeError as error:
        message = "a host is sent in ASCII (A-labels)"
        raise AuthorityError(message, reason="bad_host", position=error.start) from None
    return parse_authority(text).host


def client_network(address: str) -> str:
    """The common part of all connections of one client: its IPv4 address, or its network of 64 bits
    in IPv6 ("2001:db8::/64").

    A machine can change the other 64 bits of its address at will (RFC 8981). IPv4 in IPv6
    (::ffff:0:0/96) is IPv4, and the zone of an address does not count. Everything that is not an
    address (a UNIX socket has none) is one client: "".
    """
    if ":" not in address:
        return address if address and is_ip_address(address) else ""
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return ""
    mapped = parsed.ipv4_mapped
    if mapped is not None:
        return str(mapped)
    return f"{ipaddress.IPv6Address(int(parsed) >> 64 << 64)}/64"
