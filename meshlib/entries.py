"""One route that is given by hand: what its entry matches, and checks of all it consists of.

Hosts, paths and redirects are read by the parsers of labels. What is wrong is a
`ConfigurationError` that names the entry and says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from meshlib.authority import is_ip_address, parse_port
from meshlib.balancing import STRATEGIES, create_strategy
from meshlib.discovery.files.endpoints import MAX_WEIGHT
from meshlib.errors import AuthorityError, ConfigurationError, PathError
from meshlib.labels.diagnostics import Diagnostics, LabelDiagnostics, show
from meshlib.labels.grammar import Part
from meshlib.labels.values import ExternalRoute, parse_redirect
from meshlib.model import (
    Contribution,
    Endpoint,
    HostPath,
    ListeningPort,
    Match,
    RedirectRule,
    Route,
    Scheme,
    ServerName,
    Snapshot,
)
from meshlib.patterns import parse_host_pattern, parse_path_prefix

__all__ = [
    "Entry",
    "check_contribution",
    "check_endpoint",
    "check_snapshot",
    "check_strategy",
    "check_weight",
    "read_match",
    "read_redirect",
    "typed",
]

_STATUSES: Final = (301, 302, 307, 308)
_WHOLE_URL: Final = 'write a whole URL, "https://shop.example.com"'
_KINDS: Final = 'write "HOST/PATH", "sni://HOST", "tcp://:PORT" or "udp://:PORT"'

# What may be looked up; whether it is found shows when it is asked.
_REACHABLE: Final = re.compile(r"[^\s/?#@\[\]]+")

T = TypeVar("T")


class Entry:
    """The text of an entry, and its place in messages (`where` is asked when something is
    wrong)."""

    def __init__(self, key: str, where: Callable[[], str] | None = None) -> None:
        self.key = key
        self._where = where

    @property
    def where(self) -> str:
        """Where the entry is."""
        return self._where() if self._where is not None else f"routes[{show(str(self.key), 200)}]"

    def error(self, message: str, hint: str) -> ConfigurationError:
        """The error to raise for something wrong with the entry."""
        return ConfigurationError(message, where=self.where, hint=hint)

    def read(
        self, parse: Callable[[Part, LabelDiagnostics], T], text: str, what: str, hint: str
    ) -> T:
        """What the parser of a label's value makes of `text`; `ConfigurationError` for a fault."""
        diagnostics = Diagnostics("")
        value = parse(Part(text, 1), diagnostics.label(""))
        if diagnostics.kept:
            raise self.error(f"{what}: {diagnostics.kept[0].message}", hint)
        return value


def read_match(entry: Entry) -> Match:
    """What the text of an entry matches.

    "HOST[/PATH]", "sni://HOST", "tcp://:PORT" or "udp://:PORT"; the host "*" is any host.
    """
    key = entry.key
    if not isinstance(key, str):
        raise entry.error(f"{typed(key)} does not name a route", 'write "HOST" or "HOST/PATH"')
    scheme, mark, rest = key.partition("://")
    if not mark:
        host, slash, path = key.partition("/")
        return HostPath(_host(entry, host, ""), _path(entry, f"{slash}{path}"))
    if scheme == "sni":
        return _server_name(entry, rest)
    if scheme in ("tcp", "udp"):
        return _port(entry, Scheme(scheme), rest)
    if scheme.lower() in ("http", "https"):
        hint = f'write "{rest}"; whether clients use TLS is for the listeners to say'
        raise entry.error("a route is named by its host and path, not by a URL", hint)
    raise entry.error(f"{show(scheme)} is not a kind of route", _KINDS)


def _server_name(entry: Entry, rest: str) -> ServerName:
    host, slash, _ = rest.partition("/")
    if slash:
        message = "the path is inside the TLS connection, which is not opened"
        raise entry.error(message, f'write "sni://{host}"')
    name = _host(entry, host, "sni://")
    if name and is_ip_address(name):
        hint = 'write the name that clients connect to, or "sni://*" for any'
        raise entry.error("a TLS server name is never an IP address", hint)
    return ServerName(name)


def _port(entry: Entry, scheme: Scheme, rest: str) -> ListeningPort:
    host, colon, number = rest.rpartition(":")
    if host or not colon:
        message = f"the port alone tells one {scheme} route from another"
        raise entry.error(message, f'write "{scheme}://:PORT"')
    try:
        return ListeningPort(scheme, parse_port(number))
    except AuthorityError as error:
        hint = f'write "{scheme}://:PORT", the port that clients connect to'
        raise entry.error(str(error), hint) from None


def _host(entry: Entry, text: str, before: str) -> str:
    if text == "*":
        return ""
    if not text:
        raise entry.error("the host is missing", f'write "{before}*" for any host, or name one')
    head, colon, number = text.rpartition(":")
    if colon and (number.isdigit() or not number) and (":" not in head or head.endswith("]")):
        message = "a route has no port: clients reach the gateway on the ports it listens on"
        raise entry.error(message, f'write "{before}{head}"')
    if text != text.lower():
        raise entry.error("the host is not in lower case", f'write "{before}{text.lower()}"')
    try:
        return parse_host_pattern(text)
    except AuthorityError as error:
        hint = f'write "{before}shop.example.com"'
        if error.reason == "bad_wildcard":
            hint = f'write "{before}*.example.com" for all below example.com, "{before}*" for any'
        raise entry.error(f"the host is {show(text)}: {error}", hint) from None


