"""Label schemas: HRM's, and those of a program's own, under one roof and within one budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from meshlib.bounds import bounded_name
from meshlib.definitions import check_called, check_name, check_place
from meshlib.errors import ConfigurationError
from meshlib.labels.actions import ServicePorts, service_ports
from meshlib.labels.collected import Collected
from meshlib.labels.diagnostics import DiagnosticKind, LabelDiagnostics, show
from meshlib.labels.grammar import Pair, Part
from meshlib.labels.hrm import LABEL, SCHEMA, collect_labels, is_hrm_label, read_route
from meshlib.labels.limits import MAX_VALUE, LabelLimits
from meshlib.labels.options import KEYS
from meshlib.labels.result import LabelResult, PublishedPort
from meshlib.model import Diagnostic, Severity

__all__ = [
    "CATALOGUE",
    "LabelSchema",
    "SchemaFunction",
    "is_routing_label",
    "label_schema",
    "read_labels",
    "schema_names",
]

FAILED: Final = DiagnosticKind(
    "SCH001", Severity.ERROR, "a label schema of the program's own failed, or gave what is no route"
)
CATALOGUE: Final = (FAILED,)

_LIMITS: Final = LabelLimits()
_TAKEN: Final = frozenset({SCHEMA, "code", "published"})
_SHORTEST_PREFIX: Final = 3
_FUNCTION: Final = "write def NAME(labels, service):"
# The key of a route that names its label, beside those of the options.
_LABEL: Final = "label"

# Labels and the service's name to routes, as mappings of `options.KEYS`, and diagnostics.
SchemaFunction: TypeAlias = Callable[
    [Mapping[str, str], str], Iterable[Mapping[str, object] | Diagnostic]
]
F = TypeVar("F", bound=Callable[..., Any])


class LabelSchema(NamedTuple):
    """A schema of a program's own: it reads the labels whose keys begin with one of `prefixes`."""

    name: str
    prefixes: tuple[str, ...]
    read: SchemaFunction


_OWN: dict[str, LabelSchema] = {}


def label_schema(name: str, *, prefix: str | Sequence[str]) -> Callable[[F], F]:
    """Define a dialect of labels: those whose keys begin with `prefix`, or with one of several.

        @meshlib.label_schema("simple", prefix="mesh.")
        def simple(labels, service):
            yield {"external_route": f"http://{labels['mesh.host']}", "internal_port": 8080}

    The function gets those labels of a service that there is room for, and the service's name. It
    returns, or yields, for each route a mapping with the keys that HRM's labels have
    (docs/labels.md): `external_route` at least, and as them `internal_port`, `redirect`,
    `sticky_sessions` and so on, with texts, numbers, True or lists; `label` may say which label
    asked for it (the first one, unless it is said). What is wrong about a value is reported as it
    is for HRM's labels. For mistakes of its own it returns `Diagnostic`s among the routes; one of
    severity ERROR keeps the last good route of its label.

    It is called wherever labels are read, on services, containers and in files, in a thread, and
    again when they change: it must be pure. What it raises costs the routes that it would have
    given this service (SCH001). A definition from the same place takes the place of an earlier one.

    `ConfigurationError` for a name or a prefix that is taken or cannot be one.
    """
    where = f"label_schema({name!r})"
    check_name(name, where)
    if name in _TAKEN:
        raise ConfigurationError(
            "a built-in schema has this name", where=where, hint="take another"
        )
    prefixes = (prefix,) if isinstance(prefix, str) else tuple(prefix)
    for one in prefixes or ("",):
        if not isinstance(one, str) or len(one) < _SHORTEST_PREFIX:
            hint = f'write at least {_SHORTEST_PREFIX} characters, prefix="mesh."'
            raise ConfigurationError(f"{one!r} is not a prefix", where=where, hint=hint)
        if one.startswith(LABEL) or LABEL.startswith(one):
            message = f"labels of the prefix {one!r} are those of HRM"
            raise ConfigurationError(message, where=where, hint="take another prefix")

    def define(given: F) -> F:
        check_called(given, where, 2, _FUNCTION)
        if name in _OWN:
            check_place(given, _OWN[name].read, where)
        _OWN[name] = LabelSchema(name, prefixes, given)
        return given

    return define


