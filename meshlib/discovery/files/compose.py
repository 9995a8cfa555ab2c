"""Labels and published ports in all the ways of Compose and stack files: mappings, lists, short and
long forms, variables.

Files of our own form write labels in the same ways, without variables. This module does not know
what labels mean, and reports nothing about those that are not for routing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from meshlib.discovery.files.diagnostics import (
    BAD_LABEL,
    BAD_LABELS,
    BAD_VARIABLE,
    LABELS_DIFFER,
    PORT_NOT_READ,
    REPEATED_LABEL,
    FileDiagnostics,
    show_value,
)
from meshlib.discovery.files.interpolation import interpolate
from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.labels.hrm import is_hrm_label
from meshlib.labels.limits import MAX_VALUE
from meshlib.labels.result import PublishedPort

__all__ = ["MAX_PORTS", "ReadLabels", "merge_labels", "read_labels", "read_ports"]

# Ports only tell which one is meant when a label names none; nobody means one of a thousand.
MAX_PORTS = 1000

_RANGE = r"[0-9]{1,5}(?:-[0-9]{1,5})?"
_SHORT = re.compile(
    rf"(?:(?:(?:\[[^\]]*\]|[^:\[\]]*):)?(?P<published>(?:{_RANGE})?):)?(?P<target>{_RANGE})(?:/(?P<protocol>[a-z]+))?"
)
_NO_HOST = re.compile(r"(?:http|sni)://(?=[/,\s]|\Z)", re.IGNORECASE)
_ANY_HOST = re.compile(r"(?:http|sni)://\*(?=[/,\s]|\Z)", re.IGNORECASE)
_LABELS_HINT = 'write labels: {KEY: "VALUE"}'
_ENTRY_HINT = 'write - "KEY=VALUE"'
_PORT_HINT = 'write "8080", "80:8080" or {target: 8080, published: 80}'


class ReadLabels(NamedTuple):
    """`labels` as texts; `failed` has the keys of routing labels that could not be read. When not
    `readable`, any label may have been among those.
    """

    labels: Mapping[str, str]
    failed: frozenset[str] = frozenset()
    readable: bool = True


def read_labels(
    value: object, place: str, diagnostics: FileDiagnostics, variables: Mapping[str, str] | None
) -> ReadLabels:
    """The labels in `value`, a mapping or a list. Without `variables` (None), and in the values of
    labels that are not for routing, a dollar sign is only that.
    """
    if value is None:
        return ReadLabels({})
    if not isinstance(value, dict | list):
        diagnostics.add(
            BAD_LABELS, place, f"{show_value(value)} is neither a mapping nor a list", _LABELS_HINT
        )
        return ReadLabels({}, readable=False)
    labels: dict[str, str] = {}
    failed: set[str] = set()
    pairs = (
        _pairs_of_mapping(value, place, diagnostics)
        if isinstance(value, dict)
        else _pairs_of_list(value, place, diagnostics, failed)
    )
    for key, text, where in pairs:
        try:
            if variables is not None and isinstance(value, list):
                key = _short_enough(key, variables)
            if variables is not None and isinstance(text, str) and is_hrm_label(key):
                text = _replaced(text, variables)
            if isinstance(value, list) and key in labels and is_hrm_label(key):
                diagnostics.add(
                    REPEATED_LABEL,
                    where,
                    f"the label {show(key)} stands here a second time",
                    "keep one of the two",
                )
            labels[key] = _text(text)
        except ConfigurationError as error:
            labels.pop(key, None)
            if is_hrm_label(key):
                failed.add(key)
                diagnostics.add(
                    BAD_VARIABLE if isinstance(text, str) else BAD_LABEL,
                    where,
                    error.message,
                    error.hint,
                )
    return ReadLabels(labels, frozenset(failed - labels.keys()))


def merge_labels(
    service: ReadLabels, deploy: ReadLabels, place: str, diagnostics: FileDiagnostics
) -> ReadLabels:
    """`labels` and `deploy.labels` of one service; the second have precedence."""
    for key in sorted(service.labels.keys() & deploy.labels.keys()):
        if is_hrm_label(key) and service.labels[key] != deploy.labels[key]:
            message = f"the label {show(key)} is another one in deploy.labels, which counts"
            diagnostics.add(
                LABELS_DIFFER,
                place,
                message,
                "keep one: deploy.labels for a Swarm, labels for plain containers",
            )
    labels = {
        key: value for key, value in service.labels.items() if key not in deploy.failed
    } | dict(deploy.labels)
    return ReadLabels(
        labels,
        (service.failed | deploy.failed) - labels.keys(),
        service.readable and deploy.readable,
    )


def read_ports(
    value: object, place: str, diagnostics: FileDiagnostics, variables: Mapping[str, str]
) -> tuple[PublishedPort, ...]:
    """The published ports in `value`, a list of short and long forms; a range of ports counts as
    each of them.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        diagnostics.add(PORT_NOT_READ, place, f"{show_value(value)} is not a list", _PORT_HINT)
        return ()
    found: list[PublishedPort] = []
    for index, entry in enumerate(value):
        where = f"{place}[{index}]"
        try:
            found += (
                _long(entry, variables) if isinstance(entry, dict) else _short(entry, variables)
            )
        except ConfigurationError as error:
            diagnostics.add(PORT_NOT_READ, where, error.message, error.hint)
        if len(found) > MAX_PORTS:
            diagnostics.add(
                PORT_NOT_READ,
                where,
                f"more than {MAX_PORTS} ports are not read",
                "name internal_port in each label",
            )
            break
    return tuple(found[:MAX_PORTS])


