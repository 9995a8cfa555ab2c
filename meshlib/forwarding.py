"""Field lines to send on: those received, minus hop-by-hop fields, plus those that tell the next
hop about the client.

RFC 9110 7.6 (Connection, Via), RFC 7239 (Forwarded), and the X-Forwarded-* names everybody uses.
Field lines that stay are copied as the bytes they came in. Pure: the peer, and whether it is
trusted, are arguments. This module does not know where the message goes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from meshlib.errors import ConfigurationError
from meshlib.messages import FieldSection, RequestHead

__all__ = [
    "HOP_BY_HOP_IN_RESPONSE",
    "ForwardingPolicy",
    "Network",
    "Peer",
    "added_fields",
    "is_loop",
    "is_secure",
    "is_trusted",
    "kept_fields",
    "may_switch",
    "pass_whole",
    "request_fields",
    "response_fields",
    "sent_upgrade",
]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

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

# Claims that only a trusted proxy in front of us may make: the client, and (for servers that
# believe it) the path or host it requested, which we have just decided on. Every other name that
# begins with X-Forwarded- is one too (`_claims_among`).
_CLAIMS: Final = frozenset(
    {
        b"client-cert",
        b"client-cert-chain",
        b"forwarded",
        b"true-client-ip",
        b"x-client-cert-fingerprint",
        b"x-client-cert-issuer",
        b"x-client-cert-serial",
        b"x-client-cert-subject",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-forwarded",
        b"x-forwarded-by",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-original-host",
        b"x-original-url",
        b"x-real-ip",
        b"x-request-id",
        b"x-rewrite-url",
    }
)

_HOP_AND_CLAIMS: Final = _HOP | _CLAIMS
_HOST: Final = frozenset({b"host"})
# Characters that CGI and its descendants write as an underscore, some only the hyphen, some
# everything but letters and digits.
_ODD: Final = re.compile(rb"[^a-z0-9\-]")

_IMITATED: Final = _HOP_AND_CLAIMS | {b"host", b"content-length", b"content-type", b"via"}

# Fields that are dropped, or whose value decides something.
_LOOKED_INTO: Final = _HOP_AND_CLAIMS | {b"via"}

# A client must not be able to remove these through Connection (CVE-2024-45410, CVE-2025-48865).
_PROTECTED: Final = _CLAIMS | {
    b"host",
    b"content-length",
    b"via",
    b"date",
    b"set-cookie",
    b"content-type",
    b"content-encoding",
}

# received-by of Via (RFC 9110 7.6.3): a token, or a host with a port.
_PSEUDONYM: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z:\[\]]+")

# Our own name in Via this many times means that we talk to ourselves; chains of a few gateways are
# normal.
MAX_HOPS: Final = 8


@dataclass(frozen=True, slots=True)
class ForwardingPolicy:
    """Claims about the client in requests to upstreams.

    `mode`: "set" adds X-Forwarded-For, -Proto, -Host and -Port to every request; "label" adds
    X-Forwarded-For only where the route's label asks for it (HRM's include_forwarded_for); "off"
    adds none. `rfc7239` adds Forwarded as well. `via` is our pseudonym in Via ("" for none).
    `request_id` adds X-Request-ID where no trusted peer sent one. Incoming claims of peers outside
    `trusted_proxies` are dropped. Field names with an underscore are dropped unless `underscores`
    is set: WSGI and CGI cannot tell them from the hyphen, so X_Forwarded_For would pass for
    X-Forwarded-For (CVE-2025-64484). Names that could pass for one that we drop or write ourselves
    are dropped in any case ("X.Forwarded.For" too).

    Raises `ConfigurationError` for a `via` that cannot stand in the field.
    """

    mode: Literal["set", "label", "off"] = "set"
    rfc7239: bool = False
    via: str = "meshlib"
    request_id: bool = True
    underscores: bool = False
    trusted_proxies: tuple[Network, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.via and not _PSEUDONYM.fullmatch(self.via):
            raise ConfigurationError(
                f"{self.via!r} is no pseudonym",
                where="forwarding.via",
                hint="write one word, like a host name",
            )


class Peer(NamedTuple):
    """The other end of a client connection: its IP address, the scheme it used ("http", "https"),
    and our port.

    `trusted`: it is one of `ForwardingPolicy.trusted_proxies`, so its claims about the client
    count.
    """

    address: str
    scheme: str
    port: int
    trusted: bool = False


def is_trusted(address: str, networks: Sequence[Network]) -> bool:
    """Return whether the IP address is in one of the networks; an IPv4 address mapped into IPv6
    counts as IPv4.
    """
    if not networks:
        return False
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    return any(parsed.version == network.version and parsed in network for network in networks)


def is_secure(fields: FieldSection, peer: Peer) -> bool:
    """Return whether the client's request came over TLS: to us, or, by a trusted peer's
    X-Forwarded-Proto, to the proxy in front.
    """
    if not peer.trusted or b"x-forwarded-proto" not in fields.names:
        return peer.scheme == "https"
    return fields.get_all(b"x-forwarded-proto")[-1].rpartition(b",")[2].strip().lower() in (
        b"https",
        b"wss",
    )


def is_loop(fields: FieldSection, policy: ForwardingPolicy) -> bool:
    """Return whether the request has been through gateways of our name `MAX_HOPS` times already."""
    if not policy.via or b"via" not in fields.names:
        return False
    entries = b",".join(fields.get_all(b"via")).split(b",")
    ours = policy.via.encode()
    return sum(entry.split()[1:2] == [ours] for entry in entries) >= MAX_HOPS


def request_fields(
    head: RequestHead, policy: ForwardingPolicy, peer: Peer, *, wanted_by_label: bool = False
) -> bytes:
    """Every field line of the request to send on, each ended by CRLF, except X-Request-ID, which
    differs each time.

    Host is `head.authority`, in front when it is not the Host field as it came (and left out when
    it is "": an HTTP/1.0 client without Host). The result depends on the arguments alone, so it may
    be cached for equal ones.
    """
    fields = head.fields
    kept = _kept(fields, head.authority, policy, peer, wanted_by_label)
    added = added_fields(head, policy, peer, wanted_by_label=wanted_by_label)
    return (
        kept + added
        if not (fields.chunked or fields.upgrade or b"te" in fields.names)
        else kept + added + _framing(fields)
    )


def added_fields(
    head: RequestHead, policy: ForwardingPolicy, peer: Peer, *, wanted_by_label: bool = False
) -> bytes:
    """The lines of `request_fields` about the client: X-Forwarded-*, Forwarded, Via.

    With an untrusted peer they depend on `head.authority` and `head.minor_version` alone, whatever
    the fields are.
    """
    lines: list[bytes] = []
    _add_claims(lines, head, policy, peer, wanted_by_label)
    if policy.via:
        version = b"2" if head.minor_version == 2 else b"1.%d" % head.minor_version
        lines.append(b"Via: %s %s" % (version, policy.via.encode()))
    lines.append(b"")
    return b"\r\n".join(lines)


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
    dropped = _HOP if peer.trusted else _HOP_AND_CLAIMS
    if fields.connection:
        dropped = dropped | {
            option
            for option in fields.connection
            if option not in _PROTECTED and not option.startswith(b"x-forwarded-")
        }
    if peer.trusted:
        dropped = dropped | _rewritten(policy, wanted_by_label)
    same_host = fields.host == authority and bool(
        authority
    )  # an empty one is left out: the caller writes another
    if not same_host:
        dropped = dropped | _HOST
    joined = b"".join(names)
    if not peer.trusted and b"x-forwarded-" in joined:
        dropped = dropped | {name for name in names if name.startswith(b"x-forwarded-")}
    if _ODD.search(joined):
        dropped = dropped | {name for name in names if _is_dangerous(name, policy)}
    if dropped.isdisjoint(names):
        kept = fields.block
    else:
        kept = b"\r\n".join(
            [
                line
                for name, line in zip(names, fields.block.split(b"\r\n"), strict=False)
                if name not in dropped
            ]
        )
        kept = kept + b"\r\n" if kept else b""
    return kept if same_host or not authority else b"Host: %s\r\n%s" % (authority, kept)


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
        return fields.block
    dropped = dropped | (fields.connection - _PROTECTED)
    lines = [
        line
        for name, line in zip(names, fields.block.split(b"\r\n"), strict=False)
        if name not in dropped
    ]
    if upgraded and fields.upgrade is not None:
        lines += [b"Connection: Upgrade", b"Upgrade: " + fields.upgrade]
    lines.append(b"")
    return b"\r\n".join(lines)


_LENGTH: Final = frozenset({b"content-length"})
_X_FORWARDED: Final = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"}
)


def _rewritten(policy: ForwardingPolicy, wanted_by_label: bool) -> frozenset[bytes]:
    # Claims of a trusted peer that we rewrite, keeping its value; its other claims pass unchanged.
    names: set[bytes] = set()
    if policy.mode == "set":
        names |= _X_FORWARDED
    elif policy.mode == "label" and wanted_by_label:
        names.add(b"x-forwarded-for")
    if policy.rfc7239:
        names.add(b"forwarded")
    return frozenset(names)


def _add_claims(
    lines: list[bytes],
    head: RequestHead,
    policy: ForwardingPolicy,
    peer: Peer,
    wanted_by_label: bool,
) -> None:
    fields = head.fields
    # A zone ("fe80::1%eth0") is valid on this machine only.
    address = peer.address.partition("%")[0].encode()

    def said(name: bytes) -> list[bytes]:
        return [value for value in fields.get_all(name) if value] if peer.trusted else []

    if policy.mode == "set" or (policy.mode == "label" and wanted_by_label):
        lines.append(
            b"X-Forwarded-For: " + b", ".join([*said(b"x-forwarded-for"), address or b"unknown"])
        )
    if policy.mode == "set":
        ours = (
            (b"X-Forwarded-Proto", peer.scheme.encode()),
            (b"X-Forwarded-Host", head.authority),
            (b"X-Forwarded-Port", b"%d" % peer.port),
        )
        for name, value in ours:
            claimed = said(name.lower())
            value = claimed[-1] if claimed else value
            if value:
                lines.append(b"%s: %s" % (name, value))
    if policy.rfc7239:
        pairs = [b'for="[%s]"' % address if b":" in address else b"for=" + (address or b"unknown")]
        if head.authority:
            pairs.append(b'host="%s"' % head.authority.replace(b"\\", b"").replace(b'"', b""))
        pairs.append(b"proto=" + peer.scheme.encode())
        lines.append(b"Forwarded: " + b", ".join([*said(b"forwarded"), b";".join(pairs)]))
