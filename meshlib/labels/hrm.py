"""Labels of the HTTP Routing Mesh:
`com.docker.ucp.mesh.http[.SUFFIX]=external_route=...,internal_port=...`

The grammar of UCP 2.1 and 2.2, that of UCP 2.0 (several routes in one label), and what meshlib
adds: wildcard hosts, path prefixes, `redirect_status`, TCP and UDP ports, how endpoints are spoken
to. `docs/labels.md` describes it to users. One wrong label costs its own routes only. This module
knows nothing of endpoints, networks or other services.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from meshlib.bounds import bounded_name
from meshlib.labels import codes
from meshlib.labels.diagnostics import Diagnostics, LabelDiagnostics, show
from meshlib.labels.grammar import Part, split_elements, split_pair
from meshlib.labels.limits import MAX_VALUE, LabelLimits
from meshlib.labels.options import (
    Pair,
    read_forwarded_for,
    read_hsts,
    read_https,
    read_protocol,
    read_proxy_header,
    read_redirect,
    read_server_name,
    read_share_with,
    read_sticky,
)
from meshlib.labels.result import InternalPort, LabelResult, LabelRoute, PublishedPort
from meshlib.labels.room import Room
from meshlib.labels.suggest import Suggestions
from meshlib.labels.values import ExternalRoute, parse_external_route, parse_internal_port
from meshlib.model import HostPath, ListeningPort, Match, RedirectRule, Scheme, ServerName
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import Transport

__all__ = ["LABEL", "MAX_ELEMENTS", "SCHEMA", "is_hrm_label", "parse_labels"]

LABEL = "com.docker.ucp.mesh.http"
SCHEMA = "hrm"

# UCP 2.0 put all routes of a service into one label; its successor has six keys.
MAX_ELEMENTS = 100
# Labels of others that are looked at for a slip, for each routing label that a service may have.
_OTHER_LABELS = 10
_LIMITS = LabelLimits()

_KEYS = (
    "external_route",
    "internal_port",
    "redirect",
    "redirect_status",
    "sticky_sessions",
    "include_forwarded_for",
    "proxy_protocol",
    "upstream_tls",
    "upstream_protocol",
    "https",
    "hsts",
    "share_with",
)
# What says how the endpoints are asked: a redirect has none.
_BESIDE_REDIRECT = tuple(
    key
    for key in _KEYS
    if key not in ("external_route", "redirect", "redirect_status", "share_with")
)
_LEGACY = re.compile(r"(?:[0-9]+[ \t]*=[ \t]*)?[A-Za-z]+://")
_PROSE_SLIP = "com.docker.mesh.http"  # the documentation of UCP had it so in one sentence
_SHOWN = 10  # candidates named in a message


class _Ports(NamedTuple):
    """The ports of a service, of one protocol: targets in order, and published port -> target where
    they differ.
    """

    targets: tuple[int, ...]
    published: Mapping[int, int]


def is_hrm_label(key: str) -> bool:
    """Whether `key` is a routing label: `com.docker.ucp.mesh.http`, or that and a dot and
    anything.
    """
    return key.startswith(LABEL) and key[len(LABEL) : len(LABEL) + 1] in ("", ".")


def parse_labels(
    labels: Mapping[str, str],
    *,
    service: str,
    ports: Sequence[PublishedPort] = (),
    limits: LabelLimits = _LIMITS,
) -> LabelResult:
    """Read the routing labels among `labels`, in order of key; all others are left alone.

    `service` is the name put into diagnostics, `ports` what the service publishes. Never raises for
    any text; does not depend on the order of the mapping. Cost is linear in the length of the
    labels, up to `limits`: labels beyond them fail, each limit with one diagnostic.
    """
    diagnostics = Diagnostics(service, limits)
    facts = {protocol: _port_facts(ports, protocol) for protocol in ("tcp", "udp")}
    own = sorted(filter(is_hrm_label, labels))
    room = Room(diagnostics, limits)
    routes: dict[Match, LabelRoute] = {}
    for key in own:
        name = bounded_name(key)
        if not room.for_label(name, key, labels[key]):
            continue
        of_label = diagnostics.label(name)
        for column, route in _read_label(labels[key], of_label, facts):
            first = routes.get(route.match)
            if first is not None:
                message = (
                    f"the route is asked for by {show(first.label, 100)} already, which counts"
                )
                of_label.add(
                    codes.DUPLICATE_ROUTE, message, "keep one of the two labels", column=column
                )
            elif room.for_route(route):
                routes[route.match] = route
    _report_key_slips(labels, diagnostics, limits)
    kept = (
        *room.exceeded,
        *sorted(diagnostics.kept, key=lambda diagnostic: diagnostic.label),
    )
    return LabelResult(
        tuple(routes.values()), kept, frozenset(diagnostics.failed), diagnostics.unreported
    )


def _port_facts(ports: Sequence[PublishedPort], protocol: str) -> _Ports:
    own = [port for port in ports if port.protocol.lower() == protocol]
    targets = sorted({port.target for port in own})
    pairs = sorted(
        ((port.published, port.target) for port in own if port.published is not None), reverse=True
    )
    return _Ports(
        tuple(targets),
        {published: target for published, target in pairs if published not in targets},
    )


def _report_key_slips(
    labels: Mapping[str, str], diagnostics: Diagnostics, limits: LabelLimits
) -> None:
    # Other labels are somebody else's and may be any number; only so many are looked at for a slip.
    others = sorted(key for key in labels if not is_hrm_label(key))
    for key in others[: _OTHER_LABELS * limits.labels]:
        meant = _meant_key(key, diagnostics.suggestions)
        if meant is not None:
            message = "the label is not read: its key is not quite that of a routing label"
            diagnostics.label(bounded_name(key)).add(
                codes.LABEL_KEY_SLIP, message, f"did you mean {meant[:100]}?"
            )


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
    value: str, diagnostics: LabelDiagnostics, ports: Mapping[str, _Ports]
) -> list[tuple[int, LabelRoute]]:
    """The routes of one label, each with its column; of the newer form there is one or none."""
    if len(value) > MAX_VALUE:
        message = f"the value has more than {MAX_VALUE} characters"
        diagnostics.add(
            codes.TOO_LONG, message, "spread the routes over several labels", column=MAX_VALUE + 1
        )
        return []
    elements = split_elements(value)
    if len(elements) > MAX_ELEMENTS:
        message = f"the label has {len(elements)} elements, more than {MAX_ELEMENTS}"
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
            "nothing stands beside this comma",
            "leave out the comma",
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
    message = "the quotation mark is part of the value; nothing takes it away"
    hint = (
        "leave the quotation marks out; in a YAML list put them around the "
        'whole line: - "key=value"'
    )
    diagnostics.add(codes.QUOTED, message, hint, column=part.column)
    return True


# --- UCP 2.0: [PORT=]http://HOST, several in one label


def _is_legacy(elements: list[Part]) -> bool:
    if not _LEGACY.match(elements[0].text):
        return False
    return not any(pair and pair[0].text in _KEYS for pair in map(split_pair, elements))


def _read_legacy(
    elements: list[Part], diagnostics: LabelDiagnostics, ports: Mapping[str, _Ports]
) -> list[tuple[int, LabelRoute]]:
    routes: list[tuple[int, LabelRoute]] = []
    newer: list[str] = []
    for element in elements:
        pair = split_pair(element)
        number, target = pair if pair and "://" not in pair[0].text else (None, element)
        route = parse_external_route(target, diagnostics)
        port = _choose_port(number, route, diagnostics, ports)
        if route is None or port is None:
            continue
        asked = LabelRoute(_match_of(route), InternalPort(port), diagnostics.key, SCHEMA)
        routes.append((element.column, asked))
        newer.append(
            f"{LABEL}.{len(routes)}=external_route={route}"
            + (f",internal_port={port}" if number else "")
        )
    shown = "; ".join(newer[:_SHOWN]) + ("; ..." if len(newer) > _SHOWN else "")
    hint = (
        f"write {shown}"
        if newer
        else f"write {LABEL}.1=external_route=http://HOST,internal_port=PORT"
    )
    message = "this is the form of UCP 2.0; later ones have one route a label"
    diagnostics.add(codes.LEGACY_FORM, message, hint, column=elements[0].column)
    return routes


# --- UCP 2.1 and 2.2: key=value pairs, one route a label


def _read_pairs(
    elements: list[Part], diagnostics: LabelDiagnostics, ports: Mapping[str, _Ports]
) -> tuple[int, LabelRoute] | None:
    pairs = _collect_pairs(elements, diagnostics)
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
    route = parse_external_route(asked.value, diagnostics)
    if malformed:  # what a pair lacks would be reported a second time as a missing port, and so on
        return None
    # With a wrong external_route the rest is read as for http, so that all mistakes are seen at
    # once.
    scheme = route.scheme if route is not None else Scheme.HTTP
    redirect = read_redirect(pairs, route, diagnostics)
    sticky: str | None = None
    forwarded_for: bool | None = False
    port: int | None = None
    proxy_header: Literal["", "v1", "v2"] = ""
    server_name = ""
    https_only = False
    hsts = ""
    protocol: Literal["", "h2c"] = ""
    if "redirect" in pairs:
        for key in _BESIDE_REDIRECT:
            if key in pairs:
                message = f"{key} is not used: a redirect is answered by the gateway itself"
                diagnostics.add(
                    codes.UNUSED_BESIDE_REDIRECT,
                    message,
                    f"leave out {key}",
                    column=pairs[key].name.column,
                )
    else:
        number = pairs.get("internal_port")
        port = _choose_port(number.value if number else None, route, diagnostics, ports)
        sticky = read_sticky(pairs.get("sticky_sessions"), scheme, diagnostics)
        forwarded_for = read_forwarded_for(pairs.get("include_forwarded_for"), scheme, diagnostics)
        proxy_header = read_proxy_header(pairs.get("proxy_protocol"), scheme, diagnostics)
        server_name = read_server_name(pairs.get("upstream_tls"), scheme, proxy_header, diagnostics)
        protocol = read_protocol(pairs.get("upstream_protocol"), scheme, server_name, diagnostics)
        https_only = read_https(pairs.get("https"), route, diagnostics)
        hsts = read_hsts(pairs.get("hsts"), scheme, diagnostics)
    share_with = read_share_with(pairs.get("share_with"), scheme, diagnostics)
    if diagnostics.failed or route is None:
        return None
    action: InternalPort | RedirectRule | None = redirect
    if port is not None:
        action = InternalPort(port, Transport(protocol, server_name, proxy_header))
    assert action is not None
    options = RouteOptions(sticky, forwarded_for is True, https_only, hsts, share_with)
    return asked.value.column, LabelRoute(
        _match_of(route), action, diagnostics.key, SCHEMA, options
    )


def _match_of(route: ExternalRoute) -> Match:
    if route.port is not None:
        return ListeningPort(route.scheme, route.port)
    is_sni = route.scheme is Scheme.SNI
    return ServerName(route.host) if is_sni else HostPath(route.host, route.path)


def _collect_pairs(elements: list[Part], diagnostics: LabelDiagnostics) -> dict[str, Pair]:
    pairs: dict[str, Pair] = {}
    for element in elements:
        if diagnostics.hopeless:
            break
        split = split_pair(element)
        if split is None or not split[0].text or "://" in split[0].text:
            diagnostics.add(
                codes.NOT_A_PAIR,
                f"{show(element.text)} is not key=value",
                _pair_hint(element.text),
                column=element.column,
            )
            continue
        pair = Pair(*split)
        key = pair.name.text
        if key not in _KEYS:
            meant = diagnostics.suggestions.nearest(key, _KEYS, 3)
            hint = f"did you mean {meant}?" if meant else f"the keys are {', '.join(_KEYS)}"
            diagnostics.add(
                codes.UNKNOWN_KEY,
                f"the key {show(key)} is not known and is ignored",
                hint,
                column=pair.name.column,
            )
            continue
        if key in pairs:
            diagnostics.add(
                codes.REPEATED_KEY,
                f"{key} occurs twice; this one counts",
                "leave out one",
                column=pair.name.column,
            )
        pairs[key] = pair
    return {key: pair for key, pair in pairs.items() if _has_value(pair, diagnostics)}


def _pair_hint(text: str) -> str:
    if text.lower() in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        return "this value belongs on a network's label; a service's is external_route=http://HOST,internal_port=PORT"
    if "://" in text:
        return f"write external_route={text.lstrip('=')}"
    if text in _KEYS:
        return f"write {text}=VALUE"
    return "write key=value; a comma always separates (in a URL it is %2C)"


def _has_value(pair: Pair, diagnostics: LabelDiagnostics) -> bool:
    if _report_quotes(pair.value, diagnostics):
        return False
    if pair.value.text:
        return True
    key = pair.name.text
    hint = (
        "write external_route=http:// for every host"
        if key == "external_route"
        else f"write a value, or leave out {key}"
    )
    diagnostics.add(codes.EMPTY_VALUE, f"{key} has no value", hint, column=pair.value.column)
    return False


def _choose_port(
    written: Part | None,
    route: ExternalRoute | None,
    diagnostics: LabelDiagnostics,
    known: Mapping[str, _Ports],
) -> int | None:
    """The port in the container: as written, else the only one that is published, of the route's
    protocol.
    """
    protocol = "udp" if route is not None and route.scheme is Scheme.UDP else "tcp"
    ports = known[protocol]
    if written is not None:
        port = parse_internal_port(written, diagnostics)
        if port is not None and port in ports.published:
            target = ports.published[port]
            message = f"{port} is the published port; inside the container it is {target}"
            diagnostics.add(
                codes.PUBLISHED_PORT,
                message,
                f"write internal_port={target}",
                column=written.column,
            )
        return port
    if len(ports.targets) == 1:
        return ports.targets[0]
    if not ports.targets:
        message = (
            f"internal_port is missing, and the service publishes no {protocol.upper()} "
            "port to take instead"
        )
        diagnostics.add(
            codes.NO_PORT, message, "add internal_port=PORT, the port that the container listens on"
        )
        return None
    names = [str(target) for target in ports.targets[:_SHOWN]] + (
        ["..."] if len(ports.targets) > _SHOWN else []
    )
    message = f"internal_port is missing, and the service publishes several: {', '.join(names)}"
    diagnostics.add(
        codes.SEVERAL_PORTS,
        message,
        "add " + " or ".join(f"internal_port={name}" for name in names[:3]),
    )
    return None
