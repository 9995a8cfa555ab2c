"""Labels of the HTTP Routing Mesh:
`com.docker.ucp.mesh.http[.SUFFIX]=external_route=...,internal_port=...`

The grammar of UCP 2.1 and 2.2, the one of UCP 2.0 (several routes in one label), and the additions
of meshlib: wildcard hosts, path prefixes, TCP and UDP ports, more options. `docs/labels.md`
describes it to users. A wrong label costs its own routes only. This module knows nothing of
endpoints, networks or other services.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from meshlib.bounds import bounded_name
from meshlib.labels import codes
from meshlib.labels.actions import ServicePorts, choose_port, read_action, service_ports
from meshlib.labels.collected import Collected
from meshlib.labels.diagnostics import Diagnostics, LabelDiagnostics, show
from meshlib.labels.grammar import Pair, Part, split_elements, split_pair
from meshlib.labels.interlock import unread_interlock
from meshlib.labels.limits import MAX_VALUE, LabelLimits
from meshlib.labels.matches import parse_external_route, written
from meshlib.labels.options import KEYS, LISTED, read_options
from meshlib.labels.result import InternalPort, LabelResult, LabelRoute, PublishedPort
from meshlib.labels.slips import meant_key, pair_hint, runs_together
from meshlib.labels.suggest import Suggestions
from meshlib.model import RedirectRule

__all__ = [
    "LABEL",
    "MAX_ELEMENTS",
    "SCHEMA",
    "collect_labels",
    "is_hrm_label",
    "parse_labels",
    "read_route",
]

LABEL = "com.docker.ucp.mesh.http"
SCHEMA = "hrm"

# UCP 2.0 put all routes of a service into one label; the later form has a dozen keys.
MAX_ELEMENTS = 100
# Other labels whose keys are checked for a slip, for each routing label that a service may have.
_OTHER_LABELS = 10
_LIMITS = LabelLimits()

_ROUTE = "external_route"
_HOOKS = "hooks"
_SLIP_OF_HOOKS = re.compile(r"ho|.*hook|middleware", re.IGNORECASE)
_LEGACY = re.compile(r"(?:[0-9]+[ \t]*=[ \t]*)?[A-Za-z]+://")
_PROSE_SLIP = "com.docker.mesh.http"  # as one sentence of UCP's documentation had it
_SHOWN = 10  # routes that a hint rewrites


def is_hrm_label(key: str) -> bool:
    """Whether `key` is that of a routing label: `com.docker.ucp.mesh.http`, alone or followed by a
    dot and any text.
    """
    return key.startswith(LABEL) and key[len(LABEL) : len(LABEL) + 1] in ("", ".")


def parse_labels(
    labels: Mapping[str, str],
    *,
    service: str,
    ports: Sequence[PublishedPort] = (),
    limits: LabelLimits = _LIMITS,
) -> LabelResult:
    """Read the routing labels among `labels`, in order of their keys; other labels are ignored,
    except that a service with labels of Interlock alone is told so.

    `service` is the name for diagnostics, `ports` are the published ports of the service. No text
    makes it raise, and the order of the mapping does not matter. The cost is linear in the length
    of the labels up to `limits`; labels beyond a limit fail, with one diagnostic for each limit.
    """
    collected = Collected(service, limits)
    collect_labels(collected, labels, ports)
    return collected.result()


def collect_labels(
    collected: Collected, labels: Mapping[str, str], ports: Sequence[PublishedPort]
) -> None:
    """Collect what `parse_labels` returns."""
    diagnostics, own_ports = collected.diagnostics, service_ports(ports)
    own = sorted(filter(is_hrm_label, labels))
    for key in own:
        name = bounded_name(key)
        if collected.room.for_label(name, key, labels[key]):
            of_label = diagnostics.label(name, labels[key])
            for column, route in _read_label(labels[key], of_label, own_ports):
                collected.add(route, of_label, column)
    _report_key_slips(labels, diagnostics, collected.limits)
    unread = unread_interlock(labels, diagnostics.service) if not own else None
    if unread is not None:
        diagnostics.keep(unread)


def _report_key_slips(
    labels: Mapping[str, str], diagnostics: Diagnostics, limits: LabelLimits
) -> None:
    # There may be any number of other labels, which are not ours.
    others = sorted(key for key in labels if not is_hrm_label(key))
    for key in others[: _OTHER_LABELS * limits.labels]:
        meant = _meant_key(key, diagnostics.suggestions)
        if meant is not None:
            message = "the label is ignored: its key is almost, but not quite, a routing label's"
            hint = f"did you mean {meant[:100]}?"
            diagnostics.label(bounded_name(key)).add(codes.LABEL_KEY_SLIP, message, hint)


def _meant_key(key: str, suggestions: Suggestions) -> str | None:
    head, rest = key[: len(LABEL)], key[len(LABEL) :]
    if head.lower() == LABEL and not rest[:1].isalpha():
        return LABEL if not rest else f"{LABEL}.{rest.lstrip('.-_:/ ')}"
    if key[: len(_PROSE_SLIP)].lower() == _PROSE_SLIP and key[
        len(_PROSE_SLIP) : len(_PROSE_SLIP) + 1
    ] in ("", "."):
        return LABEL + key[len(_PROSE_SLIP) :]
    ends = range(len(LABEL) - 2, min(len(LABEL) + 2, len(key)) + 1)
    near = suggestions.first_near(
        [key[:end] for end in ends if key[end : end + 1] in ("", ".")], LABEL
    )
    if near is not None:
        return LABEL + key[len(near) :]
    return LABEL if head.lower() == LABEL else None


def _read_label(
    value: str, diagnostics: LabelDiagnostics, ports: Mapping[str, ServicePorts]
) -> list[tuple[int, LabelRoute]]:
    """The routes of one label, each with its column; a label of the later form has at most one."""
    if len(value) > MAX_VALUE:
        message = f"the value has more than {MAX_VALUE} characters"
        hint = "spread the routes over several labels"
        diagnostics.add(codes.TOO_LONG, message, hint, column=MAX_VALUE + 1)
        return []
    elements = split_elements(value)
    if len(elements) > MAX_ELEMENTS:
        message = f"the label has {len(elements)} parts between commas, more than {MAX_ELEMENTS}"
        hint = f"spread the routes over several labels: {LABEL}.1, {LABEL}.2"
        diagnostics.add(
            codes.TOO_MANY_ELEMENTS, message, hint, column=elements[MAX_ELEMENTS].column
        )
        return []
    full = [element for element in elements if element.text]
    if not full:
        diagnostics.add(
            codes.NO_EXTERNAL_ROUTE,
            "the label is empty",
            "write external_route=http://HOST,internal_port=PORT",
        )
        return []
    if len(full) < len(elements):
        column = next(element.column for element in elements if not element.text)
        diagnostics.add(
            codes.EMPTY_ELEMENT,
            "there is nothing next to this comma",
            "leave the comma out",
            column=min(column, len(value)),
        )
    for element in full:
        if _report_quotes(element, diagnostics):
            return []
    if _is_legacy(full):
        return _read_legacy(full, diagnostics, ports)
    route = _read_pairs(full, diagnostics, ports)
    return [] if route is None else [route]


def _report_quotes(part: Part, diagnostics: LabelDiagnostics) -> bool:
    if part.text[:1] not in ('"', "'"):
        return False
    message = "the quotation mark is part of the value; nothing removes it"
    hint = (
        "leave the quotation marks out; in a YAML list, put them around the whole entry: "
        '- "key=value"'
    )
    diagnostics.add(codes.QUOTED, message, hint, column=part.column)
    return True


# --- UCP 2.0: [PORT=]http://HOST, several in one label


def _is_legacy(elements: list[Part]) -> bool:
    if not _LEGACY.match(elements[0].text):
        return False
    return not any(pair and pair.name.text in KEYS for pair in map(split_pair, elements))


def _read_legacy(
    elements: list[Part], diagnostics: LabelDiagnostics, ports: Mapping[str, ServicePorts]
) -> list[tuple[int, LabelRoute]]:
    routes: list[tuple[int, LabelRoute]] = []
    newer: list[str] = []
    for element in elements:
        pair = split_pair(element)
        number, target = pair if pair and "://" not in pair.name.text else (None, element)
        match = parse_external_route(target, diagnostics)
        port = choose_port(number, match, ports, diagnostics)
        if match is None or port is None:
            continue
        asked = LabelRoute(match, InternalPort(port), diagnostics.key, SCHEMA)
        routes.append((element.column, asked))
        newer.append(
            f"{LABEL}.{len(routes)}=external_route={written(match)}"
            + (f",internal_port={port}" if number else "")
        )
    shown = "; ".join(newer[:_SHOWN]) + ("; ..." if len(newer) > _SHOWN else "")
    hint = (
        f"write {shown}"
        if newer
        else f"write {LABEL}.1=external_route=http://HOST,internal_port=PORT"
    )
    message = "this is the form of UCP 2.0; in the later one each route has a label of its own"
    diagnostics.add(codes.LEGACY_FORM, message, hint, column=elements[0].column)
    return routes


# --- UCP 2.1 and 2.2: key=value pairs, one route a label


def _read_pairs(
    elements: list[Part], diagnostics: LabelDiagnostics, ports: Mapping[str, ServicePorts]
) -> tuple[int, LabelRoute] | None:
    pairs = _collect_pairs(elements, diagnostics)
    route = read_route(pairs, diagnostics, ports, SCHEMA)
    return None if route is None else (pairs["external_route"].value.column, route)


def read_route(
    pairs: Mapping[str, Pair],
    diagnostics: LabelDiagnostics,
    ports: Mapping[str, ServicePorts],
    schema: str,
) -> LabelRoute | None:
    """The route that these pairs ask for; None when something is wrong, which is reported."""
    asked = pairs.get("external_route")
    if asked is None:
        if not diagnostics.failed:
            diagnostics.add(
                codes.NO_EXTERNAL_ROUTE,
                "external_route is missing",
                "write external_route=http://HOST or external_route=sni://HOST",
            )
        return None
    malformed = diagnostics.failed
    match = parse_external_route(asked.value, diagnostics)
    # A pair that cannot be read would also be reported as a missing port, and so on.
    if malformed or (match is None and runs_together(asked.value.text)):
        return None
    # Even with a wrong match the other keys are checked, so that everything is reported at once.
    action = read_action(pairs, match, ports, diagnostics)
    options, transport, strategy = read_options(pairs, match, diagnostics)
    if diagnostics.failed or match is None or action is None:
        return None
    does = action if isinstance(action, RedirectRule) else InternalPort(action, transport, strategy)
    return LabelRoute(match, does, diagnostics.key, schema, options)


def _collect_pairs(elements: list[Part], diagnostics: LabelDiagnostics) -> dict[str, Pair]:
    pairs: dict[str, Pair] = {}
    has_route = any(part.text.partition("=")[0].rstrip() == _ROUTE for part in elements)
    last = ""
    for element in elements:
        if diagnostics.hopeless:
            break
        pair = split_pair(element)
        if pair is None and last in LISTED and "://" not in element.text:
            begun = pairs[last]
            value = f"{begun.value.text};{element.text}"
            pairs[last] = begun._replace(value=begun.value._replace(text=value))
            continue
        if pair is None or not pair.name.text or "://" in pair.name.text:
            diagnostics.add(
                codes.NOT_A_PAIR,
                f"{show(element.text)} is not key=value",
                pair_hint(element.text, beside=has_route),
                column=element.column,
            )
            continue
        key = pair.name.text
        if key not in KEYS:
            _report_unknown(pair.name, diagnostics, has_route=has_route)
            last = ""
            continue
        last = key
        if key in pairs:
            message = f"{key} occurs twice; this one counts"
            hint = "leave one of them out"
            if key == _ROUTE:
                hint = "each label has one route: give each of the two a label of its own"
            diagnostics.add(codes.REPEATED_KEY, message, hint, column=pair.name.column)
        pairs[key] = pair
    return {key: pair for key, pair in pairs.items() if _has_value(pair, diagnostics)}


def _report_unknown(name: Part, diagnostics: LabelDiagnostics, *, has_route: bool) -> None:
    meant = meant_key(name.text, diagnostics.suggestions)
    hint = f"did you mean {meant}?" if meant else f"the keys are {', '.join(KEYS)}"
    kind, message = codes.UNKNOWN_KEY, f"the key {show(name.text)} is unknown and ignored"
    if meant == _HOOKS and _SLIP_OF_HOOKS.match(name.text):  # its protection would be missing
        kind, message = codes.BAD_HOOKS, f"the key {show(name.text)} is unknown"
    if meant == _ROUTE and not has_route and not diagnostics.failed:
        kind = codes.NO_EXTERNAL_ROUTE
        message = f"external_route is missing; the key {show(name.text)} is unknown"
    diagnostics.add(kind, message, hint, column=name.column)


def _has_value(pair: Pair, diagnostics: LabelDiagnostics) -> bool:
    if _report_quotes(pair.value, diagnostics):
        return False
    if pair.value.text:
        return True
    key = pair.name.text
    hint = (
        "write external_route=http://HOST, or http://* for every host"
        if key == "external_route"
        else f"write a value, or leave {key} out"
    )
    diagnostics.add(codes.EMPTY_VALUE, f"{key} has no value", hint, column=pair.value.column)
    return False
