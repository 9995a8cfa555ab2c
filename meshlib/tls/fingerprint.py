"""JA3 and JA4: short fingerprints of the software that sent a ClientHello.

JA3: github.com/salesforce/ja3; JA4: github.com/FoxIO-LLC/ja4, technical_details/JA4.md. Both are
hints for people and statistics, and easily imitated: never a reason to trust a client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from meshlib.messages import ClientHello
from meshlib.tls.extensions import ExtensionType

__all__ = ["ja3", "ja3_text", "ja4"]

_JA4_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_NOTHING = "000000000000"


def ja3_text(hello: ClientHello) -> str:
    """The text that JA3 hashes: version, ciphers, extensions, groups and point formats in decimal,
    without GREASE.
    """
    lists = (hello.cipher_suites, hello.extensions, hello.groups, hello.point_formats)
    return ",".join(
        (str(hello.legacy_version), *("-".join(map(str, _meant(numbers))) for numbers in lists))
    )


def ja3(hello: ClientHello) -> str:
    """The JA3 fingerprint: 32 hex digits."""
    return hashlib.md5(ja3_text(hello).encode(), usedforsecurity=False).hexdigest()


def ja4(hello: ClientHello) -> str:
    """The JA4 fingerprint of a hello over TCP: "t13d1516h2_8daaf6152771_e5627efa2ab1"."""
    suites = _meant(hello.cipher_suites)
    extensions = _meant(hello.extensions)
    version = _JA4_VERSIONS.get(max(_meant(hello.versions), default=0), "00")
    name = "d" if ExtensionType.SERVER_NAME in extensions else "i"
    head = (
        f"t{version}{name}{min(len(suites), 99):02}{min(len(extensions), 99):02}{_alpn_mark(hello)}"
    )
    hashed = _hex_list(
        sorted(e for e in extensions if e not in (ExtensionType.SERVER_NAME, ExtensionType.ALPN))
    )
    if hello.signature_algorithms:
        hashed += "_" + _hex_list(_meant(hello.signature_algorithms))
    last = _short_hash(hashed) if extensions else _NOTHING
    return f"{head}_{_short_hash(_hex_list(sorted(suites)))}_{last}"


def _meant(numbers: Iterable[int]) -> list[int]:
    # Without the values of RFC 8701, which are chosen at random: 0x0a0a, 0x1a1a, ... 0xfafa.
    return [n for n in numbers if n & 0x0F0F != 0x0A0A or n >> 8 != n & 0xFF]


def _alpn_mark(hello: ClientHello) -> str:
    if not hello.alpn_protocols:
        return "00"
    first = hello.alpn_protocols[0]
    text = first.decode("latin-1") if first[:1].isalnum() and first[-1:].isalnum() else first.hex()
    return text[0] + text[-1]


def _hex_list(numbers: Iterable[int]) -> str:
    return ",".join(f"{n:04x}" for n in numbers)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else _NOTHING
