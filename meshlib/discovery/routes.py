"""The routes of one service, for engines and files alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from meshlib.discovery.limits import Allowance
from meshlib.labels.fragment import LabelResult, PublishedPort
from meshlib.model import Contribution, ListeningPort, Route, Scheme, Upstream
from meshlib.upstream_key import Transport

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
    allowance: Allowance | None = None,
    published: Iterable[PublishedPort] = (),
) -> tuple[Route, ...]:
    """Routes of one service. Without a network (`networked` false) only redirects are left: they
    ask no endpoint.

    A label that has failed keeps the routes it had in `previous`, marked degraded and with today's
    endpoints, unless another label has taken their place by now. Each of the `published` ports (TCP
    and UDP) is a route, unless a label asks for it. There are as many as the `allowance` has room
    for: today's labels come first, then last good routes, then published ports.
    """
    allowance = allowance or Allowance(service)
    routes = [
        Route(
            scheme=fragment.scheme,
            host=fragment.host,
            path=fragment.path,
            service=service,
            label=fragment.label,
            schema=fragment.schema,
            internal_port=fragment.internal_port,
            upstream=None
            if fragment.internal_port is None or fragment.redirect
            else _spoken_to(
                upstream_for(fragment.internal_port),
                Transport(
                    fragment.upstream_protocol, fragment.server_name, fragment.proxy_protocol
                ),
            ),
            redirect=fragment.redirect,
            sticky_cookie=fragment.sticky_cookie,
            forwarded_for=fragment.forwarded_for,
            port=fragment.port,
            https_only=fragment.https_only,
            hsts=fragment.hsts,
            share_with=fragment.share_with,
        )
        for fragment in result.fragments
        if fragment.redirect is not None or networked
    ]
    taken = {(route.scheme, route.host, route.path, route.port) for route in routes}
    ports = sum(route.port is not None for route in routes)
    for old in previous.routes if previous is not None else ():
        if old.label not in result.failed or (old.scheme, old.host, old.path, old.port) in taken:
            continue
        if len(routes) >= allowance.labels.routes or (
            old.port is not None and ports >= allowance.labels.ports
        ):
            continue
        ports += old.port is not None
        if old.redirect is not None:
            routes.append(replace(old, degraded=True))
        elif old.internal_port is not None and networked:
            upstream = upstream_for(old.internal_port)
            if old.upstream is not None:
                upstream = _spoken_to(upstream, old.upstream.transport)
            routes.append(replace(old, degraded=True, upstream=upstream))
    if networked:
        labelled = {route.listening_port for route in routes}
        asked_for = {
            port: target for port, target in _published(published).items() if port not in labelled
        }
        routes += [
            Route(
                port.scheme,
                "",
                "/",
                service,
                "",
                PUBLISHED,
                target,
                upstream_for(target),
                port=port.port,
            )
            for port, target in allowance.published(routes, sorted(asked_for.items()))
        ]
    return tuple(
        sorted(
            routes,
            key=lambda route: (route.label, route.scheme, route.host, route.path, route.port or 0),
        )
    )


def _published(ports: Iterable[PublishedPort]) -> dict[ListeningPort, int]:
    wanted: dict[ListeningPort, int] = {}
    for port in ports:
        protocol = port.protocol.lower()
        # SCTP is nothing that we carry; a port that the engine chooses is not known before it has.
        if port.published is not None and protocol in (Scheme.TCP, Scheme.UDP):
            wanted.setdefault(ListeningPort(Scheme(protocol), port.published), port.target)
    return wanted


def _spoken_to(upstream: Upstream, asked: Transport) -> Upstream:
    # Under a key of its own: connections that begin with a PROXY protocol header, with TLS or with
    # HTTP/2 are not those of the service's other routes. What a label does not ask for is as the
    # service has it.
    own = upstream.transport
    transport = Transport(
        asked.protocol or own.protocol,
        asked.tls_name or own.tls_name,
        asked.proxy_protocol or own.proxy_protocol,
    )
    if transport == own:
        return upstream
    return replace(upstream, key=replace(upstream.key, transport=transport))
