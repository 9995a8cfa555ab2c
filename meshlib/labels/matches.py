"""The match of a label: the value of `external_route`.

This module knows no other key. A hint shows the value that was probably meant, if that is a value;
otherwise an example.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.authority import is_ip_address, parse_port
from meshlib.errors import AuthorityError, PathError
from meshlib.labels import codes
from meshlib.labels.diagnostics import LabelDiagnostics, show
from meshlib.labels.grammar import Part
from meshlib.labels.proposals import (
    SCHEMES,
    can_be_proposed,
    host_and_port,
    split_authority,
)
from meshlib.labels.slips import external_route_hint
from meshlib.model import HostPath, ListeningPort, Match, Scheme, ServerName
from meshlib.patterns import parse_path_prefix

__all__ = [
    "parse_external_route",
    "with_likely_scheme",
    "written",
]

_SLIPS: Final = re.compile(r"[ \t\r\n;|\"'`(]")
_EXAMPLE: Final = (
    "write external_route=http://shop.example.com, or external_route=sni://shop.example.com to "
    "pass TLS through"
)
_SEPARATE: Final = "separate the pairs with commas: external_route=...,internal_port=..."


def parse_external_route(value: Part, diagnostics: LabelDiagnostics) -> Match | None:
    """The match of `http://HOST[/PATH]`, `sni://HOST`, `tcp://:PORT` or `udp://:PORT`, where a host
    may begin with "*." or be "*", any host; None when the value is wrong, which is reported.
    """
    name, mark, rest = value.text.partition("://")
    if not mark or name.lower() not in SCHEMES:
        message = (
            f"external_route is {show(value.text)}; "
            "it must begin with http://, sni://, tcp:// or udp://"
        )
        hint = external_route_hint(value.text) or _scheme_hint(value.text, diagnostics)
        diagnostics.add(codes.BAD_SCHEME, message, hint, column=value.column)
        return None
    scheme = Scheme(name.lower())
    column = value.column + len(name) + 3
    if scheme in (Scheme.TCP, Scheme.UDP):
        return _parse_port(scheme, Part(rest, column), diagnostics)
    authority, tail = split_authority(rest)
    host = _parse_host(scheme, Part(authority, column), tail, diagnostics)
    if host is None and _SLIPS.search(authority):
        return None  # what follows is no path either, or the hint has it
    path_part = Part(tail, column + len(authority))
    if scheme is Scheme.SNI:
        allowed = _check_no_path(authority, path_part, diagnostics)
        return ServerName(host) if host is not None and allowed else None
    path = _parse_path(path_part, f"{scheme}://{authority}", diagnostics)
    return HostPath(host, path) if host is not None and path is not None else None


def written(match: Match) -> str:
    """The value of `external_route` that means `match`."""
    if isinstance(match, ListeningPort):
        return str(match)
    host, path = (match.host, match.path) if isinstance(match, HostPath) else (match.name, "/")
    shown = f"[{host}]" if ":" in host else host or "*"
    return f"{match.scheme}://{shown}{path if path != '/' else ''}"


def _parse_port(scheme: Scheme, part: Part, diagnostics: LabelDiagnostics) -> ListeningPort | None:
    host, colon, number = part.text.removesuffix("/").rpartition(":")
    if host or not colon:
        # A host here would look like a restriction, and nothing could enforce it.
        message = (
            f"{scheme}:// is followed by {show(part.text)}, but a {scheme.upper()} port has no "
            "host, only a number"
        )
        hint = _port_hint(scheme, number)
        diagnostics.add(codes.BAD_LISTENING_PORT, message, hint, column=part.column)
        return None
    try:
        return ListeningPort(scheme, parse_port(number))
    except AuthorityError as error:
        message = f"the port in {scheme}://{show(part.text)}: {error}"
        hint = _port_hint(scheme, number)
        diagnostics.add(codes.BAD_LISTENING_PORT, message, hint, column=part.column + 1)
        return None


def _port_hint(scheme: Scheme, number: str) -> str:
    meant = f"{scheme}://:{number}"
    if can_be_proposed(meant):
        return f"write external_route={meant}"
    return f"write external_route={scheme}://:PORT, a port from 1 to 65535 that clients connect to"


def _parse_host(scheme: Scheme, part: Part, tail: str, diagnostics: LabelDiagnostics) -> str | None:
    if not part.text:
        # HRM's way to write a catch-all, and what an engine has of "http://${DOMAIN}" where DOMAIN
        # is empty.
        as_in_hrm = diagnostics.blank_hosts and tail in ("", "/")
        kind = codes.BLANK_HOST if as_in_hrm else codes.BAD_HOST
        message = "the host is missing: if a variable stood here, it was empty"
        diagnostics.add(kind, message, _blank_hint(scheme, tail), column=part.column)
        return "" if as_in_hrm else None
    try:
        host, port_at = host_and_port(part.text)
    except AuthorityError as error:
        kind = codes.BAD_WILDCARD if error.reason == "bad_wildcard" else codes.BAD_HOST
        message = f"the host is {show(part.text)}: {error}"
        hint = _host_hint(scheme, part.text, tail, error)
        diagnostics.add(kind, message, hint, column=part.column + error.position)
        return None
    if scheme is Scheme.SNI and is_ip_address(host):
        message = f"a TLS server name is never an IP address ({host})"
        hint = (
            "write the name that clients connect to, or external_route=sni://* for every TLS "
            "connection that no other route matches"
        )
        diagnostics.add(codes.SNI_ADDRESS, message, hint, column=part.column)
        return None
    if port_at:
        message = "the port is ignored: clients reach the gateway on its own ports"
        hint = _without_port(scheme, part.text[: port_at - 1], tail)
        diagnostics.add(codes.PORT_IGNORED, message, hint, column=part.column + port_at)
    return host


def _host_hint(scheme: Scheme, text: str, tail: str, error: AuthorityError) -> str:
    character = text[error.position : error.position + 1]
    if error.reason == "bad_wildcard":
        return (
            f"write external_route={scheme}://*.example.com for every name below example.com, "
            f"or external_route={scheme}://* for every host"
        )
    if error.reason == "bad_port":
        return _without_port(scheme, text.rpartition(":")[0], tail)
    if character and _SLIPS.match(character):
        return external_route_hint(f"{scheme}://{text}{tail}") or _SEPARATE
    if text.startswith(".") and can_be_proposed(f"{scheme}://*{text}{tail}"):
        return f"write external_route={scheme}://*{text}{tail} for every name below it"
    if character and character in "${}%":
        return "a variable was not replaced; put its value here"
    return f"write external_route={scheme}://shop.example.com"


def _blank_hint(scheme: Scheme, tail: str) -> str:
    example = f"write external_route={scheme}://shop.example.com"
    meant = f"{scheme}://*{tail}"
    return f"{example}; for every host write {meant}" if can_be_proposed(meant) else example


def _without_port(scheme: Scheme, host: str, tail: str) -> str:
    meant = f"{scheme}://{host}{tail}"
    shown = meant if can_be_proposed(meant) else f"{scheme}://shop.example.com"
    return f"write external_route={shown}; the container's port belongs in internal_port"


def _check_no_path(authority: str, part: Part, diagnostics: LabelDiagnostics) -> bool:
    if part.text in ("", "/"):
        return True
    meant = f"sni://{authority}"
    shown = meant if can_be_proposed(meant) else "sni://shop.example.com"
    message = "the path is inside the TLS connection, which is not decrypted"
    hint = f"write external_route={shown}, or match the path with http://"
    diagnostics.add(codes.SNI_PATH, message, hint, column=part.column)
    return False


def _parse_path(part: Part, before: str, diagnostics: LabelDiagnostics) -> str | None:
    star = part.text.find("*")
    if star >= 0:
        meant = before + part.text[:star].rstrip("/")
        message = f"the path is {show(part.text)}: a path is a prefix, and * stands for itself"
        shown = meant if can_be_proposed(meant) else "http://shop.example.com/api"
        hint = f"write external_route={shown}; it matches everything below it, too"
        diagnostics.add(codes.BAD_PATH, message, hint, column=part.column + star)
        return None
    try:
        return parse_path_prefix(part.text or "/")
    except PathError as error:
        character = part.text[error.position]
        hint = "write a path such as /api; it matches /api and everything below it"
        if character in "?#":
            hint = f"leave out everything from {character} on: routes match host and path only"
        elif _SLIPS.match(character):
            hint = external_route_hint(before + part.text) or _SEPARATE
        message = f"the path is {show(part.text)}: {error}"
        diagnostics.add(codes.BAD_PATH, message, hint, column=part.column + error.position)
        return None


def _scheme_hint(text: str, diagnostics: LabelDiagnostics) -> str:
    name, mark, rest = text.partition("://")
    if mark and name.lower() == "https":
        if can_be_proposed(f"sni://{rest}"):
            return (
                f"write external_route=sni://{rest} to pass TLS through to the service, or "
                f"external_route=http://{rest}"
            )
        if can_be_proposed(f"http://{rest}"):
            return f"write external_route=http://{rest}; TLS is up to the gateway's listeners"
        return _EXAMPLE
    likely = with_likely_scheme(text, SCHEMES, diagnostics)
    return next(
        (f"did you mean external_route={one}?" for one in likely if can_be_proposed(one)),
        _EXAMPLE,
    )


def with_likely_scheme(
    text: str, schemes: tuple[str, ...], diagnostics: LabelDiagnostics
) -> list[str]:
    """The texts with a scheme that `text`, which has none of `schemes`, was probably meant to be,
    the likeliest first.
    """
    name, mark, rest = text.partition("://")
    if mark and name.lower() in ("tls", "ssl") and "sni" in schemes:
        return [f"sni://{rest}"]
    if mark:
        meant = diagnostics.suggestions.nearest(name, schemes)
        return [f"{one}://{rest}" for one in (meant, schemes[0]) if one]
    for scheme in ("tcp", "udp"):
        if scheme in schemes and text.lower().startswith(f"{scheme}:"):
            return [f"{scheme}://:{text[len(scheme) :].lstrip(':/')}"]
    for scheme in ("https", "http", "sni"):
        if text.lower().startswith((f"{scheme}:", f"{scheme}/")):
            kept = (scheme,) if scheme in schemes else ("sni", "http")
            return [f"{one}://{text[len(scheme) :].lstrip(':/')}" for one in kept]
    return [f"{schemes[0]}://{text.removeprefix('//')}"]
