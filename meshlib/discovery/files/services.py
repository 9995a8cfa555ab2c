"""A document of services, parsed from YAML, to a snapshot: our own form, and Compose and stack
files.

    services:
      shop:
        labels: {com.docker.ucp.mesh.http.80: "external_route=http://shop.example.com,internal_port=8080"}
        endpoints: [10.0.0.5, "127.0.0.1:9001", {host: 127.0.0.1, ports: {8080: 9002}, weight: 2}]

A service with a key of Compose (`image`, `build`, `deploy`, `ports`, ...) is one of Compose: its
`label_file`, `labels` and `deploy.labels` are read, with variables, its `ports` tell the port that
a label does not name, and unless it has `endpoints` too it is found under its own name, as
Compose's networks have it. `proxy_protocol: v1` (or v2) has every connection to the endpoints of a
service begin with a PROXY protocol header, `protocol: h2c` has HTTP/2 without TLS spoken to them,
and `strategy` is the name of one, built in or a program's own. `project` puts together what
stands in several files. Reading files, and YAML itself, is an adapter's matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from meshlib.authority import normalize_host
from meshlib.bounds import bounded_name
from meshlib.discovery.files.activity import active_profiles, host_name, is_active
from meshlib.discovery.files.compose import ReadLabels, composed_labels, put_on_top, read_labels
from meshlib.discovery.files.compose_keys import (
    COMPOSE_KEYS,
    DEPLOY_KEYS,
    OWN_KEYS,
    is_composed,
)
from meshlib.discovery.files.diagnostics import (
    BAD_ENDPOINT,
    BAD_FILE,
    BAD_KEY,
    BAD_SERVICE,
    INACTIVE,
    NO_ENDPOINTS,
    NO_NAME,
    FileDiagnostics,
    show_value,
)
from meshlib.discovery.files.endpoints import FileEndpoint, build_upstreams, read_endpoints
from meshlib.discovery.files.ports import read_exposed, read_ports
from meshlib.discovery.files.project import ComposeContext, Project, assemble
from meshlib.discovery.files.sources import Files, Source, Tagged, last, layers
from meshlib.discovery.files.upstream_options import read_strategy, read_transport
from meshlib.discovery.label_reading import Labelled, LabelReadings
from meshlib.discovery.limits import DiscoveryLimits, ServiceQuota
from meshlib.discovery.routes import build_routes
from meshlib.errors import AuthorityError, ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.labels.result import LabelResult, PublishedPort
from meshlib.labels.schemas import is_routing_label
from meshlib.model import Contribution, Route, Snapshot

__all__ = ["resolve_document"]

# Docker's own limit for a name; it goes into keys, logs and metrics.
_MAX_NAME: Final = 253

_COMPOSED_KEYS: Final = (*OWN_KEYS, *COMPOSE_KEYS)
_LIMITS: Final = DiscoveryLimits()
_ALONE: Final = ComposeContext()

_SERVICE_HINT: Final = 'write {labels: {KEY: "VALUE"}, endpoints: ["HOST:PORT"]}'


def resolve_document(
    document: object,
    *,
    provider: str = "static",
    where: str = "",
    variables: Mapping[str, str] | None = None,
    previous: Snapshot | None = None,
    limits: DiscoveryLimits = _LIMITS,
    context: ComposeContext = _ALONE,
) -> Snapshot:
    """Snapshot of what the labels in `document` ask for. A contribution's key is `provider` and the
    service's name ("static/shop"), its age the position in the document: the service that stands
    first wins a conflict. All belong to one owner: the project that a Compose file names (`name`),
    else the file.

    `variables` are the values for `${NAME}` in Compose services; `context` has the other files of
    a project. A label that is wrong now keeps the route it had in `previous`, marked degraded, and
    so does one beyond `limits`, and one in a file that cannot be read. Every mistake costs its own
    endpoint, label or service and is a diagnostic that names the place
    ("services.shop.endpoints[1]"). `ConfigurationError`, with `where` it comes from, only for a
    document without a mapping `services`.
    """
    before = (
        {contribution.key: contribution for contribution in previous.contributions}
        if previous is not None
        else {}
    )
    diagnostics = FileDiagnostics("")
    project = assemble(document, where, variables or {}, context, diagnostics)
    owner = _owner(project.name, provider)
    entries = _entries(project, context, diagnostics)
    named = {name: entry.sources for name, entry in entries.items()}
    readings = LabelReadings((entry.labelled for entry in entries.values()), limits, {})
    found: dict[str, Contribution] = {}
    for name, entry in entries.items():
        last_one = before.get(bounded_name(f"{provider}/{name}"))
        reading = readings.read(entry.labelled)
        quota = ServiceQuota(name, limits, reading.text)
        made = _contribution(entry, reading.result, quota, last_one, named)
        contribution = replace(
            made, key=f"{provider}/{name}", created_at=entry.labelled.created_at, owner=owner
        )
        # The same object where nothing changed: that is what makes the next table cheap.
        found[name] = last_one if last_one == contribution else contribution
    of_file = (
        [Contribution(f"{provider}/", "", diagnostics=tuple(diagnostics.kept))]
        if diagnostics.kept
        else []
    )
    unknown = [] if project.whole else _kept(before, project, provider, found)
    return Snapshot.of([*found.values(), *of_file, *unknown])


def _owner(project: str, provider: str) -> str:
    if 0 < len(project) <= _MAX_NAME and project.isprintable():
        return f"project {project}"
    return f"file {provider.removeprefix('static:')}"


def _kept(
    before: Mapping[str, Contribution],
    project: Project,
    provider: str,
    found: Mapping[str, Contribution],
) -> list[Contribution]:
    """The services of the last snapshot that may be in a file that cannot be read now."""
    names = {*found, *(key for key in project.services if isinstance(key, str))}
    known = {bounded_name(f"{provider}/{name}") for name in names}
    return [
        replace(last_one, routes=_degraded(last_one), diagnostics=())
        for key, last_one in before.items()
        if key not in known and last_one.service
    ]


def _degraded(contribution: Contribution | None) -> tuple[Route, ...]:
    if contribution is None:
        return ()
    return tuple(replace(route, degraded=True) for route in contribution.routes)


class _Entry(NamedTuple):
    """A service with its labels. When not `known`, it is not a mapping; `unread` has the keys of
    routing labels that could not be read; when not `readable`, any may have been among those.
    """

    sources: Sequence[Source]
    labelled: Labelled
    diagnostics: FileDiagnostics
    composed: bool = False
    known: bool = True
    unread: frozenset[str] = frozenset()
    readable: bool = True


def _entries(
    project: Project, context: ComposeContext, diagnostics: FileDiagnostics
) -> dict[str, _Entry]:
    active = active_profiles(context.profiles, project.variables)
    entries: dict[str, _Entry] = {}
    for position, (key, sources) in enumerate(project.services.items(), 1):
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
        elif not _is_reset(sources, name):
            entries[name] = _read_entry(name, position, sources, context.files, active)
    return entries


def _is_reset(sources: Sequence[Source], name: str) -> bool:
    return isinstance(sources[-1].value, Tagged) and not layers(sources, name)


def _read_entry(
    name: str, position: int, sources: Sequence[Source], files: Files, active: frozenset[str]
) -> _Entry:
    diagnostics = FileDiagnostics(name)
    whole = layers(sources, name)
    wrong = next((layer for layer in whole if not isinstance(layer.value, dict)), None)
    if wrong is not None or not whole:
        shown = show_value(wrong.value if wrong is not None else None)
        diagnostics.add(
            BAD_SERVICE,
            wrong.place if wrong is not None else sources[-1].place(f"services.{name}"),
            f"the service is not a mapping but {shown}",
            _SERVICE_HINT,
        )
        return _Entry(sources, Labelled(name, position, name, {}), diagnostics, known=False)
    composed = any(is_composed(layer.value) for layer in whole)
    ports: tuple[PublishedPort, ...] = ()
    if composed:
        labels = composed_labels(sources, name, files, diagnostics)
    else:
        read = (
            read_labels(layer.value, layer.place, diagnostics, None)
            for layer in layers(sources, name, "labels")
        )
        labels = put_on_top(ReadLabels({}), *read)
    labels = _extending(labels, sources, name, diagnostics)
    if composed and not _runs(sources, name, active, labels, diagnostics):
        labels = ReadLabels({})
    # The ports of a service that wants no routes do not concern us, right or wrong.
    if composed and any(map(is_routing_label, labels.labels)):
        # As for containers: what is published says more about what is meant than what is open.
        ports = read_ports(layers(sources, name, "ports"), diagnostics) or read_exposed(
            layers(sources, name, "expose"), diagnostics
        )
    for layer in whole:
        diagnostics.unknown_keys(layer.value, _COMPOSED_KEYS if composed else OWN_KEYS, layer.place)
    for layer in layers(sources, name, "deploy"):
        diagnostics.unknown_keys(layer.value, DEPLOY_KEYS, layer.place)
    return _Entry(
        sources,
        Labelled(name, position, name, labels.labels, ports),
        diagnostics,
        composed,
        True,
        labels.failed,
        labels.readable,
    )


def _extending(
    labels: ReadLabels, sources: Sequence[Source], name: str, diagnostics: FileDiagnostics
) -> ReadLabels:
    for source in sources:
        if source.problem is not None:
            error = source.problem
            place = source.place(f"services.{name}.extends")
            message = str(error) if error.where else error.message
            diagnostics.add(BAD_FILE, place, message, error.hint)
            labels = labels._replace(readable=False)
    return labels


def _runs(
    sources: Sequence[Source],
    name: str,
    active: frozenset[str],
    labels: ReadLabels,
    diagnostics: FileDiagnostics,
) -> bool:
    try:
        if is_active(sources, name, active):
            return True
    except ConfigurationError as error:
        diagnostics.add(BAD_KEY, f"services.{name}.profiles", error.message, error.hint)
        return False
    if any(map(is_routing_label, (*labels.labels, *labels.failed))):
        message = "the service is in no active profile, so that it is not routed"
        hint = "name one of its profiles in compose.profiles, or in COMPOSE_PROFILES"
        diagnostics.add(INACTIVE, f"services.{name}.profiles", message, hint)
    return False


def _contribution(
    entry: _Entry,
    result: LabelResult,
    quota: ServiceQuota,
    last_one: Contribution | None,
    named: Mapping[str, Sequence[Source]],
) -> Contribution:
    name, diagnostics = entry.labelled.service, entry.diagnostics
    if not entry.known:
        # Nothing is known of it, its endpoints included; that is no reason to stop serving what it
        # was.
        return Contribution(
            "", name, routes=_degraded(last_one), diagnostics=tuple(diagnostics.kept)
        )
    failed = result.failed | frozenset(map(bounded_name, entry.unread))
    if not entry.readable and last_one is not None:
        failed |= {route.label for route in last_one.routes}
    forwards = any(route.forwards for route in result.routes)
    endpoints = _endpoints(entry, named, forwards=forwards)
    transport = read_transport(entry.sources, name, diagnostics)
    strategy = read_strategy(entry.sources, name, endpoints, diagnostics)
    upstream_for = build_upstreams(name, endpoints, transport, strategy=strategy, quota=quota)
    routes = build_routes(
        name,
        replace(result, failed=failed),
        upstream_for,
        last_one,
        networked=True,
        quota=quota,
    )
    kept = quota.diagnostics((*result.diagnostics, *diagnostics.kept), result.unreported)
    return Contribution(key="", service=name, routes=routes, diagnostics=kept)


def _endpoints(
    entry: _Entry, named: Mapping[str, Sequence[Source]], *, forwards: bool
) -> tuple[FileEndpoint, ...]:
    name, diagnostics = entry.labelled.service, entry.diagnostics
    place = f"services.{name}"
    given = last(entry.sources, name, "endpoints")
    if given is not None:
        return read_endpoints(given.value, name, given.place, diagnostics)
    if not entry.composed:
        if forwards:
            diagnostics.add(
                NO_ENDPOINTS,
                place,
                "endpoints is missing: the response to every request is 503",
                'write endpoints: ["HOST:PORT"]',
            )
        return ()
    try:
        # One name for all replicas: Docker's DNS resolves it to each of them, or to the address in
        # front of them.
        host = host_name(name, named)
        return (FileEndpoint(f"{name}.1", normalize_host(host)),)
    except ConfigurationError as error:
        if forwards:
            diagnostics.add(NO_NAME, f"{place}.network_mode", error.message, error.hint)
    except AuthorityError as error:
        if forwards:
            diagnostics.add(
                BAD_ENDPOINT,
                place,
                f"{show(host)} is not a host name: {error}",
                'add endpoints: ["HOST:PORT"]',
            )
    return ()
