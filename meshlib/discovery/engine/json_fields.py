"""Decoded JSON, taken apart without trust: a wrong type costs the object that it is in, never the
poll.

What an engine responds with is input like any other. Everything here raises `Wrong`, which the
caller turns into a `Malformed`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import TypeVar

from meshlib.bounds import bounded_name
from meshlib.discovery.engine.records import IPNetwork, Malformed
from meshlib.labels.diagnostics import show
from meshlib.labels.result import PublishedPort

__all__ = [
    "MAX_ENTRIES",
    "MAX_PORTS",
    "Wrong",
    "address",
    "entries",
    "integer",
    "items",
    "mapping",
    "ports",
    "read_each",
    "string",
    "strings",
    "subnet",
]

# Of what one service, task or container has several of: networks, aliases, addresses.
MAX_ENTRIES = 1000
# Of its published ports: every port, by TCP and UDP.
MAX_PORTS = 2 * 65535

T = TypeVar("T")


class Wrong(Exception):
    """A value of the wrong kind; the message names the field."""


def mapping(value: object, where: str) -> Mapping[str, object]:
    """A JSON object; absent or null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Wrong(f"{where} is not an object")
    return value


def entries(value: object, where: str, most: int = MAX_ENTRIES) -> list[object]:
    """A JSON array with a bounded number of entries; absent or null is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Wrong(f"{where} is not an array")
    if len(value) > most:
        raise Wrong(f"{where} has {len(value)} entries, more than {most}")
    return value


def items(value: object, where: str, most: int = MAX_ENTRIES) -> list[Mapping[str, object]]:
    """A JSON array of objects, with a bounded number of entries."""
    return [mapping(item, where) for item in entries(value, where, most)]


def string(value: object, where: str, *, needed: bool = False) -> str:
    """A JSON string, as `bounded_name` returns it; absent or null is "", unless it is `needed`."""
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value):
        raise Wrong(f"{where} is not a string")
    return bounded_name(value)


def integer(value: object, where: str) -> int:
    """A JSON number without a fraction; absent or null is 0."""
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise Wrong(f"{where} is not a whole number")
    return value


def strings(value: object, where: str) -> dict[str, str]:
    """A JSON object whose values are texts (labels), unchanged."""
    found: dict[str, str] = {}
    for key, item in mapping(value, where).items():
        if item is not None and not isinstance(item, str):
            raise Wrong(f"{where}[{show(key)}] is not a string")
        found[key] = item or ""
    return found


def address(value: object, where: str) -> str:
    """An IP address, with or without "/prefix", in normal form; "" for absent or empty."""
    text = string(value, where).partition("/")[0]
    if not text:
        return ""
    try:
        if "%" in text:  # a zone is a name of somebody else's interface, and any text at all
            raise ValueError
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Wrong(f"{where} is not an IP address") from None


def subnet(value: object, where: str) -> IPNetwork | None:
    """A subnet, "10.0.0.0/24"; None for absent or empty."""
    text = string(value, where)
    if not text:
        return None
    try:
        if "%" in text:
            raise ValueError
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Wrong(f"{where} is not a subnet") from None


def ports(
    value: object, where: str, *, target: str, published: str, mode: str = ""
) -> tuple[PublishedPort, ...]:
    """Published ports; `target`, `published` and `mode` are the names of the fields, which differ
    between services and containers.
    """
    found = []
    for item in items(value, where, MAX_PORTS):
        number = integer(item.get(target), f"{where}.{target}")
        outside = integer(item.get(published), f"{where}.{published}")
        if 1 <= number <= 65535 and 0 <= outside <= 65535:
            kind = string(item.get(mode), f"{where}.{mode}") if mode else "host"
            protocol = string(item.get("Protocol" if mode else "Type"), where) or "tcp"
            found.append(PublishedPort(number, outside or None, protocol, kind or "ingress"))
    return tuple(
        sorted(
            set(found),
            key=lambda port: (port.target, port.published or 0, port.protocol, port.mode),
        )
    )


def read_each(
    value: object,
    what: str,
    read: Callable[[Mapping[str, object]], T | None],
    malformed: list[Malformed],
) -> list[T]:
    """Call `read` for each object of an array; one that cannot be read is noted in `malformed` and
    left out, and so is one for which `read` returns None.

    Neither the notes nor their order depend on the order of the array.
    """
    if not isinstance(value, list):
        malformed.append(Malformed(what, "the engine sent no array"))
        return []
    records, wrong = [], []
    for item in value:
        try:
            record = read(mapping(item, what))
        except Wrong as error:
            name = item.get("ID") or item.get("Id") if isinstance(item, dict) else None
            identity = name if isinstance(name, str) else ""
            wrong.append(Malformed(f"{what} {identity or '?'}", str(error), identity))
            continue
        if record is not None:
            records.append(record)
    malformed += sorted(wrong, key=lambda one: (one.what, one.why))
    return records
