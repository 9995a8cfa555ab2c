"""The field Forwarded (RFC 7239), read: what each proxy on the way claims about the one before it.

Pure; who may make such claims is decided elsewhere (`meshlib.client_claims`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["Hop", "forwarded_hops", "x_forwarded"]

# One pair (RFC 7239 4), with the white space around it that many senders write.
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR: Final = re.compile(
    rb"[ \t]*(?P<name>%b)=(?P<value>%b|\"(?:[^\"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x1f\x7f])*\")"
    rb"[ \t]*" % (_TOKEN, _TOKEN)
)
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]+")
_ESCAPED: Final = re.compile(rb"\\(.)")
# `for` with a port: "192.0.2.1:4711", "[2001:db8::1]:4711", "[2001:db8::1]".
_NODE: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9A-Za-z_.-]+)?|([0-9.]+):[0-9A-Za-z_.-]+")


class Hop(NamedTuple):
    """The claims of one proxy: `address` is the text of `for` without brackets and port (it may be
    "unknown", a name that is nobody's, or "" for none), `proto` is in lower case ("": none).
    """

    address: str
    proto: str


def forwarded_hops(values: Sequence[bytes]) -> tuple[Hop, ...]:
    """The hops in the values of a request's Forwarded fields, in their order: the last one is the
    claim of the proxy that is nearest.

    () when any of it is malformed: after a quotation mark that is not closed nobody can tell who
    wrote what.
    """
    text = b",".join(values)
    hops: list[Hop] = []
    at = 0
    while at < len(text):
        found: dict[bytes, str] = {}
        while True:
            pair = _PAIR.match(text, at)
            if pair is None:
                return ()
            found.setdefault(pair["name"].lower(), _unquoted(pair["value"]))
            at = pair.end()
            if text[at : at + 1] != b";":
                break
            at += 1
        if at < len(text) and text[at : at + 1] != b",":
            return ()
        at += 1
        hops.append(Hop(_address(found.get(b"for", "")), found.get(b"proto", "").lower()))
    return tuple(hops)


def x_forwarded(values: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The X-Forwarded-For and X-Forwarded-Proto that say the same as the values of a request's
    Forwarded fields. A hop that names no address is "unknown".
    """
    hops = forwarded_hops(values)
    if not hops:
        return []
    chain = [hop.address if _ADDRESS.fullmatch(hop.address) else "unknown" for hop in hops]
    pairs = [(b"x-forwarded-for", ", ".join(chain).encode())]
    if hops[-1].proto in ("http", "https"):
        pairs.append((b"x-forwarded-proto", hops[-1].proto.encode()))
    return pairs


def _unquoted(value: bytes) -> str:
    if value.startswith(b'"'):
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    return value.decode("latin-1")


def _address(node: str) -> str:
    match = _NODE.fullmatch(node)
    return (match[1] or match[2]) if match is not None else node
