"""One complete ClientHello message (RFC 8446 4.1.2, RFC 5246 7.4.1.2): bytes in, a `ClientHello` or
an error out.

Knows nothing of records; `meshlib.tls.sniffer` assembles the message. Every length is checked
against the bytes present, and nothing may be left over: a lenient reader can be made to see another
name than the server behind it.
"""

from __future__ import annotations

from meshlib.errors import ClientHelloError
from meshlib.messages import ClientHello
from meshlib.tls.alerts import DECODE_ERROR, ILLEGAL_PARAMETER, MISSING_EXTENSION, PROTOCOL_VERSION
from meshlib.tls.extensions import (
    PARSERS,
    VERSIONED,
    ExtensionFacts,
    ExtensionType,
    is_read,
    numbers_16,
)

__all__ = ["parse_client_hello"]

_TLS13 = 0x0304
_FIXED = 35  # version, random, and the length of the session id


def parse_client_hello(body: bytes) -> ClientHello:
    """Parse the body of a ClientHello: the handshake message without its four bytes of type and
    length.

    Raises `ClientHelloError` for what OpenSSL refuses as malformed. Well-formed but unwanted
    content (old versions, weak ciphers) is the server's to judge, and passes; so is what a server
    does not read in the version that it chooses.
    """
    size = len(body)
    if size < _FIXED:
        raise _malformed("truncated", size)
    legacy_version = (body[0] << 8) + body[1]
    if legacy_version < 0x0300:  # a higher one than we know is allowed (RFC 5246 E.1)
        raise ClientHelloError(
            "no version of TLS", reason="bad_version", alert=PROTOCOL_VERSION, position=0
        )
    position = _FIXED + body[34]
    if body[34] > 32:
        raise _malformed("bad_session_id", _FIXED - 1)
    session_id = body[_FIXED:position]
    start = position + 2
    position = start + int.from_bytes(body[position:start], "big")
    suites = body[start:position]
    if position >= size:
        raise _malformed("truncated", size)
    if not suites:
        raise ClientHelloError(
            "no cipher suites", reason="bad_cipher_suites", alert=ILLEGAL_PARAMETER, position=start
        )
    if len(suites) & 1:
        raise _malformed("bad_cipher_suites", start)
    cipher_suites = numbers_16(suites, "bad_cipher_suites")
    start = position + 1
    position = start + body[position]
    if position > size:
        raise _malformed("truncated", size)
    compression = body[start:position]
    if 0 not in compression:
        raise _malformed("bad_compression", start)
    facts = _parse_extensions(body, position) if position < size else ExtensionFacts()
    _check_versions(facts, legacy_version, compression)
    return ClientHello(
        server_name=facts.server_name,
        alpn_protocols=facts.alpn_protocols,
        server_name_valid=facts.server_name_valid,
        legacy_version=legacy_version,
        versions=facts.versions or (legacy_version,),
        session_id=session_id,
        cipher_suites=cipher_suites,
        extensions=tuple(facts.types),
        groups=facts.groups,
        point_formats=facts.point_formats,
        signature_algorithms=facts.signature_algorithms,
        key_shares=facts.key_shares,
        ticket=facts.ticket,
        psk_identities=facts.psk_identities,
        early_data=facts.early_data,
        ech=facts.ech,
    )


def _malformed(reason: str, position: int) -> ClientHelloError:
    text = f"the hello is malformed: {reason.replace('_', ' ')}"
    return ClientHelloError(text, reason=reason, alert=DECODE_ERROR, position=position)


def _parse_extensions(body: bytes, position: int) -> ExtensionFacts:
    size = len(body)
    if position + 2 > size or (body[position] << 8) + body[position + 1] != size - position - 2:
        raise _malformed("bad_extensions_length", position)
    position += 2
    facts = ExtensionFacts()
    types = facts.types
    seen = set()
    while position < size:
        start = position + 4
        if start > size:
            raise _malformed("bad_extension_length", position)
        kind = (body[position] << 8) + body[position + 1]
        position = start + (body[start - 2] << 8) + body[start - 1]
        if position > size:
            raise _malformed("bad_extension_length", start - 4)
        parse = PARSERS.get(kind)
        # Of one that says nothing here two are no ambiguity, and servers skip what they do not
        # know.
        if kind in seen and parse is not None and kind != ExtensionType.ENCRYPTED_CLIENT_HELLO:
            text = f"extension {kind} is there twice"
            raise ClientHelloError(
                text, reason="duplicate_extension", alert=ILLEGAL_PARAMETER, position=start - 4
            )
        seen.add(kind)
        types.append(kind)
        if parse is not None:
            try:
                parse(body[start:position], facts)
            except ClientHelloError as error:
                error.position = start
                if kind not in VERSIONED:
                    raise
                facts.faults += ((kind, error),)
    return facts


def _check_versions(facts: ExtensionFacts, legacy_version: int, compression: bytes) -> None:
    types = facts.types
    for kind, fault in facts.faults:
        if is_read(kind, tls13=_TLS13 in facts.versions):
            raise fault
    if facts.versions and legacy_version <= 0x0300:
        raise ClientHelloError(
            "SSL 3.0 and supported_versions in one hello",
            reason="bad_version",
            alert=PROTOCOL_VERSION,
        )
    if ExtensionType.PRE_SHARED_KEY in types and types[-1] != ExtensionType.PRE_SHARED_KEY:
        raise ClientHelloError(
            "pre_shared_key is not the last extension",
            reason="psk_not_last",
            alert=ILLEGAL_PARAMETER,
        )
    if _TLS13 not in facts.versions:
        return
    if compression != b"\x00":
        raise ClientHelloError(
            "compression with TLS 1.3", reason="bad_compression", alert=ILLEGAL_PARAMETER
        )
    if ExtensionType.PRE_SHARED_KEY in types:
        needed = [ExtensionType.PSK_KEY_EXCHANGE_MODES]
    else:
        needed = [ExtensionType.SIGNATURE_ALGORITHMS, ExtensionType.SUPPORTED_GROUPS]
    # RFC 8446 9.2 lists the mandatory extensions.
    if not facts.groups and ExtensionType.KEY_SHARE in types:
        needed.append(ExtensionType.SUPPORTED_GROUPS)
    if facts.groups:
        needed.append(ExtensionType.KEY_SHARE)
    for kind in needed:
        if kind not in types:
            raise ClientHelloError(
                f"extension {kind} is missing", reason="missing_extension", alert=MISSING_EXTENSION
            )
    if not set(facts.key_shares) <= set(facts.groups):
        raise ClientHelloError(
            "a key share of a group that is not offered",
            reason="bad_key_share",
            alert=ILLEGAL_PARAMETER,
        )
