"""Values of `external_route` that a hint may propose: nothing would be reported about them."""

from __future__ import annotations

import re
from typing import Final

from meshlib.authority import is_ip_address, parse_authority, parse_port
from meshlib.errors import AuthorityError, PathError
from meshlib.patterns import parse_host_pattern, parse_path_prefix

__all__ = ["SCHEMES", "can_be_proposed", "host_and_port", "split_authority"]

SCHEMES: Final = ("http", "sni", "tcp", "udp")
_AUTHORITY_END: Final = re.compile(r"[/?#]")
# A host and a path as people write them; a longer value is not repeated in a hint.
_MAX_SHOWN: Final = 500


def can_be_proposed(text: str) -> bool:
    """Whether a hint may show `text` as a value of `external_route`: it is printable, not too long,
    and there is nothing to report about it.
    """
    name, mark, rest = text.partition("://")
    if not mark or name.lower() not in SCHEMES:
        return False
    if len(text) > _MAX_SHOWN or not text.isprintable():
        return False
    authority, tail = split_authority(rest)
    try:
        if name.lower() in ("tcp", "udp"):
            return rest[:1] == ":" and parse_port(rest[1:]) > 0
        host, port_at = host_and_port(authority)
        if name.lower() == "sni":
            return not port_at and tail in ("", "/") and not is_ip_address(host)
        return not port_at and "*" not in tail and bool(parse_path_prefix(tail or "/"))
    except (AuthorityError, PathError):
        return False


def split_authority(rest: str) -> tuple[str, str]:
    """The text in front of the first "/", "?" or "#", and the remainder."""
    end = _AUTHORITY_END.search(rest)
    return (rest[: end.start()], rest[end.start() :]) if end else (rest, "")


def host_and_port(text: str) -> tuple[str, int]:
    """The host pattern, and where the port begins (0: there is none)."""
    if "*" in text:
        name, _, port = text.partition(":")
        pattern = "" if name == "*" else parse_host_pattern(name)
        if not port:
            return pattern, 0
        parse_port(port, position=len(name) + 1)
        return pattern, len(name) + 1
    host, number = parse_authority(text)
    return host, text.rindex(":") + 1 if number is not None else 0
