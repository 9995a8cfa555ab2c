"""One route from code: the match of its entry, and checks of its endpoints, strategy and redirect.

Hosts, paths and redirects are read by the parsers of labels. A `ConfigurationError` names the entry
and says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from meshlib.authority import is_ip_address, parse_port
from meshlib.balancing import STRATEGIES, strategy_name
from meshlib.bounds import MAX_WEIGHT
from meshlib.errors import AuthorityError, ConfigurationError, PathError
from meshlib.labels.actions import REDIRECT_STATUSES, parse_redirect
from meshlib.labels.diagnostics import Diagnostics, show
from meshlib.labels.grammar import Part
from meshlib.model import (
    Endpoint,
    EndpointState,
    HostPath,
    ListeningPort,
    Match,
    RedirectRule,
    Scheme,
    ServerName,
)
from meshlib.patterns import parse_host_pattern, parse_path_prefix

__all__ = [
    "Entry",
    "check_endpoint",
    "check_strategy",
    "check_weight",
    "given_strategy",
    "read_match",
    "read_redirect",
    "typed",
]

_WHOLE_URL: Final = 'write a whole URL, "https://shop.example.com"'
_KINDS: Final = 'write "HOST/PATH", "sni://HOST", "tcp://:PORT" or "udp://:PORT"'

# Anything that could be looked up; whether it exists shows when a connection is made.
_REACHABLE: Final = re.compile(r"[^\s\x00-\x1f\x7f/?#@\[\]]+")


class Entry:
    """The text of an entry, and its place for error messages (`where` is called for those only)."""

    def __init__(self, key: str, where: Callable[[], str] | None = None) -> None:
        self.key = key
        self._where = where

    @property
    def where(self) -> str:
        """The place of the entry."""
        return self._where() if self._where is not None else f"routes[{show(str(self.key), 200)}]"

    def error(self, message: str, hint: str) -> ConfigurationError:
        """The error to raise when something is wrong with the entry."""
        return ConfigurationError(message, where=self.where, hint=hint)


class _NoMatch(Exception):
    """The reason a text matches nothing; `hint` for when nothing can be proposed in its place."""

    def __init__(self, message: str, hint: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.reason = reason


def read_match(entry: Entry) -> Match:
    """The match of an entry: "HOST[/PATH]", "sni://HOST", "tcp://:PORT" or "udp://:PORT", where the
    host "*" is any host.

    The `ConfigurationError` for another text proposes the entry that was probably meant, if that is
    one.
    """
    key = entry.key
    if not isinstance(key, str):
        raise entry.error(f"{typed(key)} does not name a route", 'write "HOST" or "HOST/PATH"')
    try:
        return _match(key)
    except _NoMatch as wrong:
        meant = _written(_likely(key))
        hint = f'write "{meant}"{wrong.reason}' if meant else wrong.hint
        raise entry.error(str(wrong), hint) from None


def _written(key: str) -> str:
    """The entry `key` as it is best written; "" when it is not an entry either."""
    try:
        match = _match(key)
    except _NoMatch:
        return ""
    if isinstance(match, ListeningPort):
        return str(match)
    host, path = (match.host, match.path) if isinstance(match, HostPath) else (match.name, "/")
    shown = f"[{host}]" if ":" in host else host or "*"
    sni = "sni://" if isinstance(match, ServerName) else ""
    return f"{sni}{shown}{path if path != '/' else ''}"


def _likely(key: str) -> str:
    """The entry that was probably meant by `key`: without the parts that no route has."""
    scheme, mark, rest = key.partition("://")
    scheme = scheme.lower()
    if not mark:
        scheme, rest = "", key
    rest = re.split("[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    name, colon, number = host.rpartition(":")
    if scheme in ("tcp", "udp"):
        return f"{scheme}://:{number}"
    if colon and (number.isdigit() or not number) and (":" not in name or name.endswith("]")):
        host = name
    host = host.rpartition("@")[2].lower() or "*"
    if scheme == "sni":
        return f"sni://{host}"
    path = path.partition("*")[0].rstrip("/")
    return f"{host}{slash}{path}" if scheme in ("", "http", "https") else ""


def _match(key: str) -> Match:
    scheme, mark, rest = key.partition("://")
    if not mark:
        host, slash, path = key.partition("/")
        return HostPath(_host(host, ""), _path(f"{slash}{path}"))
    if scheme == "sni":
        return _server_name(rest)
    if scheme in ("tcp", "udp"):
        return _port(Scheme(scheme), rest)
    if scheme.lower() in ("http", "https"):
        message = "a route is named by its host and path, not by a URL"
        reason = "; the listeners decide whether clients use TLS"
        raise _NoMatch(message, 'write "HOST/PATH"', reason=reason)
    raise _NoMatch(f"{show(scheme)} is not a kind of route", _KINDS)


def _server_name(rest: str) -> ServerName:
    host, slash, _ = rest.partition("/")
    if slash:
        message = "the path is inside the TLS connection, which is not decrypted"
        raise _NoMatch(message, 'write "sni://HOST"')
    name = _host(host, "sni://")
    if name and is_ip_address(name):
        hint = 'write the name that clients connect to, or "sni://*" for any name'
        raise _NoMatch("a TLS server name is never an IP address", hint)
    return ServerName(name)


def _port(scheme: Scheme, rest: str) -> ListeningPort:
    host, colon, number = rest.rpartition(":")
    if host or not colon:
        message = f"a {scheme.upper()} route is named by its port alone"
        raise _NoMatch(message, f'write "{scheme}://:PORT"')
    try:
        return ListeningPort(scheme, parse_port(number))
    except AuthorityError as error:
        hint = f'write "{scheme}://:PORT", the port that clients connect to'
        raise _NoMatch(f"the port is {show(number)}: {error}", hint) from None


def _host(text: str, before: str) -> str:
    if text == "*":
        return ""
    if not text:
        reason = " for any host, or name one"
        raise _NoMatch("the host is missing", f'write "{before}*"{reason}', reason=reason)
    head, colon, number = text.rpartition(":")
    if colon and (number.isdigit() or not number) and (":" not in head or head.endswith("]")):
        message = "a route has no port: clients reach the gateway on the ports it listens on"
        raise _NoMatch(message, f'write "{before}HOST"')
    if text != text.lower():
        raise _NoMatch("the host is not in lower case", f'write "{before}HOST" in lower case')
    try:
        return parse_host_pattern(text)
    except AuthorityError as error:
        hint = f'write a host such as "{before}shop.example.com"'
        if error.reason == "bad_wildcard":
            hint = (
                f'write "{before}*.example.com" for every host below example.com, "{before}*" for '
                "any host"
            )
        raise _NoMatch(f"the host is {show(text)}: {error}", hint) from None


def _path(text: str) -> str:
    if "*" in text:
        message = f"the path is {show(text)}: a path is a prefix, and * stands for itself"
        hint = 'write a path such as "/api"; it matches /api and everything below it'
        raise _NoMatch(message, hint)
    try:
        return parse_path_prefix(text)
    except PathError as error:
        reason = ""
        if text[error.position] in "?#":
            reason = f": routes match host and path only, nothing from {text[error.position]} on"
        hint = 'write a path such as "/api"; it matches /api and everything below it'
        raise _NoMatch(f"the path is {show(text)}: {error}", hint, reason=reason) from None


def read_redirect(entry: Entry, match: Match, rule: RedirectRule) -> RedirectRule:
    """The rule in its rendered form."""
    if not isinstance(match, HostPath):
        message = f"what arrives over {match.scheme}:// cannot be redirected"
        raise entry.error(message, 'redirect requests, "HOST/PATH"')
    if type(rule.status) is not int or rule.status not in REDIRECT_STATUSES:
        message = f"{rule.status!r} is not the status of a redirect"
        raise entry.error(message, f"write one of {', '.join(map(str, REDIRECT_STATUSES))}")
    if not isinstance(rule.target, str):
        raise entry.error(f"{typed(rule.target)} is not the target of a redirect", _WHOLE_URL)
    if type(rule.keep_path) is not bool:
        message = f"keep_path is {typed(rule.keep_path)}"
        raise entry.error(message, "write keep_path=True or keep_path=False")
    diagnostics = Diagnostics("")
    target = parse_redirect(Part(rule.target, 1), diagnostics.label(""))
    if target is None:
        raise entry.error(diagnostics.kept[0].message, _WHOLE_URL)
    if target.leads_to(match):
        message = "the redirect leads back to its own route, so clients would go in circles"
        raise entry.error(message, "redirect to another host, path or scheme")
    return RedirectRule(target.url, rule.status, rule.keep_path and target.path is None)


def check_endpoint(entry: Entry, endpoint: Endpoint) -> None:
    """Refuse an endpoint without a host, a port or a weight."""
    if type(endpoint.port) is not int or not 0 < endpoint.port < 65536:
        message = f"the endpoint {show(endpoint.id)} has the port {show(str(endpoint.port))}"
        raise entry.error(message, "write a number from 1 to 65535")
    if not isinstance(endpoint.host, str) or not _REACHABLE.fullmatch(endpoint.host):
        message = f"the endpoint {show(endpoint.id)} has the host {typed(endpoint.host)}"
        raise entry.error(message, "write an address without brackets, or a host name")
    if not isinstance(endpoint.state, EndpointState):
        message = f"the endpoint {show(endpoint.id)} has the state {typed(endpoint.state)}"
        raise entry.error(message, "write meshlib.model.EndpointState.READY")
    check_weight(entry, endpoint.weight)


def check_weight(entry: Entry, weight: object) -> None:
    """Refuse a weight that is not a whole number from 0 to 1000."""
    if type(weight) is not int or not 0 <= weight <= MAX_WEIGHT:
        message = f"{show(str(weight))} is not a weight"
        raise entry.error(message, f"write a whole number from 0 to {MAX_WEIGHT}")


def check_strategy(entry: Entry, name: str) -> None:
    """Refuse a strategy that `create_strategy` does not know."""
    if not isinstance(name, str):
        raise entry.error(f"{typed(name)} is no strategy", 'write strategy="round_robin"')
    if name not in STRATEGIES:
        given_strategy(entry, name)


def given_strategy(entry: Entry, given: object) -> str:
    """The name of a strategy that is given by its name, or as the function itself."""
    try:
        return strategy_name(given)
    except ConfigurationError as error:
        raise entry.error(error.message, error.hint) from None


def typed(value: object) -> str:
    """A value of a wrong type, for a message."""
    shown = show(value) if isinstance(value, str) else show(str(value))[1:-1]
    return f"{shown} ({type(value).__name__})"