def is_routing_label(key: str) -> bool:
    """Whether `key` is that of a label that some schema reads."""
    return is_hrm_label(key) or any(key.startswith(one.prefixes) for one in _OWN.values())


def schema_names() -> tuple[str, ...]:
    """The names of all schemas of the program's own, sorted."""
    return tuple(sorted(_OWN))


def read_labels(
    labels: Mapping[str, str],
    *,
    service: str,
    ports: Sequence[PublishedPort] = (),
    limits: LabelLimits = _LIMITS,
) -> LabelResult:
    """Read the labels of a service by every schema: HRM's first, then those of the program's own
    in order of their names. The arguments are those of `hrm.parse_labels`, and so are the limits,
    which hold for all schemas together.
    """
    collected = Collected(service, limits)
    own = {
        name: sorted(key for key in labels if key.startswith(_OWN[name].prefixes))
        for name in sorted(_OWN)
    }
    claimed = {key for keys in own.values() for key in keys}
    others = (
        {key: text for key, text in labels.items() if key not in claimed} if claimed else labels
    )
    collect_labels(collected, others, ports)
    for name, keys in own.items():
        if keys:
            _Reading(_OWN[name], collected, service_ports(ports)).read(labels, keys, service)
    return collected.result()


class _Reading:
    # One service's labels, read by one schema.

    def __init__(
        self, schema: LabelSchema, collected: Collected, ports: Mapping[str, ServicePorts]
    ) -> None:
        self._schema = schema
        self._collected = collected
        self._ports = ports
        self._labels: dict[str, LabelDiagnostics] = {}

    def read(self, labels: Mapping[str, str], keys: Sequence[str], service: str) -> None:
        """Call the schema, and take what it returns."""
        room, diagnostics = self._collected.room, self._collected.diagnostics
        readable = [key for key in keys if room.for_label(bounded_name(key), key, labels[key])]
        if not readable:
            return
        limits = self._collected.limits
        most = limits.routes + limits.diagnostics
        before = len(diagnostics.kept)
        try:
            found = self._schema.read({key: labels[key] for key in readable}, service)
            # More than this is not kept anyway.
            for item in list(islice(found, most)):
                self._take(item, readable, labels, service)
        except Exception as error:  # noqa: BLE001
            message = f"the schema failed: {type(error).__name__}: {show(str(error), 200)[1:-1]}"
            for key in readable:
                diagnostics.failed.add(bounded_name(key))
            self._label(readable[0], "").add(FAILED, message, "mend the schema, or the labels")
        kept = diagnostics.kept
        # Columns are those of a text that nobody has written.
        kept[before:] = [
            replace(one, message=f"{self._schema.name}: {one.message}", column=0)
            for one in kept[before:]
        ]

    def _take(
        self, item: object, keys: Sequence[str], labels: Mapping[str, str], service: str
    ) -> None:
        if isinstance(item, Diagnostic):
            label = bounded_name(item.label if item.label in keys else keys[0])
            if item.severity is Severity.ERROR:
                self._collected.diagnostics.failed.add(label)
            self._collected.diagnostics.keep(replace(item, service=service, label=label))
            return
        if not isinstance(item, Mapping):
            raise TypeError(f"it gave {type(item).__name__}, neither a mapping nor a Diagnostic")
        key = item.get(_LABEL, keys[0])
        if key not in keys:
            raise ValueError(f"the label {key!r} of a route is none of those that it was given")
        of_label = self._label(key, labels[key])
        pairs = {
            name: Pair(Part(name, 0), Part(_text(value), 0))
            for name, value in item.items()
            if name != _LABEL and value is not None
        }
        unknown = next((name for name in pairs if name not in KEYS), None)
        if unknown is not None or any(len(pair.value.text) > MAX_VALUE for pair in pairs.values()):
            raise ValueError(
                f"a route has {unknown!r}, which is not an option"
                if unknown is not None
                else f"a value of a route has more than {MAX_VALUE} characters"
            )
        route = read_route(pairs, of_label, self._ports, self._schema.name)
        if route is not None:
            self._collected.add(route, of_label, 0)

    def _label(self, key: str, value: str) -> LabelDiagnostics:
        if key not in self._labels:
            self._labels[key] = self._collected.diagnostics.label(bounded_name(key), value)
        return self._labels[key]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ";".join(map(str, value))
    return value if isinstance(value, str) else str(value)
