"""Field lines to send on, in both directions: those received, minus hop-by-hop fields, plus our
claims about the client (`meshlib.client_claims`).

RFC 9110 7.6 (Connection). Field lines that stay are copied as the bytes they came in. Pure: this
module does not know where the message goes.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.client_claims import CLAIMS, ForwardingPolicy, Peer, added_fields, rewritten_claims
from meshlib.messages import FieldSection, RequestHead

__all__ = [
    "HOP_BY_HOP_IN_RESPONSE",
    "dropped_names",
    "kept_fields",
    "may_switch",
    "pass_whole",
    "request_fields",
    "response_fields",
    "sent_upgrade",
]

# Never forwarded (RFC 9110 7.6.1), whether Connection lists them or not. `Proxy` is not a
# registered field, but becomes the variable HTTP_PROXY in CGI-like servers (CVE-2016-5385).
_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
HOP_BY_HOP_IN_RESPONSE: Final = _HOP - {b"proxy", b"proxy-authorization"}

_HOP_AND_CLAIMS: Final = _HOP | CLAIMS
_HOST: Final = frozenset({b"host"})
# Characters that CGI and its descendants write as an underscore, some only the hyphen, some
# everything but letters and digits.
_ODD: Final = re.compile(rb"[^a-z0-9\-]")

_IMITATED: Final = _HOP_AND_CLAIMS | {b"host", b"content-length", b"content-type", b"via"}

# Fields that are dropped, or whose value decides something.
_LOOKED_INTO: Final = _HOP_AND_CLAIMS | {b"via"}

# A client must not be able to remove these through Connection (CVE-2024-45410, CVE-2025-48865).
_PROTECTED: Final = CLAIMS | {
    b"host",
    b"content-length",
    b"via",
    b"date",
    b"set-cookie",
    b"content-type",
    b"content-encoding",
}


def request_fields(
    head: RequestHead, policy: ForwardingPolicy, peer: Peer, *, wanted_by_label: bool = False
) -> bytes:
    """Every field line of the request to send on, each ended by CRLF, except X-Request-ID, which
    differs each time.

    Host is `head.authority`: first of all where it differs from the Host field as it came, left out
    where it is "" (an HTTP/1.0 client without Host). The result depends on the arguments alone, so
    it may be cached for equal ones.
    """
    fields = head.fields
    kept = _kept(fields, head.authority, policy, peer, wanted_by_label)
    added = added_fields(head, policy, peer, wanted_by_label=wanted_by_label)
    return (
        kept + added
        if not (fields.chunked or fields.upgrade or b"te" in fields.names)
        else kept + added + _framing(fields)
    )


def kept_fields(
    head: RequestHead, policy: ForwardingPolicy, peer: Peer, *, wanted_by_label: bool = False
) -> bytes:
    """The lines of `request_fields` without those of `added_fields`."""
    fields = head.fields
    kept = _kept(fields, head.authority, policy, peer, wanted_by_label)
    return (
        kept
        if not (fields.chunked or fields.upgrade or b"te" in fields.names)
        else kept + _framing(fields)
    )


def pass_whole(names: tuple[bytes, ...], policy: ForwardingPolicy) -> bool:
    """Return whether fields of these names (`FieldSection.names`) go on unchanged, whatever their
    values are.

    Then `kept_fields` is `fields.block` for every peer, as long as the request's authority is its
    Host field's value, and `is_loop` is false. That depends on names alone, and the same names in
    the same order come again and again.
    """
    joined = b"".join(names)
    if b"x-forwarded-" in joined or not _LOOKED_INTO.isdisjoint(names):
        return False
    return not _ODD.search(joined) or not any(_is_dangerous(name, policy) for name in names)


def _kept(
    fields: FieldSection,
    authority: bytes,
    policy: ForwardingPolicy,
    peer: Peer,
    wanted_by_label: bool,
) -> bytes:
    names = fields.names
    dropped = dropped_names(fields, policy, peer, wanted_by_label=wanted_by_label)
    # An empty one is left out: the caller writes another.
    same_host = fields.host == authority and bool(authority)
    if not same_host:
        dropped = dropped | _HOST
    if dropped.isdisjoint(names):
        kept = fields.lines()
    else:
        kept = b"\r\n".join(
            [
                line
                for name, line in zip(names, fields.lines().split(b"\r\n"), strict=False)
                if name not in dropped
            ]
        )
        kept = kept + b"\r\n" if kept else b""
    return kept if same_host or not authority else b"Host: %s\r\n%s" % (authority, kept)


def dropped_names(
    fields: FieldSection, policy: ForwardingPolicy, peer: Peer, *, wanted_by_label: bool = False
) -> frozenset[bytes]:
    """The names of fields that `kept_fields` leaves out, and perhaps others that are not there."""
    names = fields.names
    dropped = _HOP if peer.trusted else _HOP_AND_CLAIMS
    if fields.connection:
        dropped = dropped | {
            option
            for option in fields.connection
            if option not in _PROTECTED and not option.startswith(b"x-forwarded-")
        }
    if peer.trusted:
        dropped = dropped | rewritten_claims(policy, wanted_by_label)
    joined = b"".join(names)
    if not peer.trusted and b"x-forwarded-" in joined:
        dropped = dropped | {name for name in names if name.startswith(b"x-forwarded-")}
    if _ODD.search(joined):
        dropped = dropped | {name for name in names if _is_dangerous(name, policy)}
    return dropped


def _is_dangerous(name: bytes, policy: ForwardingPolicy) -> bool:
    if b"_" in name and not policy.underscores:
        return True
    if not _ODD.search(name):
        return False
    read_as = _ODD.sub(b"-", name)
    return read_as in _IMITATED or read_as.startswith(b"x-forwarded-")


def _framing(fields: FieldSection) -> bytes:
    lines = b"Transfer-Encoding: chunked\r\n" if fields.chunked else b""
    upgrade = sent_upgrade(fields)
    if upgrade:
        lines += b"Connection: Upgrade\r\nUpgrade: %s\r\n" % upgrade
    elif b"trailers" in [
        coding.lower() for value in fields.get_all(b"te") for coding in _listed(value)
    ]:
        lines += b"Connection: TE\r\nTE: trailers\r\n"
    return lines


def sent_upgrade(fields: FieldSection) -> bytes:
    """The protocols of Upgrade that `request_fields` passes on, as they are written there; b"" for
    none.

    The response may switch to these only: no other requested protocol reaches the endpoint
    (`may_switch`).
    """
    if fields.upgrade is None:
        return b""
    # h2c would turn the connection into one whose requests nobody routes (CVE-2023-24326 and kin).
    return b", ".join(
        [p for p in _listed(fields.upgrade) if p.lower().partition(b"/")[0] != b"h2c"]
    )


def may_switch(sent: bytes, fields: FieldSection) -> bool:
    """Return whether a 101 with these fields is a valid response to a request sent with
    `sent_upgrade` `sent` (RFC 9110 7.8).
    """
    offered = {protocol.lower() for protocol in _listed(sent)}
    chosen = [protocol.lower() for protocol in _listed(fields.upgrade or b"")]
    return bool(chosen) and offered.issuperset(chosen)


def _listed(value: bytes) -> list[bytes]:
    return [item for part in value.split(b",") if (item := part.strip(b" \t"))]


def response_fields(
    fields: FieldSection, *, upgraded: bool = False, bodiless: bool = False
) -> bytes:
    """Every field line of the response to pass on, each ended by CRLF; Transfer-Encoding and
    Connection are the caller's.

    With `upgraded` (a 101) the Connection and Upgrade lines are written as that response needs
    them. `bodiless` (1xx, 204) drops Content-Length, which such responses must not have (RFC 9110
    8.6).
    """
    names = fields.names
    dropped = HOP_BY_HOP_IN_RESPONSE | _LENGTH if bodiless else HOP_BY_HOP_IN_RESPONSE
    if not fields.connection and dropped.isdisjoint(names):
        return fields.lines()
    dropped = dropped | (fields.connection - _PROTECTED)
    lines = [
        line
        for name, line in zip(names, fields.lines().split(b"\r\n"), strict=False)
        if name not in dropped
    ]
    if upgraded and fields.upgrade is not None:
        lines += [b"Connection: Upgrade", b"Upgrade: " + fields.upgrade]
    lines.append(b"")
    return b"\r\n".join(lines)


_LENGTH: Final = frozenset({b"content-length"})