def _replaced(text: str, variables: Mapping[str, str]) -> str:
    # An empty variable in the place of a host would make a route for every host of one for one.
    found = interpolate(text, variables)
    if found is not text and (
        _count(_NO_HOST, found) > _count(_NO_HOST, text)
        or ("://*$" in text and _count(_ANY_HOST, found) > _count(_ANY_HOST, text))
    ):
        raise ConfigurationError(
            f"with its variables {show(text)} has no host",
            hint="give the variable a value; a route for every host is written http://*",
        )
    return found


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in pattern.finditer(text))


_Pair = tuple[str, object, str]


def _pairs_of_mapping(
    value: Mapping[object, object], place: str, diagnostics: FileDiagnostics
) -> Iterator[_Pair]:
    for key, text in value.items():
        if isinstance(key, str):
            yield key, text, f"{place}.{key}"
        else:
            diagnostics.add(
                BAD_LABEL,
                place,
                f"the key {show_value(key)} is not a string",
                "put it in quotation marks",
            )


def _pairs_of_list(
    value: list[object], place: str, diagnostics: FileDiagnostics, failed: set[str]
) -> Iterator[_Pair]:
    for index, entry in enumerate(value):
        where = f"{place}[{index}]"
        if isinstance(entry, str):
            key, _, text = entry.partition("=")
            yield key, text, where
        else:
            # "- KEY: VALUE" is a mapping of one key; whose label it was meant to be is plain, and
            # its last good route is kept.
            failed |= (
                {key for key in entry if isinstance(key, str) and is_hrm_label(key)}
                if isinstance(entry, dict)
                else set()
            )
            diagnostics.add(
                BAD_LABEL, where, f"{show_value(entry)} is not a KEY=VALUE", _ENTRY_HINT
            )


def _short_enough(text: str, variables: Mapping[str, str]) -> str:
    # Cut, it would be another key or port.
    found = interpolate(text, variables)
    if found is not text and len(found) > MAX_VALUE:
        raise ConfigurationError(
            f"with its variables {show(text)} has more than {MAX_VALUE} characters",
            hint="write a shorter one",
        )
    return found


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 64):
        return str(value)
    raise ConfigurationError(
        f"{show_value(value)} is not a string", hint="put the label's value in quotation marks"
    )


def _short(entry: object, variables: Mapping[str, str]) -> list[PublishedPort]:
    text = _port_text(entry, variables)
    match = _SHORT.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{show(text)} is not a port", hint=_PORT_HINT)
    return _ports(match["target"], match["published"] or "", match["protocol"] or "tcp", "ingress")


def _long(entry: Mapping[str, object], variables: Mapping[str, str]) -> list[PublishedPort]:
    target, published, protocol, mode = (
        _port_text(default if entry.get(key) is None else entry[key], variables)
        for key, default in (
            ("target", ""),
            ("published", ""),
            ("protocol", "tcp"),
            ("mode", "ingress"),
        )
    )
    return _ports(target, published, protocol, mode)


def _port_text(value: object, variables: Mapping[str, str]) -> str:
    if isinstance(value, str):
        return _short_enough(value, variables)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
        return str(value)
    raise ConfigurationError(f"{show_value(value)} is not a port", hint=_PORT_HINT)


def _ports(target: str, published: str, protocol: str, mode: str) -> list[PublishedPort]:
    targets = _range(target)
    outside = range(0) if published in ("", "0") else _range(published)
    if len(outside) != len(targets):
        if outside and len(targets) > 1:
            raise ConfigurationError(
                f"{show(published)} and {show(target)} are not equally many ports", hint=_PORT_HINT
            )
        # One of several, or any free one: only the engine knows.
        return [PublishedPort(port, None, protocol, mode) for port in targets]
    return [
        PublishedPort(port, seen, protocol, mode)
        for port, seen in zip(targets, outside, strict=True)
    ]


def _range(text: str) -> range:
    if not re.fullmatch(_RANGE, text, re.ASCII):
        raise ConfigurationError(f"{show(text)} is not a port", hint=_PORT_HINT)
    first, _, last = text.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not found or found[0] < 1 or found[-1] > 65535:
        raise ConfigurationError(f"{show(text)} is not within 1-65535", hint=_PORT_HINT)
    return found
