"""Claims about the client: who may make them, and the fields by which the next hop gets ours:
X-Forwarded-* (what everybody uses), Forwarded (RFC 7239), Via (RFC 9110 7.6.3).

Pure: the peer, and whether it is trusted, are arguments. This module does not know which fields
are sent on; `meshlib.forwarding` does.
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
    "CLAIMS",
    "UNIX",
    "ForwardingPolicy",
    "Network",
    "Peer",
    "Trusted",
    "added_fields",
    "claimed_address",
    "claimed_secure",
    "client_address",
    "is_loop",
    "is_secure",
    "is_trusted",
    "rewritten_claims",
]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Stands for the other end of every Unix socket, which has no address.
UNIX: Final = "unix:"
# Peers that may make claims about clients: a network, or "unix:".
Trusted: TypeAlias = Network | Literal["unix:"]

# Claims that only a trusted proxy in front of us may make: the client, and (for servers that
# believe it) the path or host it requested, which we have just decided on. Every other name that
# begins with X-Forwarded- is one too (`_claims_among`).
CLAIMS: Final = frozenset(
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

_X_FORWARDED: Final = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"}
)

# received-by of Via (RFC 9110 7.6.3): a token, or a host with a port.
_PSEUDONYM: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z:\[\]]+")

# What some proxies write in X-Forwarded-For: "192.0.2.1:4711", "[2001:db8::1]:4711".
_WITH_PORT: Final = re.compile(r"\[([^\[\]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")

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
    `trusted_proxies` are dropped; "unix:" among these is whoever may connect to our Unix socket.
    Field names with an underscore are dropped unless `underscores`
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
    trusted_proxies: tuple[Trusted, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.via and not _PSEUDONYM.fullmatch(self.via):
            raise ConfigurationError(
                f"{self.via!r} is not a pseudonym",
                where="forwarding.via",
                hint="write one word, like a host name",
            )


class Peer(NamedTuple):
    """The other end of a client's connection: its IP address ("unix:" for that of a Unix socket, ""
    where it is not known), the scheme it used ("http", "https"), and the local port (0: not known).

    `trusted`: it is one of `ForwardingPolicy.trusted_proxies`, so its claims about the client
    count.
    """

    address: str
    scheme: str
    port: int
    trusted: bool = False


def is_trusted(address: str, networks: Sequence[Trusted]) -> bool:
    """Return whether the IP address is in one of the networks, or "unix:" is there; an IPv4 address
    mapped into IPv6 counts as IPv4.
    """
    if not networks:
        return False
    if address == UNIX:
        return UNIX in networks
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    return any(
        not isinstance(network, str) and parsed.version == network.version and parsed in network
        for network in networks
    )


def is_secure(fields: FieldSection, peer: Peer) -> bool:
    """Return whether the client's request came over TLS: to us or, as a trusted peer states in
    X-Forwarded-Proto, to the proxy in front.
    """
    if not peer.trusted or b"x-forwarded-proto" not in fields.names:
        return peer.scheme == "https"
    return claimed_secure(fields.get_all(b"x-forwarded-proto"))


def claimed_secure(values: Sequence[bytes]) -> bool:
    """Return whether the values of a request's X-Forwarded-Proto, one at least, say TLS: the last
    one counts, which the nearest proxy wrote.
    """
    return values[-1].rpartition(b",")[2].strip().lower() in (b"https", b"wss")


def client_address(fields: FieldSection, peer: Peer, policy: ForwardingPolicy) -> str:
    """The address of the client that asks: the peer's, or, where that is a trusted proxy, what
    `claimed_address` finds in X-Forwarded-For.
    """
    if not peer.trusted:
        return peer.address
    return claimed_address(fields.get_all(b"x-forwarded-for"), peer, policy)


def claimed_address(values: Sequence[bytes], peer: Peer, policy: ForwardingPolicy) -> str:
    """The address of the client of a trusted peer, by the values of X-Forwarded-For: the last one
    that is not a trusted proxy; the first one if all are; the peer's if there is none. Ports are
    left out, and empty elements do not count (RFC 9110 5.6.1).

    "" where a claim that is not an IP address comes first: the client is not known then, for what
    stands before may be anybody's word, and a proxy's address would have it pass for that proxy.
    """
    address = peer.address
    for claimed in reversed(b",".join(values).split(b",")):
        text = claimed.strip(b" \t").decode("ascii", "replace")
        if not text:
            continue
        match = _WITH_PORT.fullmatch(text)
        if match is not None:
            text = match[1] or match[2]
        try:
            address = str(ipaddress.ip_address(text))
        except ValueError:
            return ""
        if not is_trusted(address, policy.trusted_proxies):
            break
    return address


def is_loop(fields: FieldSection, policy: ForwardingPolicy) -> bool:
    """Return whether the request has passed gateways of our name `MAX_HOPS` times already."""
    if not policy.via or b"via" not in fields.names:
        return False
    entries = b",".join(fields.get_all(b"via")).split(b",")
    ours = policy.via.encode()
    return sum(entry.split()[1:2] == [ours] for entry in entries) >= MAX_HOPS


def added_fields(
    head: RequestHead, policy: ForwardingPolicy, peer: Peer, *, wanted_by_label: bool = False
) -> bytes:
    """Field lines about the client, each ended by CRLF: X-Forwarded-*, Forwarded, Via.

    For an untrusted peer they depend on `head.authority` and `head.minor_version` alone, not on the
    fields.
    """
    lines: list[bytes] = []
    _add_claims(lines, head, policy, peer, wanted_by_label)
    if policy.via:
        version = b"2" if head.minor_version == 2 else b"1.%d" % head.minor_version
        lines.append(b"Via: %s %s" % (version, policy.via.encode()))
    lines.append(b"")
    return b"\r\n".join(lines)


def rewritten_claims(policy: ForwardingPolicy, wanted_by_label: bool) -> frozenset[bytes]:
    """Names of a trusted peer's claims that `added_fields` writes anew, keeping their values; its
    other claims pass unchanged.
    """
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
    # A zone ("fe80::1%eth0") is valid on this machine only. What is not known is left out.
    address = b"" if peer.address == UNIX else peer.address.partition("%")[0].encode()

    def claimed(name: bytes) -> list[bytes]:
        return [value for value in fields.get_all(name) if value] if peer.trusted else []

    if policy.mode == "set" or (policy.mode == "label" and wanted_by_label):
        chain = claimed(b"x-forwarded-for")
        if address:
            chain.append(address)
        if chain:
            lines.append(b"X-Forwarded-For: " + b", ".join(chain))
    if policy.mode == "set":
        ours = (
            (b"X-Forwarded-Proto", peer.scheme.encode()),
            (b"X-Forwarded-Host", head.authority),
            (b"X-Forwarded-Port", b"%d" % peer.port if peer.port else b""),
        )
        for name, value in ours:
            theirs = claimed(name.lower())
            value = theirs[-1] if theirs else value
            if value:
                lines.append(b"%s: %s" % (name, value))
    if policy.rfc7239:
        pairs = []
        if address:
            pairs.append(b'for="[%s]"' % address if b":" in address else b"for=" + address)
        if head.authority:
            pairs.append(b'host="%s"' % head.authority.replace(b"\\", b"").replace(b'"', b""))
        pairs.append(b"proto=" + peer.scheme.encode())
        lines.append(b"Forwarded: " + b", ".join([*claimed(b"forwarded"), b";".join(pairs)]))
