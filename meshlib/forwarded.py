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
# An element of the list, as far as the next comma that is not in quotation marks.
_ELEMENT: Final = re.compile(rb"(?:[^\",]|\"(?:[^\"\\]|\\.)*\")*", re.DOTALL)
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]+")
_ESCAPED: Final = re.compile(rb"\\(.)")
# `for` with a port: "192.0.2.1:4711", "[2001:db8::1]:4711", "[2001:db8::1]".
_NODE: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9A-Za-z_.-]+)?|([0-9.]+):[0-9A-Za-z_.-]+")


class Hop(NamedTuple):
    """The claims of one proxy: `address` is the text of `for` without brackets and port (it may be
    "unknown", a name that is nobody's, or "" for none), `proto` is in lower case ("": none). Both
    are "" where the claims could not be read.
    """

    address: str
    proto: str


_UNREADABLE: Final = Hop("", "")


def forwarded_hops(values: Sequence[bytes]) -> tuple[Hop, ...]:
    """The hops in the values of a request's Forwarded fields, in their order: the last one is the
    claim of the proxy that is nearest. Empty elements are none, and empty pairs say nothing
    (RFC 9110 5.6.1, RFC 7239 4).

    An element that is malformed is a hop that claims nothing, and so is, whole, a value with a
    quotation mark that is not closed: nobody can tell who wrote what in it. Neither takes anything
    from the hops behind it, which others wrote.
    """
    hops: list[Hop] = []
    for value in values:
        hops += _hops_of(value)
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


def _hops_of(value: bytes) -> list[Hop]:
    hops: list[Hop] = []
    at = 0
    while at <= len(value):
        element = _ELEMENT.match(value, at)
        assert element is not None  # it may be empty
        at = element.end()
        if at < len(value) and value[at : at + 1] != b",":
            return [_UNREADABLE]
        at += 1
        if element[0].strip(b" \t"):
            hops.append(_hop_of(element[0]))
    return hops


def _hop_of(element: bytes) -> Hop:
    found: dict[bytes, str] = {}
    at = 0
    while at <= len(element):
        pair = _PAIR.match(element, at)
        if pair is not None:
            found.setdefault(pair["name"].lower(), _unquoted(pair["value"]))
            at = pair.end()
        else:
            while element[at : at + 1] in (b" ", b"\t"):
                at += 1
        if at < len(element) and element[at : at + 1] != b";":
            return _UNREADABLE
        at += 1
    return Hop(_address(found.get(b"for", "")), found.get(b"proto", "").lower())


def _unquoted(value: bytes) -> str:
    if value.startswith(b'"'):
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    return value.decode("latin-1")


def _address(node: str) -> str:
    match = _NODE.fullmatch(node)
    return (match[1] or match[2]) if match is not None else node
