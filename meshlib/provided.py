"""Routes as a provider of a program's own reads them: a snapshot, a mapping as for `Mesh`, or rows.

A wrong entry or row costs its own route, which stays as it was last, and is a diagnostic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final, TypeAlias

from meshlib.bounds import bounded_name
from meshlib.entries import typed
from meshlib.errors import ConfigurationError
from meshlib.model import Contribution, Diagnostic, Match, Severity, Snapshot, Upstream
from meshlib.routes import Service, Target, given_routes, read_routes

__all__ = ["Provided", "provided_snapshot"]

# Rows are (HOST, ADDRESS) or (HOST, ADDRESS, WEIGHT), or mappings.
Provided: TypeAlias = Snapshot | Mapping[str, Target] | Iterable[Any]

BAD_ENTRY: Final = "PRV001"
_OLDEST: Final = 1
_OF_ROWS: Final = ("host", "address", "weight")
_OPTIONS: Final = tuple(
    one.name for one in fields(Service) if one.name not in ("addresses", "weights")
)
_ROW_HINT: Final = "give (HOST, ADDRESS), (HOST, ADDRESS, WEIGHT), or a mapping with these names"


def provided_snapshot(found: Provided, provider: str, previous: Snapshot | None = None) -> Snapshot:
    """The snapshot of what a provider has read.

    A row has `host` (as the entries of `Mesh`: "shop.example.com", "api.example.com/v1",
    "tcp://:5432"), `address` ("10.0.0.5:8080"; None: the host is known without endpoints), and may
    have `weight`; as a mapping (or what has `keys()`, as rows of sqlite3) also the options of
    `Service`. Rows of one host are its endpoints; of options the first row's count that has one.

    Contributions of `previous` that are equal stay the same objects. `ConfigurationError` for what
    is none of these, and for a snapshot that cannot be served.
    """
    if isinstance(found, Snapshot):
        return given_routes(found, previous)
    before = {one.key: one for one in previous.contributions} if previous is not None else {}
    reading = _Reading(provider, before)
    if isinstance(found, Mapping):
        for key, target in found.items():
            reading.add(key, target)
    elif isinstance(found, str | bytes) or not isinstance(found, Iterable):
        hint = "return a Snapshot, {HOST: [ADDRESS]}, or rows of (HOST, ADDRESS)"
        raise ConfigurationError(f"{typed(found)} has no routes", where=provider, hint=hint)
    else:
        hosts, wrong = _hosts(found)
        for key, (addresses, weights, options) in hosts.items():
            weighted = weights if any(weight is not None for weight in weights) else None
            whole = None if weighted is None else [1 if one is None else one for one in weighted]
            reading.add(key, Service(addresses, weights=whole, **options))
        for number, message in wrong.items():
            reading.report(f"row {number}", message, _ROW_HINT)
    return Snapshot.of(reading.contributions)


class _Reading:
    # The contributions of one look, whose matches and services of one name must not differ.

    def __init__(self, provider: str, before: Mapping[str, Contribution]) -> None:
        self.contributions: list[Contribution] = []
        self._provider = provider
        self._before = before
        self._matches: dict[Match, object] = {}
        self._services: dict[str, tuple[object, Upstream]] = {}

    def add(self, key: Any, target: Any) -> None:
        """The route of an entry, or its diagnostic."""
        try:
            (route,) = read_routes({key: target}).routes
            other = self._matches.setdefault(route.match, key)
            if other != key:
                message = f"the entry {other!r} is the same route"
                raise ConfigurationError(message, hint="keep one of the two")
            upstream = route.upstream
            if upstream is not None:
                first, same = self._services.setdefault(upstream.key.service, (key, upstream))
                if same != upstream:
                    message = f"the entry {first!r} has another service of this name"
                    hint = "give each service a name of its own"
                    raise ConfigurationError(message, hint=hint)
        except ConfigurationError as error:
            self.report(key if isinstance(key, str) else repr(key), error.message, error.hint)
            return
        self._keep(
            Contribution(
                f"{self._provider}/{route.name}",
                route.service,
                _OLDEST,
                (route,),
                owner=f"file {self._provider}",
            )
        )

    def report(self, label: str, message: str, hint: str) -> None:
        """A diagnostic of an entry, whose last good route stays."""
        label = bounded_name(label)
        found = Diagnostic(BAD_ENTRY, Severity.ERROR, label, label, message, hint)
        routes = tuple(
            replace(route, degraded=True)
            for one in self._before.values()
            for route in one.routes
            if route.label == label and route.match not in self._matches
        )
        self._matches.update((route.match, label) for route in routes)
        key = f"{self._provider}/wrong {len(self.contributions)}/{label}"
        owner = f"file {self._provider}"
        self._keep(Contribution(key, label, _OLDEST, routes, (found,), owner=owner))

    def _keep(self, made: Contribution) -> None:
        old = self._before.get(made.key)
        self.contributions.append(old if old is not None and old == made else made)


_Host: TypeAlias = tuple[list[Any], list[Any], dict[str, Any]]


def _hosts(rows: Iterable[Any]) -> tuple[dict[str, _Host], dict[int, str]]:
    """The addresses, weights and options of each host, and what is wrong, by the row's number."""
    hosts: dict[str, _Host] = {}
    wrong: dict[int, str] = {}
    for number, row in enumerate(rows, 1):
        try:
            values = _values(row)
        except ConfigurationError as error:
            wrong[number] = error.message
            continue
        addresses, weights, options = hosts.setdefault(values.pop("host"), ([], [], {}))
        address, weight = values.pop("address"), values.pop("weight", None)
        if address:
            addresses.append(address)
            weights.append(weight)
        for name, value in values.items():
            if value is not None:
                options.setdefault(name, value)
    return hosts, wrong


def _values(row: Any) -> dict[str, Any]:
    keys = getattr(row, "keys", None)
    if callable(keys):
        values = {str(name): row[name] for name in keys()}
    elif isinstance(row, Sequence) and not isinstance(row, str | bytes) and 2 <= len(row) <= 3:
        values = dict(zip(_OF_ROWS, row, strict=False))
    else:
        raise ConfigurationError(f"{typed(row)} is not a row")
    missing = [name for name in ("host", "address") if name not in values]
    unknown = [name for name in values if name not in (*_OF_ROWS, *_OPTIONS)]
    if missing or unknown:
        word = f"has no {missing[0]}" if missing else f"has {unknown[0]!a}, which is not an option"
        raise ConfigurationError(f"the row {word}")
    if not isinstance(values["host"], str):
        raise ConfigurationError(f"the host of the row is {typed(values['host'])}")
    return values
