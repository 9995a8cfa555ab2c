"""Checks of snapshots that somebody made by hand, in code or as JSON.

A `ConfigurationError` names the publisher, the contribution and the route, and says what to write
instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Final

from meshlib.entries import Entry, check_endpoint, check_strategy, read_redirect, typed
from meshlib.errors import AuthorityError, ConfigurationError, PathError
from meshlib.labels.diagnostics import show
from meshlib.labels.options import OPTIONS, Option, is_one_host
from meshlib.labels.values import OptionValueError
from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    ForwardTo,
    HostPath,
    ListeningPort,
    RedirectRule,
    Route,
    Scheme,
    ServerName,
    Snapshot,
    Tenure,
    Upstream,
)
from meshlib.name_records import NameRecord
from meshlib.patterns import parse_host_pattern, parse_path_prefix
from meshlib.route_options import NO_OPTIONS, RouteOptions
from meshlib.upstream_key import PLAIN, Transport, UpstreamKey

__all__ = ["check_contribution", "check_port", "check_snapshot"]

_MATCHES: Final = 'write HostPath("shop.example.com"), ServerName(...) or ListeningPort(...)'
_CONTRIBUTION: Final = "write meshlib.Contribution(KEY, SERVICE, routes=(...))"

# What to write into a field of `RouteOptions` or `Transport`.
_CURES: Final = {
    "sticky_cookie": 'write the name of a cookie, sticky_cookie="SID"',
    "forwarded_for": "write forwarded_for=True, or leave it out",
    "proxy_protocol": 'write proxy_protocol="v1" or "v2", or leave it out',
    "tls_name": 'write the name in the certificate, tls_name="shop.internal"',
    "protocol": 'write protocol="h2c", or leave it out',
    "lenient": "write lenient=True, or leave it out",
    "https_only": "write https_only=True, or leave it out",
    "hsts": 'write hsts="max-age=31536000" or "max-age=31536000; includeSubDomains"',
    "share_with": 'write share_with=("STACK",)',
    "response_head": "write response_head=300, in seconds, or leave it out",
    "between_bytes": "write between_bytes=300, in seconds, or leave it out",
    "hooks": 'write hooks=("auth",)',
    "tunnel_idle": "write tunnel_idle=300, in seconds, or leave it out",
}
_KINDS_OF_MATCH: Final = (HostPath, ServerName, ListeningPort)
_OF_ROUTES: Final = tuple(option for option in OPTIONS if hasattr(NO_OPTIONS, option.sets))
_OF_TRANSPORTS: Final = tuple(option for option in OPTIONS if hasattr(PLAIN, option.sets))


def check_contribution(contribution: Contribution, where: str) -> None:
    """Refuse a contribution that could not be served as it is meant.

    The `ConfigurationError` names the route, below `where`. Each route must have a host and a path
    in normal form, each option a value that a label could give to such a route, each strategy must
    be known, and each endpoint must have a host, a port and a weight. Nothing of it can end a line
    that is sent. Costs some microseconds a route.

    What a route has no use for is refused among its own options, not in the transport of its
    upstream: that is the service's, whose other routes may want it.
    """
    if not isinstance(contribution, Contribution):
        message = f"{typed(contribution)} is not a contribution"
        raise ConfigurationError(message, where=where, hint=_CONTRIBUTION)
    _check_fields(contribution, f"{where}: {contribution.key}")
    checked: Upstream | None = None
    for index, route in enumerate(contribution.routes):
        entry = Entry("", partial(_place, where, contribution, index, route))
        if not isinstance(route, Route):
            raise entry.error(f"{typed(route)} is not a route", "write meshlib.Route(...)")
        _check_match(entry, route)
        if route.options is not NO_OPTIONS:
            _check_route_options(entry, route)
        if isinstance(route.action, RedirectRule):
            _check_redirect(entry, route, route.action)
        elif isinstance(route.action, ForwardTo):
            # A service's routes mostly share one, with endpoints by the hundred.
            if route.action.upstream is not checked:
                _check_upstream(entry, route.action.upstream)
                checked = route.action.upstream
        else:
            hint = "write meshlib.ForwardTo(Upstream(...)), or meshlib.redirect(URL)"
            raise entry.error(f"the action is {typed(route.action)}", hint)


def _check_fields(contribution: Contribution, place: str) -> None:
    if type(contribution.created_at) is not int:
        message = f"created_at is {typed(contribution.created_at)}"
        raise ConfigurationError(message, where=place, hint="write nanoseconds since 1970, or 0")
    _check_tuple(contribution.routes, place, "routes", Route, "routes=(Route(...),)", deep=False)
    _check_tuple(
        contribution.diagnostics, place, "diagnostics", Diagnostic, "diagnostics=(Diagnostic(...),)"
    )
    _check_tuple(contribution.networks, place, "networks", str, 'networks=("backend",)')


def _check_tuple(
    values: object, place: str, name: str, kind: type, cure: str, *, deep: bool = True
) -> None:
    if not isinstance(values, tuple):
        message = f"the {name} are {typed(values)}, not a tuple"
        raise ConfigurationError(message, where=place, hint=f"write {cure}")
    for value in values if deep else ():
        if not isinstance(value, kind):
            message = f"{typed(value)} is among the {name}"
            raise ConfigurationError(message, where=place, hint=f"write {cure}")


def _check_redirect(entry: Entry, route: Route, rule: RedirectRule) -> None:
    rendered = read_redirect(entry, route.match, rule)
    if rendered != rule:
        message = f"the redirect to {show(rule.target)} is not in normal form"
        keep = f", keep_path={rendered.keep_path}" if rendered.keep_path != rule.keep_path else ""
        raise entry.error(message, f"write {show(rendered.target, 300)}{keep}")


def _check_upstream(entry: Entry, upstream: Upstream) -> None:
    if not isinstance(upstream, Upstream):
        hint = "write meshlib.ForwardTo(meshlib.Upstream(...))"
        raise entry.error(f"the upstream is {typed(upstream)}", hint)
    if not isinstance(upstream.key, UpstreamKey):
        hint = 'write meshlib.Upstream(meshlib.UpstreamKey("shop", 80), ...)'
        raise entry.error(f"the key of the upstream is {typed(upstream.key)}", hint)
    for key in (upstream.key, *upstream.key.beside):
        if key.transport is not PLAIN:
            _check_transport(entry, key.transport)
    if not isinstance(upstream.endpoints, tuple):
        message = f"the endpoints are {typed(upstream.endpoints)}, not a tuple"
        raise entry.error(message, "write endpoints=(meshlib.Endpoint(...),)")
    for endpoint in upstream.endpoints:
        if not isinstance(endpoint, Endpoint):
            hint = 'write meshlib.Endpoint("shop.1", HOST, PORT)'
            raise entry.error(f"{typed(endpoint)} is not an endpoint", hint)
        check_endpoint(entry, endpoint)
    check_strategy(entry, upstream.strategy)
    weights = {endpoint.weight for endpoint in upstream.endpoints if endpoint.weight}
    if upstream.strategy == "round_robin" and len(weights) > 1:
        hint = 'write strategy="weighted_round_robin"'
        raise entry.error("round_robin ignores weights, and they differ", hint)


def _check_route_options(entry: Entry, route: Route) -> None:
    options = route.options
    if not isinstance(options, RouteOptions):
        raise entry.error(
            f"the options are {typed(options)}", "write meshlib.route_options.RouteOptions(...)"
        )
    for option in _OF_ROUTES:
        name = option.sets
        if not _is_set(entry, option, getattr(options, name), getattr(NO_OPTIONS, name)):
            continue
        if route.scheme in option.unused:
            message = f"{name} has no meaning for {route.scheme}:// routes"
            raise entry.error(message, f"leave {name} out")
        if isinstance(route.action, RedirectRule) and not option.with_redirect:
            message = f"{name} has no meaning for a redirect: no endpoint is asked"
            raise entry.error(message, f"leave {name} out")
        if option.one_host and not is_one_host(route.match):
            hint = f"give each host a route of its own, or leave {name} out"
            raise entry.error(f"{name}: {option.one_host}", hint)


def _check_transport(entry: Entry, transport: Transport) -> None:
    if not isinstance(transport, Transport):
        message = f"the transport is {typed(transport)}"
        raise entry.error(message, "write meshlib.upstream_key.Transport(...)")
    for option in _OF_TRANSPORTS:
        _is_set(entry, option, getattr(transport, option.sets), getattr(PLAIN, option.sets))


def _is_set(entry: Entry, option: Option, value: object, unset: object) -> bool:
    """Whether an option has a value, which must be one that its label could give."""
    if type(value) is type(unset) and value == unset:
        return False
    name, cure = option.sets, _CURES[option.sets]
    kind = str if unset is None else type(unset)
    parts = value if isinstance(value, tuple) else ()
    if type(value) is not kind or not all(type(part) is str for part in parts):
        raise entry.error(f"{name} is {typed(value)}", cure)
    try:
        normal = option.read(_label_text(name, value))
    except OptionValueError as error:
        raise entry.error(f"{name} is {show(str(value))}: {error}", cure) from None
    if normal != value:
        message = f"{name} {show(str(value))} is not in normal form"
        raise entry.error(message, f"write {normal!r}")
    return True


def _label_text(name: str, value: object) -> str:
    """The text of a label that gives an option this value, if there is one."""
    if isinstance(value, tuple):
        return ";".join(value)
    if value is True:
        return "require" if name == "https_only" else "true"
    return str(value).removeprefix("max-age=") if name == "hsts" else str(value)


def _place(where: str, contribution: Contribution, index: int, route: Route) -> str:
    known = isinstance(route, Route) and isinstance(route.match, _KINDS_OF_MATCH)
    return f"{where}: {contribution.key}: {route.name if known else f'routes[{index}]'}"


def check_snapshot(snapshot: Snapshot, before: Snapshot | None, where: str) -> None:
    """Check the contributions that are not the very same objects in `before`, as
    `check_contribution` does.
    """
    if not isinstance(snapshot, Snapshot):
        hint = "give a meshlib.Snapshot, or replace() a mapping of routes"
        raise ConfigurationError(f"{typed(snapshot)} is not a snapshot", where=where, hint=hint)
    if not isinstance(snapshot.contributions, tuple):
        message = f"the contributions are {typed(snapshot.contributions)}, not a tuple"
        raise ConfigurationError(message, where=where, hint="write Snapshot.of([...])")
    if before is None or snapshot.names is not before.names:
        _check_tuple(snapshot.names, where, "names", NameRecord, "names=(NameRecord(...),)")
    _check_tenures(snapshot.tenures, where)
    known = set(map(id, before.contributions)) if before is not None else set()
    for contribution in snapshot.contributions:
        if id(contribution) not in known:
            check_contribution(contribution, where)
    for left, right in itertools.pairwise(snapshot.contributions):
        if left.key >= right.key:
            wrong = "occurs twice" if left.key == right.key else f"stands behind {show(left.key)}"
            hint = "write Snapshot.of([...]), which sorts them; each has a key of its own"
            raise ConfigurationError(
                f"the contribution {show(right.key)} {wrong}", where=where, hint=hint
            )


def _check_tenures(tenures: object, where: str) -> None:
    hint = "write {NAME: meshlib.model.Tenure(NAME, OWNER)}, or leave them out"
    if tenures is None:
        return
    if not isinstance(tenures, Mapping):
        raise ConfigurationError(f"the tenures are {typed(tenures)}", where=where, hint=hint)
    # There may be a hundred thousand, at each change.
    kinds = set(map(type, tenures.values()))
    if not kinds <= {Tenure}:
        message = f"the tenures are {', '.join(sorted(kind.__name__ for kind in kinds))}"
        raise ConfigurationError(message, where=where, hint=hint)


def _check_match(entry: Entry, route: Route) -> None:
    match = route.match
    if not isinstance(match, _KINDS_OF_MATCH):
        raise entry.error(f"the match is {typed(match)}", _MATCHES)
    texts = (match.host, match.path) if isinstance(match, HostPath) else ()
    for text in (match.name,) if isinstance(match, ServerName) else texts:
        if not isinstance(text, str):
            raise entry.error(f"the match has {typed(text)}, not a text", _MATCHES)
    try:
        host, path = parse_host_pattern(route.host), parse_path_prefix(route.path)
    except (AuthorityError, PathError) as error:
        message = f"the host is {show(route.host)}, the path {show(route.path)}: {error}"
        hint = 'write a host such as "shop.example.com", a path such as "/"'
        raise entry.error(message, hint) from None
    if host != route.host:
        raise entry.error(f"the host {show(route.host)} is not in normal form", f'write "{host}"')
    if path != route.path:
        raise entry.error(f"the path {show(route.path)} is not in normal form", f'write "{path}"')
    if isinstance(match, ListeningPort):
        check_port(match, entry.where)


def check_port(port: ListeningPort, where: str) -> None:
    """Refuse what is not a port of TCP or UDP with a number from 1 to 65535."""
    hint = "write meshlib.ListeningPort(meshlib.Scheme.TCP, PORT), a number from 1 to 65535"
    if not isinstance(port, ListeningPort) or port.scheme not in (Scheme.TCP, Scheme.UDP):
        raise ConfigurationError(f"{typed(port)} is not a port", where=where, hint=hint)
    if type(port.port) is not int or not 1 <= port.port <= 65535:
        raise ConfigurationError(f"the port is {typed(port.port)}", where=where, hint=hint)
