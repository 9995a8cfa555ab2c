"""Names that a label asks for, read from a value that has failed: so that whoever looks for a host
finds the label that was to route it.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.authority import parse_port
from meshlib.errors import AuthorityError
from meshlib.labels.limits import MAX_VALUE
from meshlib.patterns import parse_host_pattern

__all__ = ["MAX_NAMES", "asked_names"]

# A label has one route; in the form of UCP 2.0 it has those of a whole service.
MAX_NAMES: Final = 20

# A host or a URL at the beginning of a value, of `external_route`, or of a pair that has no key but
# a port, whatever stands around it.
_ASKED: Final = re.compile(
    r"""(?:external_route\s*[=:]|\A|,)[\s"'`]*(?:[0-9]{1,5}\s*=\s*)?"""
    r"""(?:(?P<scheme>[A-Za-z]{2,5})://)?(?:Host(?:SNI)?\([`'"])?"""
    r"""(?P<name>[^\s,;|/?#"'`()=]+)(?=[\s,;|/?#"'`()]|\Z)"""
)


def asked_names(value: str) -> tuple[str, ...]:
    """The names (`Route.claimed_name`) that the value of a label asks for, at most 20; only the
    beginning of a value that is too long is read.
    """
    found: dict[str, None] = {}
    for asked in _ASKED.finditer(value[:MAX_VALUE]):
        name = _name((asked["scheme"] or "").lower(), asked["name"])
        if name is not None:
            found[name] = None
        if len(found) >= MAX_NAMES:
            break
    return tuple(found)


def _name(scheme: str, text: str) -> str | None:
    host, colon, port = text.rpartition(":")
    try:
        if scheme in ("tcp", "udp"):
            return f"{scheme}://:{parse_port(port)}"
        if not colon or text.endswith("]"):
            host = text
        return "" if host == "*" else parse_host_pattern(host) or None
    except AuthorityError:
        return None
