"""What a label asks for beside host, path and port: each function reads one option, on the kind of
route where it has a meaning.

Wrong values are errors; an option that the route has no use for is ignored with a warning. This
module knows how options go together with a route and with each other; what a value means by itself
is `meshlib.labels.values`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from meshlib.labels import codes
from meshlib.labels.diagnostics import LabelDiagnostics, show
from meshlib.labels.grammar import Part
from meshlib.labels.values import (
    ExternalRoute,
    parse_cookie_name,
    parse_flag,
    parse_hsts,
    parse_proxy_protocol,
    parse_redirect,
    parse_redirect_status,
    parse_server_name,
    parse_share_with,
)
from meshlib.model import RedirectRule, Scheme

__all__ = [
    "Pair",
    "read_forwarded_for",
    "read_hsts",
    "read_https",
    "read_protocol",
    "read_proxy_header",
    "read_redirect",
    "read_server_name",
    "read_share_with",
    "read_sticky",
]


class Pair(NamedTuple):
    """One `key=value` of a label."""

    name: Part
    value: Part


def read_redirect(
    pairs: Mapping[str, Pair], route: ExternalRoute | None, diagnostics: LabelDiagnostics
) -> RedirectRule | None:
    """`redirect` and `redirect_status`: where clients are sent; None without them, or when they are
    wrong.
    """
    asked, status_pair = pairs.get("redirect"), pairs.get("redirect_status")
    if asked is None:
        if status_pair is not None:
            message = "redirect_status is ignored: the label has no redirect"
            diagnostics.add(
                codes.STATUS_WITHOUT_REDIRECT,
                message,
                "add redirect=URL, or leave it out",
                column=status_pair.name.column,
            )
        return None
    target = parse_redirect(asked.value, diagnostics)
    status = parse_redirect_status(status_pair.value, diagnostics) if status_pair else 301
    if target is None or status is None or route is None:
        return None
    if route.scheme is Scheme.SNI:
        message = "a TLS connection that is passed through cannot be answered with a redirect"
        hint = f"redirect from external_route=http://{route.host}, or leave out redirect"
        diagnostics.add(codes.REDIRECT_ON_SNI, message, hint, column=asked.name.column)
        return None
    if route.port is not None:
        message = f"what comes to a {route.scheme.upper()} port cannot be answered with a redirect"
        hint = "leave out redirect, or redirect from external_route=http://HOST"
        diagnostics.add(codes.REDIRECT_ON_PORT, message, hint, column=asked.name.column)
        return None
    if target.leads_to(route):
        message = "the redirect leads to its own route: clients would go round in circles"
        diagnostics.add(
            codes.REDIRECT_LOOP,
            message,
            "redirect to another host, path or scheme",
            column=asked.value.column,
        )
        return None
    return RedirectRule(target.url, status, keep_path=target.path is None)


def read_sticky(pair: Pair | None, scheme: Scheme, diagnostics: LabelDiagnostics) -> str | None:
    """`sticky_sessions`: the name of a cookie."""
    if pair is None or _is_of_no_use(pair, scheme, diagnostics):
        return None
    if scheme is Scheme.SNI:
        message = (
            "sticky_sessions is ignored: the cookie is inside the TLS "
            "connection, which is not opened"
        )
        diagnostics.add(
            codes.STICKY_ON_SNI,
            message,
            "leave it out; a TLS session stays on one task anyway",
            column=pair.name.column,
        )
        return None
    return parse_cookie_name(pair.value, diagnostics)


def read_forwarded_for(
    pair: Pair | None, scheme: Scheme, diagnostics: LabelDiagnostics
) -> bool | None:
    """`include_forwarded_for`; None when it is wrong."""
    if pair is None or _is_of_no_use(pair, scheme, diagnostics):
        return False
    if scheme is Scheme.SNI:
        message = (
            "include_forwarded_for is ignored: nothing can be added to a TLS connection "
            "that is passed through"
        )
        diagnostics.add(
            codes.FORWARDED_FOR_ON_SNI, message, "leave it out", column=pair.name.column
        )
        return False
    return parse_flag(pair.value, diagnostics)


def _is_of_no_use(pair: Pair, scheme: Scheme, diagnostics: LabelDiagnostics) -> bool:
    if scheme not in (Scheme.TCP, Scheme.UDP):
        return False
    message = (
        f"{pair.name.text} is ignored: nothing is read of what comes to a {scheme.upper()} port"
    )
    diagnostics.add(codes.HTTP_KEY_ON_PORT, message, "leave it out", column=pair.name.column)
    return True


def read_proxy_header(
    pair: Pair | None, scheme: Scheme, diagnostics: LabelDiagnostics
) -> Literal["", "v1", "v2"]:
    """`proxy_protocol`; "" without it."""
    if pair is None:
        return ""
    if scheme is Scheme.UDP:
        message = (
            "proxy_protocol is ignored: the PROXY header begins a connection, and UDP has none"
        )
        diagnostics.add(
            codes.PROXY_PROTOCOL_ON_UDP, message, "leave it out", column=pair.name.column
        )
        return ""
    return parse_proxy_protocol(pair.value, diagnostics)


def read_server_name(
    pair: Pair | None, scheme: Scheme, proxy_header: str, diagnostics: LabelDiagnostics
) -> str:
    """`upstream_tls`: the name in the endpoints' certificate; "" without it. `proxy_header` is what
    `read_proxy_header` gave.
    """
    if pair is None or _is_of_no_use(pair, scheme, diagnostics):
        return ""
    if scheme is Scheme.SNI:
        message = "upstream_tls is ignored: the client's own TLS goes through to the service"
        diagnostics.add(codes.UPSTREAM_TLS_ON_SNI, message, "leave it out", column=pair.name.column)
        return ""
    if proxy_header:
        message = "upstream_tls and proxy_protocol together are not supported"
        diagnostics.add(
            codes.BAD_SERVER_NAME, message, "leave out one of them", column=pair.name.column
        )
        return ""
    return parse_server_name(pair.value, diagnostics)


def read_https(
    pair: Pair | None, route: ExternalRoute | None, diagnostics: LabelDiagnostics
) -> bool:
    """`https`: whether requests without TLS are sent to https. `route` None: it was wrong
    itself.
    """
    if pair is None or route is None or _is_of_no_use(pair, route.scheme, diagnostics):
        return False
    if route.scheme is Scheme.SNI:
        message = "https is ignored: what comes to an sni:// route is TLS already"
        diagnostics.add(codes.HTTPS_ON_SNI, message, "leave it out", column=pair.name.column)
        return False
    if pair.value.text.lower() != "require":
        hint = "write https=require, or leave it out"
        diagnostics.add(
            codes.BAD_HTTPS, f"https is {show(pair.value.text)}", hint, column=pair.value.column
        )
        return False
    if not route.host or route.host.startswith("*"):
        message = "a route for many hosts has no one place of its own to send clients to"
        diagnostics.add(
            codes.BAD_HTTPS,
            message,
            "ask for each host by itself, or leave out https",
            column=pair.name.column,
        )
        return False
    return True


def read_hsts(pair: Pair | None, scheme: Scheme, diagnostics: LabelDiagnostics) -> str:
    """`hsts`: the value of the field; "" without it."""
    if pair is None or _is_of_no_use(pair, scheme, diagnostics):
        return ""
    if scheme is Scheme.SNI:
        message = "hsts is ignored: answers to what is passed through are the service's own"
        diagnostics.add(codes.HSTS_ON_SNI, message, "leave it out", column=pair.name.column)
        return ""
    return parse_hsts(pair.value, diagnostics)


def read_protocol(
    pair: Pair | None, scheme: Scheme, server_name: str, diagnostics: LabelDiagnostics
) -> Literal["", "h2c"]:
    """`upstream_protocol`: what endpoints are spoken to with ("": HTTP/1.1). `server_name` is what
    `read_server_name` gave.
    """
    if pair is None or _is_of_no_use(pair, scheme, diagnostics):
        return ""
    if scheme is Scheme.SNI:
        message = (
            "upstream_protocol is ignored: what is inside the client's TLS goes "
            "through to the service"
        )
        diagnostics.add(
            codes.UPSTREAM_PROTOCOL_ON_SNI, message, "leave it out", column=pair.name.column
        )
        return ""
    if pair.value.text.lower() != "h2c":
        hint = "write upstream_protocol=h2c for HTTP/2 without TLS, or leave it out for HTTP/1.1"
        diagnostics.add(
            codes.BAD_UPSTREAM_PROTOCOL,
            f"upstream_protocol is {show(pair.value.text)}",
            hint,
            column=pair.value.column,
        )
        return ""
    if server_name:
        message = "upstream_protocol=h2c is HTTP/2 without TLS, and upstream_tls asks for TLS"
        diagnostics.add(
            codes.BAD_UPSTREAM_PROTOCOL, message, "leave out one of them", column=pair.name.column
        )
        return ""
    return "h2c"


def read_share_with(
    pair: Pair | None, scheme: Scheme, diagnostics: LabelDiagnostics
) -> tuple[str, ...]:
    """`share_with`: who else may ask for the host; none without it."""
    if pair is None:
        return ()
    if scheme in (Scheme.TCP, Scheme.UDP):
        message = f"share_with is ignored: a {scheme.upper()} port is one service's alone"
        diagnostics.add(codes.SHARE_WITH_ON_PORT, message, "leave it out", column=pair.name.column)
        return ()
    return parse_share_with(pair.value, diagnostics)