def _path(entry: Entry, text: str) -> str:
    try:
        return parse_path_prefix(text)
    except PathError as error:
        character = text[error.position]
        hint = 'write a path such as "/api"; it matches /api and everything below'
        if character in "?#":
            hint = f"leave out what begins with {character}: routes match host and path only"
        raise entry.error(f"the path is {show(text)}: {error}", hint) from None


def read_redirect(entry: Entry, match: Match, rule: RedirectRule) -> RedirectRule:
    """The rule in its rendered form."""
    if not isinstance(match, HostPath):
        message = f"what comes over {match.scheme}:// cannot be redirected"
        raise entry.error(message, 'redirect requests, "HOST/PATH"')
    if type(rule.status) is not int or rule.status not in _STATUSES:
        message = f"{rule.status!r} is not the status of a redirect"
        raise entry.error(message, f"write one of {', '.join(map(str, _STATUSES))}")
    if not isinstance(rule.target, str):
        raise entry.error(f"{typed(rule.target)} is not the target of a redirect", _WHOLE_URL)
    target = entry.read(parse_redirect, rule.target, "the target", _WHOLE_URL)
    assert target is not None
    if target.leads_to(ExternalRoute(Scheme.HTTP, match.host, match.path)):
        message = "the redirect leads to its own route: clients would go round in circles"
        raise entry.error(message, "redirect to another host, path or scheme")
    return RedirectRule(target.url, rule.status, bool(rule.keep_path) and target.path is None)


def check_contribution(contribution: Contribution, where: str) -> None:
    """Refuse a contribution that could not be served as it is meant.

    The `ConfigurationError` names the route, below `where`. Each route has a host and a path in
    normal form; strategies are known, endpoints have a host, a
    port and a weight. Costs some microseconds a route.
    """
    for route in contribution.routes:
        entry = Entry("", partial(_place, where, contribution, route))
        _check_match(entry, route)
        if isinstance(route.action, RedirectRule):
            read_redirect(entry, route.match, route.action)
            continue
        upstream = route.action.upstream
        check_strategy(entry, upstream.strategy)
        for endpoint in upstream.endpoints:
            check_endpoint(entry, endpoint)


def _place(where: str, contribution: Contribution, route: Route) -> str:
    return f"{where}: {contribution.key}: {route.name}"


def check_snapshot(snapshot: Snapshot, before: Snapshot | None, where: str) -> None:
    """Check what is not the very same in `before`, as `check_contribution`."""
    if not isinstance(snapshot, Snapshot):
        hint = "give a meshlib.Snapshot, or replace() a mapping of routes"
        raise ConfigurationError(f"{typed(snapshot)} is not a snapshot", where=where, hint=hint)
    known = set(map(id, before.contributions)) if before is not None else set()
    for contribution in snapshot.contributions:
        if id(contribution) not in known:
            check_contribution(contribution, where)


def _check_match(entry: Entry, route: Route) -> None:
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
    port = route.listening_port
    if port is not None and not 1 <= port.port <= 65535:
        raise entry.error(f"the port is {port.port}", "write a number from 1 to 65535")


def check_endpoint(entry: Entry, endpoint: Endpoint) -> None:
    """Refuse an endpoint without a host, a port or a weight."""
    if type(endpoint.port) is not int or not 0 < endpoint.port < 65536:
        message = f"the endpoint {show(endpoint.id)} has the port {show(str(endpoint.port))}"
        raise entry.error(message, "write a number from 1 to 65535")
    if not isinstance(endpoint.host, str) or not _REACHABLE.fullmatch(endpoint.host):
        message = f"the endpoint {show(endpoint.id)} has the host {typed(endpoint.host)}"
        raise entry.error(message, "write an address without brackets, or a host name")
    check_weight(entry, endpoint.weight)


def check_weight(entry: Entry, weight: object) -> None:
    """Refuse a weight that is not a whole number from 0 to 1000."""
    if type(weight) is not int or not 0 <= weight <= MAX_WEIGHT:
        message = f"{show(str(weight))} is not a weight"
        raise entry.error(message, f"write a whole number from 0 to {MAX_WEIGHT}")


def check_strategy(entry: Entry, name: str) -> None:
    """Refuse a strategy that `create_strategy` does not know."""
    if name not in STRATEGIES:
        try:
            create_strategy(name)
        except ConfigurationError as error:
            raise entry.error(error.message, error.hint) from None


def typed(value: object) -> str:
    """A value of a wrong type, for a message."""
    shown = show(value) if isinstance(value, str) else show(str(value))[1:-1]
    return f"{shown} ({type(value).__name__})"
