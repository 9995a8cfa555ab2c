"""Published ports of Compose and stack files: short and long forms, ranges, variables.

The short form is Docker's: [[IP:][PUBLISHED]:]TARGET[/PROTOCOL], where the IP may be an IPv6
address with or without brackets, and the protocol in any case.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from meshlib.discovery.files.diagnostics import PORT_NOT_READ, FileDiagnostics, show_value
from meshlib.discovery.files.interpolation import interpolate
from meshlib.discovery.files.sources import Layer
from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.labels.limits import MAX_VALUE
from meshlib.labels.result import PublishedPort

__all__ = ["MAX_PORTS", "read_exposed", "read_ports"]

# Ports only tell which one is meant when a label names none; nobody means one of a thousand.
MAX_PORTS: Final = 1000

_RANGE: Final = r"[0-9]{1,5}(?:-[0-9]{1,5})?"
_SHORT: Final = re.compile(
    rf"(?:(?:(?P<ip>.*):)?(?P<published>(?:{_RANGE})?):)?(?P<target>{_RANGE})(?:/(?P<protocol>[A-Za-z]*))?"
)
_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_HINT: Final = 'write "8080", "80:8080" or {target: 8080, published: 80}'


def read_ports(found: Iterable[Layer], diagnostics: FileDiagnostics) -> tuple[PublishedPort, ...]:
    """The published ports in all layers, each a list of short and long forms; a range of ports
    counts as each of them.
    """
    return _read(found, _published, diagnostics)


def read_exposed(found: Iterable[Layer], diagnostics: FileDiagnostics) -> tuple[PublishedPort, ...]:
    """The ports of `expose` in all layers, TARGET[/PROTOCOL] each: open to other containers
    and not published.
    """
    return _read(found, _exposed, diagnostics)


def _read(
    found: Iterable[Layer],
    read: Callable[[object, Mapping[str, str]], list[PublishedPort]],
    diagnostics: FileDiagnostics,
) -> tuple[PublishedPort, ...]:
    ports: list[PublishedPort] = []
    for layer in found:
        if not isinstance(layer.value, list):
            diagnostics.add(
                PORT_NOT_READ, layer.place, f"{show_value(layer.value)} is not a list", _HINT
            )
            continue
        for index, entry in enumerate(layer.value):
            where = f"{layer.place}[{index}]"
            try:
                ports += read(entry, layer.source.variables)
            except ConfigurationError as error:
                diagnostics.add(PORT_NOT_READ, where, error.message, error.hint)
            if len(ports) > MAX_PORTS:
                diagnostics.add(
                    PORT_NOT_READ,
                    where,
                    f"more than {MAX_PORTS} ports are not read",
                    "name internal_port in each label",
                )
                return tuple(ports[:MAX_PORTS])
    return tuple(ports)


def _published(entry: object, variables: Mapping[str, str]) -> list[PublishedPort]:
    return _long(entry, variables) if isinstance(entry, dict) else _short(entry, variables)


def _exposed(entry: object, variables: Mapping[str, str]) -> list[PublishedPort]:
    if ":" in (text := _text(entry, variables)):
        raise ConfigurationError(
            f"{show(text)} is not the port of a container", hint='write "8080" or "8080/udp"'
        )
    return _short(text, {})


def _short(entry: object, variables: Mapping[str, str]) -> list[PublishedPort]:
    text = _text(entry, variables)
    match = _SHORT.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{show(text)} is not a port", hint=_HINT)
    _check_ip(match["ip"])
    return _ports(match["target"], match["published"] or "", match["protocol"] or "", "ingress")


def _check_ip(text: str | None) -> None:
    if not text:
        return
    try:
        ipaddress.ip_address(text[1:-1] if text[0] == "[" and text[-1] == "]" else text)
    except ValueError:
        hint = 'write "127.0.0.1:80:8080" or "[::1]:80:8080"'
        raise ConfigurationError(f"{show(text)} is not an IP address", hint=hint) from None


def _long(entry: Mapping[str, object], variables: Mapping[str, str]) -> list[PublishedPort]:
    target, published, protocol, mode = (
        _text(default if entry.get(key) is None else entry[key], variables)
        for key, default in (
            ("target", ""),
            ("published", ""),
            ("protocol", ""),
            ("mode", "ingress"),
        )
    )
    return _ports(target, published, protocol, mode)


def _text(value: object, variables: Mapping[str, str]) -> str:
    if isinstance(value, str):
        # Cut, it would be another port.
        found = interpolate(value, variables)
        if found is not value and len(found) > MAX_VALUE:
            raise ConfigurationError(
                f"with its variables {show(value)} has more than {MAX_VALUE} characters",
                hint="write a shorter one",
            )
        return found
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
        return str(value)
    raise ConfigurationError(f"{show_value(value)} is not a port", hint=_HINT)


def _ports(target: str, published: str, protocol: str, mode: str) -> list[PublishedPort]:
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise ConfigurationError(
            f"{show(protocol)} is not a protocol", hint=f"write {', '.join(_PROTOCOLS)}"
        )
    targets = _range(target)
    outside = range(0) if published in ("", "0") else _range(published)
    if len(outside) != len(targets):
        if outside and len(targets) > 1:
            raise ConfigurationError(
                f"{show(published)} and {show(target)} are not equally many ports", hint=_HINT
            )
        # One of several, or any free one: only the engine knows.
        return [PublishedPort(port, None, protocol, mode) for port in targets]
    return [
        PublishedPort(port, seen, protocol, mode)
        for port, seen in zip(targets, outside, strict=True)
    ]


def _range(text: str) -> range:
    if not re.fullmatch(_RANGE, text, re.ASCII):
        raise ConfigurationError(f"{show(text)} is not a port", hint=_HINT)
    first, _, last = text.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not found or found[0] < 1 or found[-1] > 65535:
        raise ConfigurationError(f"{show(text)} is not within 1-65535", hint=_HINT)
    return found
