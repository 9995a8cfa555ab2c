"""Routes given in code: a mapping of hosts to addresses, services and redirects, read into a
checked snapshot.

    {
        "shop.example.com": ["10.0.0.5:8080", "10.0.0.6:8080"],
        "api.example.com/v1": Service(["10.0.0.7:80"], sticky="SID"),
        "old.example.com": redirect("https://shop.example.com"),
        "*.example.com": ["10.0.0.8:80"],    # every host below it that has no route of its own
        "*": ["10.0.0.9:80"],                # every other host; "*/api" for one path of it
        "sni://mail.example.com": ["10.0.0.10:443"],    # TLS, passed through; "sni://*" for any
        "tcp://:5432": ["10.0.0.11:5432"],   # what comes to the port; "udp://:53" likewise
    }

Hosts and paths get the normal form of labels (`meshlib.patterns`); redirects and options are read
as labels are. A mistake is a `ConfigurationError` that names the entry and says what to write;
nothing is left out in silence. An empty list is no mistake: the host is known and has no endpoint
yet, so its requests are answered with 503.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Final, Literal, NamedTuple, TypeAlias

from meshlib.authority import Authority, parse_authority
from meshlib.discovery.engine.networks import ordered
from meshlib.discovery.files.diagnostics import BAD_ENDPOINT, BAD_SERVICE
from meshlib.discovery.files.services import resolve_document
from meshlib.entries import (
    Entry,
    check_endpoint,
    check_snapshot,
    check_strategy,
    check_weight,
    read_match,
    read_redirect,
    typed,
)
from meshlib.errors import AuthorityError, ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.labels.values import (
    parse_cookie_name,
    parse_hsts,
    parse_server_name,
    parse_share_with,
)
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    ListeningPort,
    Match,
    RedirectRule,
    Route,
    Scheme,
    ServerName,
    Snapshot,
    Upstream,
)
from meshlib.route_options import RouteOptions
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

# Older than whatever an engine tells: of all that ask for a name first, the program has it.
_OLDEST: Final = 1
_MAX_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class Service:
    """Addresses that serve the same, and how they are asked.

    `addresses` are "HOST:PORT", an IPv6 host in brackets, or `Endpoint`s. `name` is for people,
    `Mesh.endpoints` and the upstream ("": the entry's own text); entries that are to share
    connections and health share a named service. `strategy` is one of
    `meshlib.balancing.STRATEGIES`; None: "weighted_round_robin" where weights differ, else
    "round_robin". `weights` are whole numbers from 0 to 1000, one for each address (0: only when no
    other is left).

    For HTTP routes: `sticky`, the application's cookie that pins a session to an endpoint; `tls`,
    the name in the endpoints' certificate, to which connections are TLS then; `h2c`, HTTP/2 without
    TLS to them; `https_only` sends requests without TLS to https; `hsts`, in seconds, or
    "31536000;includeSubDomains"; `forwarded_for`, as the label include_forwarded_for. For all but
    UDP: `proxy_protocol`, the version of the header that begins each connection. For HTTP and SNI:
    `share_with`, as the label of that name.

    A service is checked as part of the entry that it is given in, so that the entry can be named.
    """

    addresses: Sequence[str | Endpoint]
    _: KW_ONLY
    name: str = ""
    strategy: str | None = None
    weights: Sequence[int] | None = None
    sticky: str | None = None
    tls: str = ""
    h2c: bool = False
    proxy_protocol: Literal["", "v1", "v2"] = ""
    https_only: bool = False
    hsts: int | str = ""
    forwarded_for: bool = False
    share_with: Sequence[str] = ()


# What an entry can lead to.
Target: TypeAlias = Sequence[str | Endpoint] | Service | RedirectRule


def redirect(target: str, status: int = 301, keep_path: bool = True) -> RedirectRule:
    """A redirect to `target`, a whole URL ("https://new.example.com"), with status 301, 302, 307 or
    308.

    `keep_path` appends path and query of the request, unless `target` has a path of its own.
    Checked as part of the entry that it is given in, so that the entry can be named.
    """
    return RedirectRule(target, status, keep_path)


def given_routes(
    routes: Mapping[str, Target] | Snapshot, before: Snapshot | None = None
) -> Snapshot:
    """The snapshot of a mapping, or the snapshot itself, checked; what is as `before` is the very
    same object."""
    if isinstance(routes, Snapshot):
        check_snapshot(routes, before, "routes")
        return routes
    known = {one.key: one for one in before.contributions} if before is not None else {}
    read = read_routes(routes).contributions
    return Snapshot(tuple(old if (old := known.get(one.key)) == one else one for one in read))


def read_routes(routes: Mapping[str, Target]) -> Snapshot:
    """The snapshot of `routes`, one contribution for each entry, whatever their order.

    `ConfigurationError` for the first mistake.
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
        key = f"{SCHEMA}/{route.name}"
        contributions.append(Contribution(key, route.service, _OLDEST, (route,)))
    return Snapshot.of(contributions)


def labelled_service(labels: Mapping[str, str], endpoints: Sequence[str], service: str) -> Snapshot:
    """The snapshot of one service with `labels`, found at `endpoints`.

    Wrong labels are diagnostics of the snapshot; a wrong endpoint is a `ConfigurationError`.
    """
    if isinstance(endpoints, str):
        message = "an address stands where a list of them belongs"
        raise ConfigurationError(message, where="endpoints", hint=f"write [{show(endpoints)}]")
    document = {"services": {service: {"labels": dict(labels), "endpoints": list(endpoints)}}}
    snapshot = resolve_document(document, provider="labels")
    for found in snapshot.diagnostics:
        if found.code in (BAD_ENDPOINT.code, BAD_SERVICE.code):
            raise ConfigurationError(found.message, where=found.label, hint=found.hint)
    return snapshot


def composed_services(
    text: str, load: Callable[[str], object] | None, variables: Mapping[str, str] | None
) -> Snapshot:
    """The snapshot of a Compose file. `load` reads its text, None: it is JSON.

    Wrong labels are diagnostics of the snapshot; a text that cannot be read is a
    `ConfigurationError`.
    """
    try:
        document = json.loads(text) if load is None else load(text)
    except ConfigurationError:
        raise
    except Exception as error:
        hint = "pass load=yaml.safe_load, or what docker compose config --format json prints"
        message = f"the text cannot be read: {error}"
        raise ConfigurationError(message, where="compose", hint=hint) from error
    return resolve_document(document, provider="compose", where="compose", variables=variables)


def _route(entry: Entry, match: Match, target: object) -> Route:
    if isinstance(target, RedirectRule):
        rule = read_redirect(entry, match, target)
        return Route(match, rule, service=entry.key, label=entry.key, schema=SCHEMA)
    if isinstance(target, str):
        message = "an address stands where a list of them belongs"
        raise entry.error(message, f"write [{show(target)}]")
    service = Service(target) if isinstance(target, list | tuple) else target
    if not isinstance(service, Service):
        hint = 'write ["HOST:PORT"], meshlib.Service([...]) or meshlib.redirect("https://...")'
        raise entry.error(f"{typed(target)} is not something to route to", hint)
    _check_options(entry, match, service)
    return Route(
        match,
        ForwardTo(_upstream(entry, match, service)),
        RouteOptions(
            sticky_cookie=_sticky(entry, service.sticky),
            forwarded_for=service.forwarded_for,
            https_only=service.https_only,
            hsts=_hsts(entry, service.hsts),
            share_with=_share_with(entry, service.share_with),
        ),
        service=service.name or entry.key,
        label=entry.key,
        schema=SCHEMA,
    )


def _upstream(entry: Entry, match: Match, service: Service) -> Upstream:
    endpoints = _endpoints(entry, service)
    differ = len({endpoint.weight for endpoint in endpoints if endpoint.weight}) > 1
    strategy = service.strategy
    if strategy is None:
        strategy = "weighted_round_robin" if differ else "round_robin"
    check_strategy(entry, strategy)
    if strategy == "round_robin" and differ:
        hint = 'write strategy="weighted_round_robin", or leave strategy out'
        raise entry.error("round_robin takes no notice of weights", hint)
    transport = Transport(
        "h2c" if service.h2c else "", _server_name(entry, service.tls), service.proxy_protocol
    )
    key = UpstreamKey(service.name or _unnamed(match), transport=transport)
    return Upstream(key, ordered(endpoints), strategy)


def _unnamed(match: Match) -> str:
    if isinstance(match, ListeningPort):
        return str(match)
    if isinstance(match, ServerName):
        return f"sni://{match.name or 'any-host'}"
    host = f"[{match.host}]" if ":" in match.host else match.host or "any-host"
    return f"{host}{match.path if match.path != '/' else ''}"


def _endpoints(entry: Entry, service: Service) -> list[Endpoint]:
    addresses, weights = service.addresses, service.weights
    if isinstance(addresses, str) or not isinstance(addresses, Sequence):
        hint = f"write [{show(addresses)}]" if isinstance(addresses, str) else 'write ["HOST:PORT"]'
        raise entry.error(f"the addresses are {typed(addresses)}, not a list", hint)
    endpoints: dict[str, Endpoint] = {}
    for address in addresses:
        endpoint = _endpoint(entry, address)
        if endpoints.setdefault(endpoint.id, endpoint) is not endpoint:
            hint = "leave one out; a weight gives an address more requests than others"
            raise entry.error(f"the endpoint {show(endpoint.id)} stands here twice", hint)
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
        tls = "; tls=NAME asks endpoints over TLS" if scheme.lower() == "https" else ""
        hint = f"write {show(rest.partition('/')[0])}{tls}"
        raise entry.error(f"the address {show(address)} is a URL", hint)
    try:
        host, port = parse_authority(address)
    except AuthorityError as error:
        hint = 'write "HOST:PORT", an IPv6 host in brackets'
        raise entry.error(f"the address {show(address)}: {error}", hint) from None
    if port is None:
        hint = f"write {show(address.rstrip(':') + ':80')}, with the port that serves"
        raise entry.error(f"the address {show(address)} has no port", hint)
    return Endpoint(str(Authority(host, port)), host, port)


class _Option(NamedTuple):
    """An option of `Service`: of which types it is, which routes may have it, what to write."""

    types: tuple[type, ...]
    schemes: tuple[Scheme, ...]
    hint: str


_HTTP: Final = (Scheme.HTTP,)
_BY_HOST: Final = (Scheme.HTTP, Scheme.SNI)
_NOT_UDP: Final = (Scheme.HTTP, Scheme.SNI, Scheme.TCP)

_OPTIONS: Final = {
    "name": _Option((str,), tuple(Scheme), 'write a name, name="shop"'),
    "strategy": _Option((str, type(None)), tuple(Scheme), 'write strategy="round_robin"'),
    "sticky": _Option((str, type(None)), _HTTP, 'write the name of a cookie, sticky="SID"'),
    "tls": _Option((str,), _HTTP, 'write the name in the certificate, tls="shop.internal"'),
    "h2c": _Option((bool,), _HTTP, "write h2c=True"),
    "proxy_protocol": _Option((str,), _NOT_UDP, 'write proxy_protocol="v1" or "v2"'),
    "https_only": _Option((bool,), _HTTP, "write https_only=True"),
    "hsts": _Option((int, str), _HTTP, 'write hsts=31536000 or "31536000;includeSubDomains"'),
    "forwarded_for": _Option((bool,), _HTTP, "write forwarded_for=True"),
    "share_with": _Option((list, tuple), _BY_HOST, 'write a list, share_with=["STACK"]'),
}


def _check_options(entry: Entry, match: Match, service: Service) -> None:
    for name, option in _OPTIONS.items():
        value = getattr(service, name)
        if not isinstance(value, option.types) or (value is True and bool not in option.types):
            raise entry.error(f"{name} is {typed(value)}", option.hint)
        if value and match.scheme not in option.schemes:
            message = f"{name} means nothing to what comes over {match.scheme}://"
            raise entry.error(message, f"leave {name} out")
    if len(service.name) > _MAX_NAME or not service.name.isprintable():
        hint = f"write at most {_MAX_NAME} printable characters"
        raise entry.error(f"the name is {show(service.name)}", hint)
    if service.proxy_protocol not in ("", "v1", "v2"):
        message = f"proxy_protocol is {show(service.proxy_protocol)}"
        raise entry.error(message, _OPTIONS["proxy_protocol"].hint)
    for other in ("proxy_protocol", "h2c"):
        if service.tls and getattr(service, other):
            raise entry.error(f"tls and {other} do not go together", "leave one of them out")
    is_one_host = isinstance(match, HostPath) and match.host and not match.host.startswith("*")
    if service.https_only and not is_one_host:
        message = "https_only for many hosts has no one place to send clients to"
        raise entry.error(message, "give each host an entry of its own, or leave https_only out")


def _server_name(entry: Entry, name: str) -> str:
    hint = _OPTIONS["tls"].hint
    return entry.read(parse_server_name, name, "tls", hint) if name else ""


def _sticky(entry: Entry, cookie: str | None) -> str | None:
    hint = _OPTIONS["sticky"].hint
    if cookie == "":
        raise entry.error("sticky is an empty text", hint)
    return entry.read(parse_cookie_name, cookie, "sticky", hint) if cookie is not None else None


def _hsts(entry: Entry, value: int | str) -> str:
    hint = _OPTIONS["hsts"].hint
    return entry.read(parse_hsts, str(value), "hsts", hint) if value != "" else ""


def _share_with(entry: Entry, names: Sequence[str]) -> tuple[str, ...]:
    text, hint = ";".join(map(str, names)), _OPTIONS["share_with"].hint
    return entry.read(parse_share_with, text, "share_with", hint) if names else ()
