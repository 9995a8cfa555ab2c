"""A document of services, parsed from YAML, to a snapshot: our own form, and Compose and stack
files.

    services:
      shop:
        labels: {com.docker.ucp.mesh.http.80: "external_route=http://shop.example.com,internal_port=8080"}
        endpoints: [10.0.0.5, "127.0.0.1:9001", {host: 127.0.0.1, ports: {8080: 9002}, weight: 2}]

A service with `image`, `build` or `deploy` is one of Compose: its `labels` and `deploy.labels` are
read, with variables, its `ports` tell the port that a label does not name, and unless it has
`endpoints` too it is found under its own name, as Compose's networks have it. In a service of our
own form, `proxy_protocol: v1` (or v2) has every connection to its endpoints begin with a PROXY
protocol header, `protocol: h2c` has HTTP/2 without TLS spoken to them, and `strategy` is the name
of one of `meshlib.balancing.STRATEGIES`. Reading the file, and YAML itself, is an adapter's matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from meshlib.authority import normalize_host
from meshlib.balancing import create_strategy
from meshlib.bounds import bounded_name
from meshlib.discovery.files.compose import ReadLabels, merge_labels, read_labels, read_ports
from meshlib.discovery.files.diagnostics import (
    BAD_ENDPOINT,
    BAD_LABELS,
    BAD_PROTOCOL,
    BAD_PROXY_HEADER,
    BAD_SERVICE,
    BAD_STRATEGY,
    NO_ENDPOINTS,
    FileDiagnostics,
    show_value,
)
from meshlib.discovery.files.endpoints import FileEndpoint, build_upstreams, read_endpoints
from meshlib.discovery.label_reading import Labelled, LabelReadings
from meshlib.discovery.limits import DiscoveryLimits, ServiceQuota
from meshlib.discovery.routes import build_routes
from meshlib.errors import AuthorityError, ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.labels.hrm import is_hrm_label
from meshlib.labels.result import LabelResult, PublishedPort
from meshlib.model import Contribution, Snapshot
from meshlib.upstream_key import Transport

__all__ = ["resolve_document"]

_FILE_KEYS: Final = (
    "services",
    "version",
    "name",
    "include",
    "networks",
    "volumes",
    "secrets",
    "configs",
    "models",
)
_SERVICE_KEYS: Final = ("labels", "endpoints", "proxy_protocol", "protocol", "strategy")
_COMPOSE_ONLY: Final = ("image", "build", "deploy")
# Docker's own limit for a name; it goes into keys, logs and metrics.
_MAX_NAME = 253

_LIMITS: Final = DiscoveryLimits()

_FILE_HINT = "write services: {NAME: {labels: {...}, endpoints: [...]}}, or services: {} for none"
_SERVICE_HINT = 'write {labels: {KEY: "VALUE"}, endpoints: ["HOST:PORT"]}'


def resolve_document(
    document: object,
    *,
    provider: str = "static",
    where: str = "",
    variables: Mapping[str, str] | None = None,
    previous: Snapshot | None = None,
    limits: DiscoveryLimits = _LIMITS,
) -> Snapshot:
    """Snapshot of what the labels in `document` ask for. A contribution's key is `provider` and the
    service's name ("static/shop"), its age the position in the document: the service that stands
    first wins a conflict. All belong to one owner: the project that a Compose file names (`name`),
    else the file.

    `variables` are the values for `${NAME}` in Compose services. A label that is wrong now keeps
    the route it had in `previous`, marked degraded, and so does one beyond `limits`. Every mistake
    costs its own endpoint, label or service and is a diagnostic that names the place
    ("services.shop.endpoints[1]"). `ConfigurationError`, with `where` it comes from, only for a
    document without a mapping `services`.
    """
    before = (
        {contribution.key: contribution for contribution in previous.contributions}
        if previous is not None
        else {}
    )
    owner = _owner(document, provider)
    entries: dict[str, _Entry] = {}
    diagnostics = FileDiagnostics("")
    for position, (key, value) in enumerate(_services(document, where).items(), 1):
        name = (
            str(key)
            if isinstance(key, int) and not isinstance(key, bool) and key.bit_length() <= 64
            else key
        )
        if not isinstance(name, str) or not name or len(name) > _MAX_NAME or not name.isprintable():
            diagnostics.add(
                BAD_SERVICE,
                "services",
                f"{show_value(key)} is not a name for a service",
                "write letters, digits and hyphens",
            )
        elif name in entries:
            diagnostics.add(
                BAD_SERVICE,
                f"services.{name}",
                "the service is here twice, once with a number for a name",
                "keep one of the two",
            )
        else:
            entries[name] = _read_entry(name, position, value, variables or {})
    readings = LabelReadings((entry.labelled for entry in entries.values()), limits, {})
    found: dict[str, Contribution] = {}
    for name, entry in entries.items():
        last = before.get(bounded_name(f"{provider}/{name}"))
        reading = readings.read(entry.labelled)
        made = _contribution(entry, reading.result, ServiceQuota(name, limits, reading.text), last)
        contribution = replace(
            made, key=f"{provider}/{name}", created_at=entry.labelled.created_at, owner=owner
        )
        # The same object where nothing changed: that is what makes the next table cheap.
        found[name] = last if last == contribution else contribution
    diagnostics.unknown_keys(document, _FILE_KEYS, "")
    of_file = (
        [Contribution(f"{provider}/", "", diagnostics=tuple(diagnostics.kept))]
        if diagnostics.kept
        else []
    )
    return Snapshot.of([*found.values(), *of_file])


def _owner(document: object, provider: str) -> str:
    project = document.get("name") if isinstance(document, dict) else None
    if isinstance(project, str) and 0 < len(project) <= _MAX_NAME and project.isprintable():
        return f"project {project}"
    return f"file {provider.removeprefix('static:')}"


def _services(document: object, where: str) -> Mapping[object, object]:
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"the document is not a mapping but {show_value(document)}",
            where=where,
            hint=_FILE_HINT,
        )
    if "services" not in document:
        raise ConfigurationError("there is no 'services'", where=where, hint=_FILE_HINT)
    services = document["services"]
    if not isinstance(services, dict):
        raise ConfigurationError(
            f"'services' is not a mapping but {show_value(services)}", where=where, hint=_FILE_HINT
        )
    return services


class _Entry(NamedTuple):
    """A service of the document with its labels. `value` is the entry, None when it is not a
    mapping; `unread` has the keys of routing labels that could not be read; when not `readable`,
    any may have been among those.
    """

    value: Mapping[str, object] | None
    labelled: Labelled
    diagnostics: FileDiagnostics
    unread: frozenset[str] = frozenset()
    readable: bool = True


def _read_entry(name: str, position: int, value: object, variables: Mapping[str, str]) -> _Entry:
    diagnostics = FileDiagnostics(name)
    place = f"services.{name}"
    if not isinstance(value, dict):
        diagnostics.add(
            BAD_SERVICE,
            place,
            f"the service is not a mapping but {show_value(value)}",
            _SERVICE_HINT,
        )
        return _Entry(None, Labelled(name, position, name, {}), diagnostics)
    if _is_composed(value):
        labels = _composed_labels(value, place, variables, diagnostics)
        ports = _composed_ports(value, labels, place, variables, diagnostics)
    else:
        labels, ports = read_labels(value.get("labels"), f"{place}.labels", diagnostics, None), ()
    return _Entry(
        value,
        Labelled(name, position, name, labels.labels, ports),
        diagnostics,
        labels.failed,
        labels.readable,
    )


def _is_composed(entry: Mapping[str, object]) -> bool:
    return any(key in entry for key in _COMPOSE_ONLY)


def _contribution(
    entry: _Entry, result: LabelResult, quota: ServiceQuota, last: Contribution | None
) -> Contribution:
    name, value, diagnostics = entry.labelled.service, entry.value, entry.diagnostics
    place = f"services.{name}"
    if value is None:
        # Nothing is known of it, its endpoints included; that is no reason to stop serving what it
        # was.
        routes = (
            tuple(replace(route, degraded=True) for route in last.routes)
            if last is not None
            else ()
        )
        return Contribution("", name, routes=routes, diagnostics=tuple(diagnostics.kept))
    failed = result.failed | frozenset(map(bounded_name, entry.unread))
    if not entry.readable and last is not None:
        failed |= {route.label for route in last.routes}
    forwards = any(route.forwards for route in result.routes)
    composed = _is_composed(value)
    endpoints = _endpoints(name, value, place, diagnostics, composed=composed, forwards=forwards)
    if composed:
        upstream_for = build_upstreams(name, endpoints, quota=quota)
    else:
        version = _proxy_header(value, place, diagnostics)
        transport = Transport(_protocol(value, place, diagnostics), proxy_protocol=version)
        strategy = _strategy(value, place, endpoints, diagnostics)
        upstream_for = build_upstreams(name, endpoints, transport, strategy=strategy, quota=quota)
        diagnostics.unknown_keys(value, _SERVICE_KEYS, place)
    routes = build_routes(
        name,
        replace(result, failed=failed),
        upstream_for,
        last,
        networked=True,
        quota=quota,
    )
    kept = quota.diagnostics((*result.diagnostics, *diagnostics.kept), result.unreported)
    return Contribution(key="", service=name, routes=routes, diagnostics=kept)


def _proxy_header(
    entry: Mapping[str, object], place: str, diagnostics: FileDiagnostics
) -> Literal["", "v1", "v2"]:
    value = entry.get("proxy_protocol")
    if value == "v1":
        return "v1"
    if value == "v2":
        return "v2"
    if value is not None:
        message = f"{show_value(value)} is not a version of the PROXY protocol"
        diagnostics.add(
            BAD_PROXY_HEADER, f"{place}.proxy_protocol", message, "write v1 or v2, or leave it out"
        )
    return ""


def _protocol(
    entry: Mapping[str, object], place: str, diagnostics: FileDiagnostics
) -> Literal["", "h2c"]:
    value = entry.get("protocol")
    if value == "h2c":
        return "h2c"
    if value is not None:
        diagnostics.add(
            BAD_PROTOCOL,
            f"{place}.protocol",
            f"{show_value(value)} is not h2c",
            "write h2c, or leave it out for HTTP/1.1",
        )
    return ""


def _strategy(
    entry: Mapping[str, object],
    place: str,
    endpoints: Sequence[FileEndpoint],
    diagnostics: FileDiagnostics,
) -> str:
    value = entry.get("strategy")
    if value is None:
        return ""
    hint = "write least_connections, or leave it out"
    message = f"{show_value(value)} is no strategy"
    if isinstance(value, str):
        try:
            create_strategy(value)
        except ConfigurationError as error:
            hint = error.hint
        else:
            weights = {endpoint.weight for endpoint in endpoints if endpoint.weight}
            if value != "round_robin" or len(weights) < 2:
                return value
            message = "round_robin ignores weights, and they differ"
            hint = "write weighted_round_robin, or leave it out"
    diagnostics.add(BAD_STRATEGY, f"{place}.strategy", message, hint)
    return ""


def _composed_labels(
    entry: Mapping[str, object],
    place: str,
    variables: Mapping[str, str],
    diagnostics: FileDiagnostics,
) -> ReadLabels:
    labels = read_labels(entry.get("labels"), f"{place}.labels", diagnostics, variables)
    deploy = entry.get("deploy")
    if deploy is None:
        return labels
    if not isinstance(deploy, dict):
        diagnostics.add(
            BAD_LABELS,
            f"{place}.deploy",
            f"{show_value(deploy)} is not a mapping",
            'write deploy: {labels: {KEY: "VALUE"}}',
        )
        return labels._replace(readable=False)
    return merge_labels(
        labels,
        read_labels(deploy.get("labels"), f"{place}.deploy.labels", diagnostics, variables),
        place,
        diagnostics,
    )


def _composed_ports(
    entry: Mapping[str, object],
    labels: ReadLabels,
    place: str,
    variables: Mapping[str, str],
    diagnostics: FileDiagnostics,
) -> tuple[PublishedPort, ...]:
    # The ports of a service that wants no routes do not concern us, right or wrong.
    if not any(map(is_hrm_label, labels.labels)):
        return ()
    return read_ports(entry.get("ports"), f"{place}.ports", diagnostics, variables)


def _endpoints(
    name: str,
    entry: Mapping[str, object],
    place: str,
    diagnostics: FileDiagnostics,
    *,
    composed: bool,
    forwards: bool,
) -> tuple[FileEndpoint, ...]:
    if "endpoints" in entry:
        return read_endpoints(entry["endpoints"], name, f"{place}.endpoints", diagnostics)
    if composed:
        try:
            # One name for all replicas: Docker's DNS resolves it to each of them, or to the address
            # in front of them.
            return (FileEndpoint(f"{name}.1", normalize_host(name)),)
        except AuthorityError as error:
            if forwards:
                diagnostics.add(
                    BAD_ENDPOINT,
                    place,
                    f"{show(name)} is not a host name: {error}",
                    'add endpoints: ["HOST:PORT"]',
                )
    elif forwards:
        diagnostics.add(
            NO_ENDPOINTS,
            place,
            "endpoints is missing: the response to every request is 503",
            'write endpoints: ["HOST:PORT"]',
        )
    return ()
