"""Routes from code: a mapping of hosts to addresses, services and redirects, read into a checked
snapshot.

    {
        "shop.example.com": ["10.0.0.5:8080", "10.0.0.6:8080"],
        "api.example.com/v1": Service(["10.0.0.7:80"], sticky="SID"),
        "old.example.com": redirect("https://shop.example.com"),
        }

Hosts, paths, redirects and options are read as in labels. A `ConfigurationError` names the entry
that is wrong and says what to write instead; nothing is dropped in silence. An empty list is
allowed: the host is known but has no endpoint yet, so the response to its requests is 503.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Final, Literal, NamedTuple, TypeAlias

from meshlib.arguments import check_labels
from meshlib.authority import Authority, parse_authority
from meshlib.discovery.endpoint_order import ordered
from meshlib.entries import (
    Entry,
    check_endpoint,
    check_weight,
    given_strategy,
    read_match,
    read_redirect,
    typed,
)
from meshlib.errors import AuthorityError, ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.labels.options import OPTIONS, TIME_OUTS, Option, is_one_host, route_options, transport
from meshlib.labels.values import OptionValueError
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    ListeningPort,
    Match,
    RedirectRule,
    Route,
    ServerName,
    Snapshot,
    Upstream,
)
from meshlib.snapshot_checks import check_snapshot
from meshlib.upstream_key import Transport, UpstreamKey

__all__ = [
    "SCHEMA",
    "Service",
    "Target",
    "composed_services",
    "given_routes",
    "labelled_service",
    "read_routes",
    "redirect",
]

# `Route.schema` of a route from code.
SCHEMA: Final = "code"

# Older than anything that an engine knows: what code asks for comes first.
_OLDEST: Final = 1
_MAX_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class Service:
    """Addresses that serve the same thing, and how they are used.

    `addresses` are "HOST:PORT", with an IPv6 host in brackets, or `Endpoint`s. `name` is for
    people, `Mesh.endpoints` and the upstream ("": the text of the entry); entries with the same
    named service share its connections and health. `strategy` is the name of one, or a function as
    `meshlib.strategy` wants it; None means "weighted_round_robin" where weights differ, else
    "round_robin". `weights` are whole numbers from 0 to 1000, one for each address (0: only when no
    other is left).

    For HTTP routes: `sticky`, the application's cookie that pins a session to an endpoint; `tls`,
    the name in the endpoints' certificate, which makes connections to them TLS; `h2c`, HTTP/2
    without TLS to them; `lenient` takes odd responses, as the label of that name; `https_only`
    redirects requests without TLS to https; `hsts`, in seconds or as "31536000;includeSubDomains";
    `forwarded_for`, as the label include_forwarded_for; `hooks`, their names; `response_head` and
    `between_bytes`. For all routes except UDP: `proxy_protocol`, the version of the header that
    begins each connection; `tunnel_idle`. These time-outs are seconds (None: `timeouts.*` of these
    names). For HTTP and SNI: `share_with`, as that label. Checked with its entry, as errors say.
    """

    addresses: Sequence[str | Endpoint]
    _: KW_ONLY
    name: str = ""
    strategy: str | Callable[..., object] | None = None
    weights: Sequence[int] | None = None
    sticky: str | None = None
    tls: str = ""
    h2c: bool = False
    lenient: bool = False
    proxy_protocol: Literal["", "v1", "v2"] = ""
    https_only: bool = False
    hsts: int | str = ""
    forwarded_for: bool = False
    share_with: Sequence[str] = ()
    response_head: int | None = None
    between_bytes: int | None = None
    tunnel_idle: int | None = None
    hooks: Sequence[str] = ()


# The target of an entry.
Target: TypeAlias = Sequence[str | Endpoint] | Service | RedirectRule


def redirect(target: str, status: int = 301, keep_path: bool = True) -> RedirectRule:
    """A redirect to `target`, a whole URL ("https://new.example.com"), with status 301, 302, 307 or
    308.

    `keep_path` appends path and query of the request, unless `target` has a path of its own.
    """
    return RedirectRule(target, status, keep_path)


def given_routes(
    routes: Mapping[str, Target] | Snapshot, before: Snapshot | None = None
) -> Snapshot:
    """The snapshot of a mapping, or the snapshot itself, checked; contributions that are equal in
    `before` are the very same objects.
    """
    if isinstance(routes, Snapshot):
        check_snapshot(routes, before, "routes")
        return routes
    known = {one.key: one for one in before.contributions} if before is not None else {}
    read = read_routes(routes).contributions
    return Snapshot(tuple(old if (old := known.get(one.key)) == one else one for one in read))


def read_routes(routes: Mapping[str, Target]) -> Snapshot:
    """The snapshot of `routes`, with one contribution for each entry, whatever their order.

    Raises `ConfigurationError` for the first entry that is wrong.
    """
    if not isinstance(routes, Mapping):
        message = f"{typed(routes)} is not a mapping of routes"
        raise ConfigurationError(message, where="routes", hint='write {"HOST": ["HOST:PORT"]}')
    found: dict[Match, str] = {}
    services: dict[str, tuple[str, Upstream]] = {}
    contributions: list[Contribution] = []
    for key, target in routes.items():
        entry = Entry(key)
        match = read_match(entry)
        first = found.setdefault(match, key)
        if first != key:
            raise entry.error(f"the entry {show(first)} is the same route", "keep one of the two")
        route = _route(entry, match, target)
        if route.upstream is not None:
            name = route.upstream.key.service
            other, same = services.setdefault(name, (key, route.upstream))
            if same != route.upstream:
                message = f"the entry {show(other)} has another service of the name {show(name)}"
                raise entry.error(message, "give each service a name of its own")
        of_code = f"{SCHEMA}/{route.name}", route.service, _OLDEST
        contributions.append(Contribution(*of_code, (route,)))
    return Snapshot.of(contributions)


def labelled_service(labels: Mapping[str, str], endpoints: Sequence[str], service: str) -> Snapshot:
    """The snapshot of one service that has `labels` and is reached at `endpoints`.

    A wrong label is a diagnostic of the snapshot; a wrong endpoint raises `ConfigurationError`.
    """
    from meshlib.discovery.files import diagnostics, services  # not loaded by most programs

    check_labels(labels, endpoints, service)
    document = {"services": {service: {"labels": dict(labels), "endpoints": list(endpoints)}}}
    snapshot = services.resolve_document(document, provider="labels")
    for found in snapshot.diagnostics:
        if found.code in (diagnostics.BAD_ENDPOINT.code, diagnostics.BAD_SERVICE.code):
            raise ConfigurationError(found.message, where=found.label, hint=found.hint)
    return snapshot


def composed_services(
    text: str, load: Callable[[str], object] | None, variables: Mapping[str, str] | None
) -> Snapshot:
    """The snapshot of a Compose file. `load` parses its text; None: it is JSON.

    A wrong label is a diagnostic of the snapshot; a text that cannot be parsed raises
    `ConfigurationError`.
    """
    from meshlib.discovery.files.services import resolve_document

    try:
        document = json.loads(text) if load is None else load(text)
    except ConfigurationError:
        raise
    except Exception as error:
        hint = "pass load=load_document, or what docker compose config --format json prints"
        message = f"the text cannot be parsed: {error}"
        raise ConfigurationError(message, where="compose", hint=hint) from error
    return resolve_document(document, provider="compose", where="compose", variables=variables)


def _route(entry: Entry, match: Match, target: object) -> Route:
    if isinstance(target, RedirectRule):
        rule = read_redirect(entry, match, target)
        return Route(match, rule, service=entry.key, label=entry.key, schema=SCHEMA)
    if isinstance(target, str):
        raise entry.error("one address stands in place of a list of them", _list_hint(target))
    service = Service(target) if isinstance(target, list | tuple) else target
    if not isinstance(service, Service):
        hint = 'write ["HOST:PORT"], meshlib.Service([...]) or meshlib.redirect("https://...")'
        raise entry.error(f"{typed(target)} is not something to route to", hint)
    values = _read_options(entry, match, service)
    return Route(
        match,
        ForwardTo(_upstream(entry, match, service, transport(values))),
        route_options(values),
        service=service.name or entry.key,
        label=entry.key,
        schema=SCHEMA,
    )


def _upstream(entry: Entry, match: Match, service: Service, how: Transport) -> Upstream:
    endpoints = _endpoints(entry, service)
    differ = len({endpoint.weight for endpoint in endpoints if endpoint.weight}) > 1
    strategy = service.strategy
    if strategy is None:
        strategy = "weighted_round_robin" if differ else "round_robin"
    strategy = given_strategy(entry, strategy)
    if strategy == "round_robin" and differ:
        hint = 'write strategy="weighted_round_robin", or leave strategy out'
        raise entry.error("round_robin ignores weights, and they differ", hint)
    key = UpstreamKey(service.name or _unnamed(match), transport=how)
    return Upstream(key, ordered(endpoints), strategy)


def _unnamed(match: Match) -> str:
    if isinstance(match, ListeningPort):
        return str(match)
    if isinstance(match, ServerName):
        return f"sni://{match.name or '*'}"
    host = f"[{match.host}]" if ":" in match.host else match.host or "*"
    return f"{host}{match.path if match.path != '/' else ''}"


def _endpoints(entry: Entry, service: Service) -> list[Endpoint]:
    addresses, weights = service.addresses, service.weights
    if isinstance(addresses, str) or not isinstance(addresses, Sequence):
        hint = _list_hint(addresses if isinstance(addresses, str) else "")
        raise entry.error(f"the addresses are {typed(addresses)}, not a list", hint)
    endpoints: dict[str, Endpoint] = {}
    for address in addresses:
        endpoint = _endpoint(entry, address)
        if endpoints.setdefault(endpoint.id, endpoint) is not endpoint:
            hint = "leave one out; to give an address more requests than others, give it a weight"
            raise entry.error(f"the endpoint {show(endpoint.id)} occurs twice", hint)
    found = list(endpoints.values())
    if weights is None:
        return found
    wanted = f"write one number for each of the {len(found)} addresses"
    if isinstance(weights, str) or not isinstance(weights, Sequence):
        raise entry.error(f"the weights are {typed(weights)}, not a list", wanted)
    if len(weights) != len(found):
        raise entry.error(f"there are {len(weights)} weights", wanted)
    for weight in weights:
        check_weight(entry, weight)
    return [replace(one, weight=weight) for one, weight in zip(found, weights, strict=True)]


def _endpoint(entry: Entry, address: object) -> Endpoint:
    if isinstance(address, Endpoint):
        check_endpoint(entry, address)
        return address
    if not isinstance(address, str):
        hint = 'write "HOST:PORT", or meshlib.Endpoint(...)'
        raise entry.error(f"{typed(address)} is not an address", hint)
    scheme, mark, rest = address.partition("://")
    if mark:
        tls = "; tls=NAME connects with TLS" if scheme.lower() == "https" else ""
        meant = _with_port(rest.partition("/")[0], 443 if tls else 80)
        raise entry.error(f"the address {show(address)} is a URL", f"write {meant}{tls}")
    try:
        host, port = parse_authority(address)
    except AuthorityError as error:
        hint = 'write "HOST:PORT", with an IPv6 host in brackets'
        raise entry.error(f"the address {show(address)}: {error}", hint) from None
    if port is None:
        hint = f"write {_with_port(address, 80)}, with the port that the service listens on"
        raise entry.error(f"the address {show(address)} has no port", hint)
    return Endpoint(str(Authority(host, port)), host, port)


def _with_port(address: str, port: int) -> str:
    """An address for a hint, with a port; only its form, when `address` cannot be one."""
    try:
        host, own_port = parse_authority(address)
    except AuthorityError:
        return '"HOST:PORT"'
    return show(str(Authority(host, own_port or port)), _MAX_NAME + 8)


def _list_hint(address: str) -> str:
    return f"write [{_with_port(address, 80)}]"


class _Option(NamedTuple):
    """An option of `Service`: its types, what to write, and the option of labels that it is."""

    types: tuple[type, ...]
    hint: str
    label: Option | None = None


_WHOLE: Final = (int, type(None))
_OF_LABELS: Final = {option.key: option for option in OPTIONS}
_SERVICE_OPTIONS: Final = {
    "name": _Option((str,), 'write a name, name="shop"'),
    "strategy": _Option((object,), 'write strategy="least_connections"'),
    "sticky": _Option(
        (str, type(None)),
        'write the name of a cookie, sticky="SID"',
        _OF_LABELS["sticky_sessions"],
    ),
    "forwarded_for": _Option(
        (bool,), "write forwarded_for=True", _OF_LABELS["include_forwarded_for"]
    ),
    "proxy_protocol": _Option(
        (str,), 'write proxy_protocol="v1" or "v2"', _OF_LABELS["proxy_protocol"]
    ),
    "tls": _Option(
        (str,), 'write the name in the certificate, tls="shop.internal"', _OF_LABELS["upstream_tls"]
    ),
    "h2c": _Option((bool,), "write h2c=True", _OF_LABELS["upstream_protocol"]),
    "lenient": _Option((bool,), "write lenient=True", _OF_LABELS["lenient"]),
    "https_only": _Option((bool,), "write https_only=True", _OF_LABELS["https"]),
    "hsts": _Option(
        (int, str), 'write hsts=31536000 or "31536000;includeSubDomains"', _OF_LABELS["hsts"]
    ),
    "share_with": _Option(
        (list, tuple), 'write a list, share_with=["STACK"]', _OF_LABELS["share_with"]
    ),
    "hooks": _Option((list, tuple), 'write a list, hooks=["auth"]', _OF_LABELS["hooks"]),
    **{key: _Option(_WHOLE, f"write {key}=300, in seconds", _OF_LABELS[key]) for key in TIME_OUTS},
}
# What True means in the label, where that is not "true".
_FLAGS: Final = {"h2c": "h2c", "https_only": "require"}


def _read_options(entry: Entry, match: Match, service: Service) -> dict[str, object]:
    """The values of the options by field of `RouteOptions` and `Transport`."""
    values: dict[str, object] = {}
    given: dict[str, str] = {}
    for name, option in _SERVICE_OPTIONS.items():
        value = getattr(service, name)
        if not isinstance(value, option.types) or (value is True and bool not in option.types):
            raise entry.error(f"{name} is {typed(value)}", option.hint)
        if option.label is not None and not _is_unset(value, name):
            read = _read_option(entry, match, name, option.label, given, _text(value, name))
            values[option.label.sets] = read
            given[option.label.key] = name
    if len(service.name) > _MAX_NAME or not service.name.isprintable():
        hint = f"write at most {_MAX_NAME} printable characters"
        raise entry.error(f"the name is {show(service.name)}", hint)
    return values


def _is_unset(value: object, name: str) -> bool:
    # `sticky` has None for that; a number of seconds may be 0.
    return value is None or value is False or (value in ("", (), []) and name != "sticky")


def _text(value: object, name: str) -> str:
    if isinstance(value, list | tuple):
        return ";".join(map(str, value))
    return _FLAGS.get(name, "true") if value is True else str(value)


def _read_option(
    entry: Entry, match: Match, name: str, option: Option, given: Mapping[str, str], text: str
) -> object:
    if match.scheme not in option.schemes:
        message = f"{name} has no meaning for {match.scheme}:// routes"
        raise entry.error(message, f"leave {name} out")
    try:
        value = option.read(text)
    except OptionValueError as error:
        message = f"{name} is {show(text)}: {error}"
        raise entry.error(message, _SERVICE_OPTIONS[name].hint) from None
    for key, reason in option.clashes.items():
        if key in given:
            message = f"{name} and {given[key]} exclude each other: {reason}"
            raise entry.error(message, "leave one of them out")
    if option.one_host and not is_one_host(match):
        hint = f"give each host an entry of its own, or leave {name} out"
        raise entry.error(f"{name}: {option.one_host}", hint)
    return value
