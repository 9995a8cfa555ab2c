"""Reader of the setting `routing.owners`: the owners that alone may have a name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshlib.errors import MeshError
from meshlib.ownership import KINDS
from meshlib.patterns import parse_host_pattern
from meshlib_adapters.config.readers import read_names, read_text

__all__ = ["OwnerGrants", "read_owners"]


@dataclass(frozen=True, slots=True)
class OwnerGrants:
    """Owners that alone may have `name`: a host pattern, "*" for every other host, or a port
    ("tcp://:5432").

    `grants` are as `meshlib.ownership.admits` reads them.
    """

    name: str
    grants: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}={'|'.join(self.grants)}"


def read_owners(value: object) -> tuple[OwnerGrants, ...]:
    """A table {"shop.example.com" = ["stack:shop", "network:edge"]}, or text:
    "shop.example.com=stack:shop|network:edge, ...".
    """
    if isinstance(value, str):
        pairs = [item.partition("=") for item in value.split(",") if item.strip()]
        items: list[tuple[object, object]] = [
            (name, [part for part in grants.split("|") if part.strip()])
            for name, _, grants in pairs
        ]
    elif isinstance(value, dict):
        items = list(value.items())
    else:
        raise ValueError(
            f'expected a table such as {{"shop.example.com" = ["stack:shop"]}}, not {value!r}'
        )
    found: dict[str, OwnerGrants] = {}
    for name, grants in items:
        owned = _owned_name(read_text(name))
        if owned in found:
            raise ValueError(f"{owned!r} is here twice")
        found[owned] = OwnerGrants(owned, tuple(map(_grant, read_names(grants))))
    return tuple(found.values())


def _owned_name(text: str) -> str:
    if text == "*":
        return text
    port = re.fullmatch(r"(tcp|udp)://:([0-9]{1,5})", text, re.ASCII)
    if port is not None and 1 <= int(port[2]) <= 65535:
        return f"{port[1]}://:{int(port[2])}"
    try:
        pattern = parse_host_pattern(text)
    except MeshError as error:
        raise ValueError(f"{text!r} is not a host, *.HOST, * or tcp://:PORT: {error}") from None
    if not pattern:
        raise ValueError("write '*' for every host")
    return pattern


def _grant(text: str) -> str:
    kind, colon, name = text.partition(":")
    if not colon or kind not in KINDS or not name:
        raise ValueError(
            f"{text!r} names no owner: "
            f"write {', '.join(f'{kind}:NAME' for kind in KINDS[:-1])} or {KINDS[-1]}:NAME"
        )
    return text
