"""Routing tables built of a few words, and what they tell of the services in them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    RedirectRule,
    Route,
    Scheme,
    Snapshot,
    Upstream,
)
from meshlib.ownership import OwnershipRules
from meshlib.route_options import RouteOptions
from meshlib.table import RoutingTable
from meshlib.table.decisions import decide_http
from meshlib.table.indexes import Indexes
from meshlib.table.touched import Touched
from meshlib.upstream_key import UpstreamKey
from tests.support.routes import match_of

__all__ = ["indexes_of", "route", "service", "table_of", "told"]


def route(
    text: str, service: str, share_with: tuple[str, ...] = (), sticky: str | None = None
) -> Route:
    """ "http://host/path", "sni://host", "tcp://:5432"; "-> URL" behind it makes a redirect."""
    text, _, target = text.partition(" -> ")
    scheme, _, rest = text.partition("://")
    if scheme in ("tcp", "udp"):
        upstream = Upstream(UpstreamKey(service, 1), (Endpoint(f"{service}.1", "10.0.0.1", 1),))
        return Route(
            match_of(Scheme(scheme), "", "/", int(rest[1:])),
            ForwardTo(upstream),
            service=service,
            label=text,
            schema="hrm",
        )
    host, slash, path = rest.partition("/")
    upstream = Upstream(UpstreamKey(service, 80), (Endpoint(f"{service}.1", "10.0.0.1", 80),))
    return Route(
        match_of(Scheme(scheme), host, slash + path or "/"),
        RedirectRule(target) if target else ForwardTo(upstream),
        RouteOptions(sticky_cookie=sticky, share_with=share_with),
        service=service,
        label=text,
        schema="hrm",
    )


def service(
    owner: str,
    *routes: str,
    age: int = 1,
    share_with: tuple[str, ...] = (),
    networks: tuple[str, ...] = (),
    name: str = "",
) -> Contribution:
    name = name or owner.partition(" ")[2] or "code"
    made = tuple(route(text, name, share_with) for text in routes)
    return Contribution(f"p/{name}", name, age, made, owner=owner, networks=networks)


def table_of(*contributions: Contribution, rules: OwnershipRules | None = None) -> RoutingTable:
    return RoutingTable.build(Snapshot.of(contributions), rules=rules)


def indexes_of(
    *come: Contribution, gone: Iterable[Contribution] = (), before: Indexes | None = None
) -> Indexes:
    """The indexes after these came and those went, with nobody kept out."""
    return (before or Indexes()).updated(
        Touched(gone, come),
        partial(decide_http, retry_after=1),
        lambda _, claims: (list(claims), None),
    )


def told(table: RoutingTable) -> list[tuple[str, str]]:
    return [(item.code, item.service) for item in table.diagnostics]
