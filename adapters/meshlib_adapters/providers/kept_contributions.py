"""Contributions read from JSON quickly: 10,000 services are some 20 MB.

`msgspec` reads classes, but no union of two of them. So what a route matches and does is read into
a class that has the fields of all, and then into the one that it is.
"""

from __future__ import annotations

import msgspec

from meshlib.model import (
    Contribution,
    ForwardTo,
    HostPath,
    ListeningPort,
    Match,
    RedirectRule,
    Route,
    ServerName,
    Upstream,
)
from meshlib.route_options import NO_OPTIONS, RouteOptions

__all__ = ["KeptContribution"]


class _Match(msgspec.Struct):
    host: str | None = None
    path: str = "/"
    name: str | None = None


class _Action(msgspec.Struct):
    upstream: Upstream | None = None
    target: str | None = None
    status: int = 301
    keep_path: bool = True


class _Route(msgspec.Struct):
    match: _Match | ListeningPort
    action: _Action
    service: str
    options: RouteOptions = NO_OPTIONS
    label: str = ""
    schema: str = ""
    degraded: bool = False


class KeptContribution(msgspec.Struct):
    """A contribution as JSON has it, without its diagnostics."""

    key: str
    service: str
    created_at: int = 0
    routes: tuple[_Route, ...] = ()
    owner: str = ""
    networks: tuple[str, ...] = ()

    def contribution(self) -> Contribution:
        """The same with its routes; ValueError if one matches, or does, two things or none."""
        routes = tuple(map(_route, self.routes))
        return Contribution(
            self.key,
            self.service,
            self.created_at,
            routes,
            owner=self.owner,
            networks=self.networks,
        )


def _route(one: _Route) -> Route:
    return Route(
        one.match if isinstance(one.match, ListeningPort) else _match(one.match),
        _action(one.action),
        one.options,
        service=one.service,
        label=one.label,
        schema=one.schema,
        degraded=one.degraded,
    )


def _match(one: _Match) -> Match:
    if (one.host is None) is (one.name is None):
        raise ValueError("a route matches a host or a server name, one of the two")
    return HostPath(one.host, one.path) if one.host is not None else ServerName(one.name or "")


def _action(one: _Action) -> ForwardTo | RedirectRule:
    if (one.upstream is None) is (one.target is None):
        raise ValueError("a route forwards or redirects, one of the two")
    if one.upstream is not None:
        return ForwardTo(one.upstream)
    return RedirectRule(one.target or "", one.status, one.keep_path)
