"""Checks of what a state file says, before a gateway serves it: the file is the operator's, but
somebody may have edited it, and its routes are served until the provider itself delivers.

Everything here raises ValueError for a value that discovery would not have made.
"""

from __future__ import annotations

from typing import Final

from meshlib.authority import normalize_host
from meshlib.balancing import STRATEGIES, registered_names
from meshlib.discovery.engine.addresses import is_refused
from meshlib.errors import MeshError
from meshlib.model import Route, Scheme, Tenure, Upstream
from meshlib.patterns import parse_host_pattern, parse_path_prefix

__all__ = ["check_route", "check_tenure", "check_text"]

_MAX_TEXT: Final = 8192


def check_text(*texts: str) -> None:
    """Each of `texts` can be printed and is not too long."""
    for text in texts:
        if len(text) > _MAX_TEXT or not text.isprintable():
            raise ValueError(f"{text[:50]!r} is too long, or no text to print")


def check_tenure(tenure: Tenure) -> None:
    """A name in normal form, with an owner and possible times."""
    check_text(*tenure.guests, tenure.owner)
    if tenure.since < 0 or tenure.left < 0:
        raise ValueError("a time before 1970")
    scheme, found, port = tenure.name.partition("://:")
    is_port = port.isdecimal() and 1 <= int(port) <= 65535
    if found and scheme in (Scheme.TCP, Scheme.UDP) and is_port:
        return
    _check_host(tenure.name)


def _check_host(host: str) -> None:
    try:
        same = parse_host_pattern(host) == host
    except MeshError as error:
        raise ValueError(str(error)) from None
    if not same:
        raise ValueError(f"the host {host[:100]!r} is not in its normal form")


def check_route(route: Route, *, from_engine: bool) -> None:
    """A route in normal form, to endpoints that requests may go to: `from_engine` refuses the
    addresses that no task or container can have.
    """
    redirect = route.redirect
    texts = (
        route.label,
        route.schema,
        route.service,
        route.options.sticky_cookie or "",
        route.options.hsts,
        redirect.target if redirect else "",
    )
    check_text(*texts, *route.options.share_with)
    if not all(text.isascii() for text in texts[3:]):
        raise ValueError("a field of responses would not be ASCII")
    _check_host(route.host)
    try:
        if parse_path_prefix(route.path) != route.path:
            raise ValueError(f"the path {route.path[:100]!r} is not in its normal form")
    except MeshError as error:
        raise ValueError(str(error)) from None
    port = route.listening_port
    if port is not None and not 1 <= port.port <= 65535:
        raise ValueError(f"the port {port.port} is not within 1-65535")
    if redirect is not None and redirect.status not in (301, 302, 307, 308):
        raise ValueError(f"a redirect has the status {redirect.status}")
    if route.upstream is not None:
        _check_upstream(route.upstream, from_engine=from_engine)


def _check_upstream(upstream: Upstream, *, from_engine: bool) -> None:
    for key in (upstream.key, *upstream.key.beside):
        check_text(key.service, key.provider, key.transport.tls_name)
        if key.port is not None and not 1 <= key.port <= 65535:
            raise ValueError(f"the port {key.port} of an upstream is not within 1-65535")
    if upstream.strategy not in STRATEGIES and upstream.strategy not in registered_names():
        raise ValueError(f"there is no strategy {upstream.strategy[:50]!r}")
    for endpoint in upstream.endpoints:
        check_text(endpoint.id, endpoint.host, endpoint.node)
        if not 1 <= endpoint.port <= 65535 or not 0 <= endpoint.weight <= 1000:
            raise ValueError(
                f"the endpoint {endpoint.id[:100]!r} has a port or weight out of range"
            )
        try:
            normal = normalize_host(endpoint.host)
        except MeshError as error:
            raise ValueError(str(error)) from None
        if normal != endpoint.host or (from_engine and is_refused(endpoint.host)):
            raise ValueError(f"{endpoint.host[:100]} is not an address to send requests to")
