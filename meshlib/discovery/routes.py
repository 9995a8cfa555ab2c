"""Routes of one service, for engines and files alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from meshlib.discovery.limits import ServiceQuota
from meshlib.labels.result import InternalPort, LabelResult, PublishedPort
from meshlib.model import (
    Contribution,
    ForwardTo,
    ListeningPort,
    RedirectRule,
    Route,
    Scheme,
    Upstream,
)
from meshlib.redirects import is_for_plain
from meshlib.upstream_key import PLAIN, Transport

__all__ = ["PUBLISHED", "build_routes"]


# The schema of routes that no label asks for: the service publishes the port.
PUBLISHED = "published"


def build_routes(
    service: str,
    result: LabelResult,
    upstream_for: Callable[[int], Upstream],
    previous: Contribution | None,
    *,
    networked: bool,
    quota: ServiceQuota | None = None,
    published: Iterable[PublishedPort] = (),
) -> tuple[Route, ...]:
    """Routes of one service. Without a network (`networked` false) only redirects remain: they need
    no endpoint.

    A label that has failed keeps the routes it had in `previous`, marked degraded and with today's
    endpoints, unless another label has taken their place. Each of the `published` ports (TCP and
    UDP) is a route, unless a label asks for it. There are as many routes as the `quota` allows:
    today's labels come first, then last good routes, then published ports.
    """
    quota = quota or ServiceQuota(service)
    upstreams = _Upstreams(upstream_for, _strategies(result, previous))
    routes = [
        Route(
            asked.match,
            asked.action
            if isinstance(asked.action, RedirectRule)
            else ForwardTo(upstreams.at(asked.action.number, asked.action.transport)),
            asked.options,
            service=service,
            label=asked.label,
            schema=asked.schema,
        )
        for asked in result.routes
        if networked or isinstance(asked.action, RedirectRule)
    ]
    taken = {(route.match, is_for_plain(route.match, route.action)) for route in routes}
    ports = sum(isinstance(route.match, ListeningPort) for route in routes)
    for old in previous.routes if previous is not None else ():
        is_port = isinstance(old.match, ListeningPort)
        place = old.match, is_for_plain(old.match, old.action)
        if old.label not in result.failed or place in taken:
            continue
        if len(routes) >= quota.labels.routes or (is_port and ports >= quota.labels.ports):
            continue
        ports += is_port
        match old.action:
            case RedirectRule():
                routes.append(replace(old, degraded=True))
            case ForwardTo(before) if networked and before.key.port is not None:
                now = ForwardTo(upstreams.at(before.key.port, before.transport))
                routes.append(replace(old, action=now, degraded=True))
    if networked:
        labelled = {route.listening_port for route in routes}
        asked_for = {
            port: target for port, target in _published(published).items() if port not in labelled
        }
        routes += [
            Route(port, ForwardTo(upstreams.at(target)), service=service, schema=PUBLISHED)
            for port, target in quota.published(routes, sorted(asked_for.items()))
        ]
    return tuple(
        sorted(
            routes,
            key=lambda route: (
                route.label,
                route.scheme,
                route.host,
                route.path,
                route.listening_port or (),
            ),
        )
    )


def _published(ports: Iterable[PublishedPort]) -> dict[ListeningPort, int]:
    wanted: dict[ListeningPort, int] = {}
    for port in ports:
        protocol = port.protocol.lower()
        # SCTP is not carried; a port that the engine chooses is not known before it has chosen.
        if port.published is not None and protocol in (Scheme.TCP, Scheme.UDP):
            wanted.setdefault(ListeningPort(Scheme(protocol), port.published), port.target)
    return wanted


def _strategies(result: LabelResult, previous: Contribution | None) -> dict[int, str]:
    """The strategies that labels ask for, by port; those of last good routes where today's labels
    ask for none.
    """
    found: dict[int, str] = {}
    for asked in result.routes:
        if isinstance(asked.action, InternalPort) and asked.action.strategy:
            found.setdefault(asked.action.number, asked.action.strategy)
    for old in previous.routes if previous is not None and result.failed else ():
        upstream = old.upstream if old.label in result.failed else None
        # The two others may be the service's own, and no label's.
        if upstream is not None and upstream.strategy not in _BY_WEIGHT and upstream.key.port:
            found.setdefault(upstream.key.port, upstream.strategy)
    return found


_BY_WEIGHT: Final = ("round_robin", "weighted_round_robin")


class _Upstreams:
    # The upstreams of a service at its ports, each made once, as its labels want them.

    def __init__(self, upstream_for: Callable[[int], Upstream], strategies: dict[int, str]) -> None:
        self._upstream_for = upstream_for
        self._strategies = strategies
        self._made: dict[tuple[int, Transport], Upstream] = {}

    def at(self, port: int, asked: Transport = PLAIN) -> Upstream:
        made = self._made.get((port, asked))
        if made is None:
            made = _with_transport(self._upstream_for(port), asked)
            wanted = self._strategies.get(port, made.strategy)
            # Weights are those of a file, which whoever runs the gateway has written.
            if wanted != made.strategy and (wanted, made.strategy) != _BY_WEIGHT:
                made = replace(made, strategy=wanted)
            self._made[port, asked] = made
        return made


def _with_transport(upstream: Upstream, asked: Transport) -> Upstream:
    # Under a key of its own: connections that begin with a PROXY protocol header, with TLS or with
    # HTTP/2, or that are read leniently, are not those of the service's other routes. What a label
    # does not ask for is as the service has it.
    own = upstream.transport
    transport = Transport(
        asked.protocol or own.protocol,
        asked.tls_name or own.tls_name,
        asked.proxy_protocol or own.proxy_protocol,
        asked.lenient or own.lenient,
    )
    if transport == own:
        return upstream
    return replace(upstream, key=replace(upstream.key, transport=transport))
