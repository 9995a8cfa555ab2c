"""Labels in all the ways of Compose and stack files: mappings, lists, files of labels, variables,
and layers of several files.

Files of our own form write labels in the same ways, without variables. This module does not know
what labels mean, and reports nothing about those that are not for routing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from meshlib.discovery.files.diagnostics import (
    BAD_FILE,
    BAD_LABEL,
    BAD_LABELS,
    BAD_VARIABLE,
    LABELS_DIFFER,
    REPEATED_LABEL,
    FileDiagnostics,
    show_value,
)
from meshlib.discovery.files.interpolation import interpolate
from meshlib.discovery.files.sources import RESET, Files, Layer, Source, Tagged, layers
from meshlib.discovery.files.variables import LABEL_KEY, read_assignments
from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.labels.limits import MAX_VALUE
from meshlib.labels.schemas import is_routing_label

__all__ = ["ReadLabels", "composed_labels", "merge_labels", "put_on_top", "read_labels"]

_LABELS_HINT: Final = 'write labels: {KEY: "VALUE"}'
_ENTRY_HINT: Final = 'write - "KEY=VALUE"'
_FILE_HINT: Final = 'write label_file: "PATH", or a list of paths'
_NO_HOST: Final = re.compile(r"(?:http|sni)://(?=[/,\s]|\Z)", re.IGNORECASE)
_ANY_HOST: Final = re.compile(r"(?:http|sni)://\*(?=[/,\s]|\Z)", re.IGNORECASE)


class ReadLabels(NamedTuple):
    """`labels` as texts; `failed` has the keys of routing labels that could not be read, `reset`
    those that a layer takes away from those below it. When not `readable`, any label may have been
    among those that failed.
    """

    labels: Mapping[str, str]
    failed: frozenset[str] = frozenset()
    readable: bool = True
    reset: frozenset[str] = frozenset()


def composed_labels(
    sources: Sequence[Source], service: str, files: Files, diagnostics: FileDiagnostics
) -> ReadLabels:
    """The labels of a service of Compose: those of its `label_file`, of `labels`, which have
    precedence over these, and of `deploy.labels`, which have it over both.
    """
    found = put_on_top(
        _of_files(layers(sources, service, "label_file"), files, diagnostics),
        *(_read(layer, diagnostics) for layer in layers(sources, service, "labels")),
    )
    deploy = ReadLabels({})
    for layer in layers(sources, service, "deploy"):
        if not isinstance(layer.value, dict):
            diagnostics.add(
                BAD_LABELS,
                layer.place,
                f"{show_value(layer.value)} is not a mapping",
                'write deploy: {labels: {KEY: "VALUE"}}',
            )
            deploy = deploy._replace(readable=False)
    deploy = put_on_top(
        deploy,
        *(_read(layer, diagnostics) for layer in layers(sources, service, "deploy", "labels")),
    )
    return merge_labels(found, deploy, f"services.{service}", diagnostics)


def _read(layer: Layer, diagnostics: FileDiagnostics) -> ReadLabels:
    return read_labels(layer.value, layer.place, diagnostics, layer.source.variables)


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
    reset: set[str] = set()
    pairs = (
        _pairs_of_mapping(value, place, diagnostics)
        if isinstance(value, dict)
        else _pairs_of_list(value, place, diagnostics, failed)
    )
    for key, text, where in pairs:
        if isinstance(text, Tagged) and text.tag == RESET:
            reset.add(key)
            continue
        try:
            if variables is not None and isinstance(value, list):
                key = _short_enough(key, variables)
            if variables is not None and isinstance(text, str) and is_routing_label(key):
                text = _replaced(text, variables)
            if isinstance(value, list) and key in labels and is_routing_label(key):
                diagnostics.add(
                    REPEATED_LABEL,
                    where,
                    f"the label {show(key)} stands here a second time",
                    "keep one of the two",
                )
            labels[key] = _text(text)
        except ConfigurationError as error:
            labels.pop(key, None)
            if is_routing_label(key):
                failed.add(key)
                diagnostics.add(
                    BAD_VARIABLE if isinstance(text, str) else BAD_LABEL,
                    where,
                    error.message,
                    error.hint,
                )
    return ReadLabels(labels, frozenset(failed - labels.keys()), reset=frozenset(reset))


def put_on_top(base: ReadLabels, *above: ReadLabels) -> ReadLabels:
    """The labels of all layers together; those of a later one have precedence, and one that failed
    there has none of the value below it.
    """
    labels, failed, readable = dict(base.labels), set(base.failed), base.readable
    for layer in above:
        for key in layer.reset | layer.failed:
            labels.pop(key, None)
        failed = (failed - layer.labels.keys() - layer.reset) | layer.failed
        labels |= layer.labels
        readable = readable and layer.readable
    return ReadLabels(labels, frozenset(failed), readable)


def merge_labels(
    service: ReadLabels, deploy: ReadLabels, place: str, diagnostics: FileDiagnostics
) -> ReadLabels:
    """`labels` and `deploy.labels` of one service; the second have precedence."""
    for key in sorted(service.labels.keys() & deploy.labels.keys()):
        if is_routing_label(key) and service.labels[key] != deploy.labels[key]:
            message = f"the label {show(key)} is another one in deploy.labels, which counts"
            diagnostics.add(
                LABELS_DIFFER,
                place,
                message,
                "keep one: deploy.labels for a Swarm, labels for plain containers",
            )
    return put_on_top(service, deploy)


def _of_files(found: Iterable[Layer], files: Files, diagnostics: FileDiagnostics) -> ReadLabels:
    result = ReadLabels({})
    for layer in found:
        names = layer.value if isinstance(layer.value, list) else [layer.value]
        for name in names:
            try:
                if not isinstance(name, str):
                    raise ConfigurationError(
                        f"{show_value(name)} is not the path of a file", hint=_FILE_HINT
                    )
                source = layer.source
                read = files.text(interpolate(name, source.variables), source.directory)
                above = _of_text(str(read.content), read.path, source.variables, diagnostics)
            except ConfigurationError as error:
                diagnostics.add(BAD_FILE, layer.place, error.message, error.hint)
                above = ReadLabels({}, readable=False)
            result = put_on_top(result, above)
    return result


def _of_text(
    text: str, path: str, variables: Mapping[str, str], diagnostics: FileDiagnostics
) -> ReadLabels:
    labels, problems = read_assignments(text, variables, key=LABEL_KEY)
    for problem in problems:
        if problem.name and not is_routing_label(problem.name):
            continue
        diagnostics.add(BAD_LABEL, f"{path}:{problem.line}", problem.message, "write KEY=VALUE")
    failed = frozenset(problem.name for problem in problems if is_routing_label(problem.name))
    readable = all(problem.name for problem in problems)
    return ReadLabels(
        {key: value for key, value in labels.items() if key not in failed}, failed, readable
    )


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
                {key for key in entry if isinstance(key, str) and is_routing_label(key)}
                if isinstance(entry, dict)
                else set()
            )
            diagnostics.add(
                BAD_LABEL, where, f"{show_value(entry)} is not a KEY=VALUE", _ENTRY_HINT
            )


def _short_enough(text: str, variables: Mapping[str, str]) -> str:
    # Cut, it would be another key.
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
    if isinstance(value, float):
        # As Compose writes numbers: 8.0 is 8.
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else str(value)
    if isinstance(value, int) and value.bit_length() <= 64:
        return str(value)
    raise ConfigurationError(
        f"{show_value(value)} is not a string", hint="put the label's value in quotation marks"
    )
