"""The values of HRM's keys: each function takes one value and gives what it means, or reports and
gives None.

This module knows the keys one by one; how they go together is `meshlib.labels.hrm`'s.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from meshlib.authority import Authority, is_ip_address, normalize_host, parse_authority, parse_port
from meshlib.errors import AuthorityError, PathError
from meshlib.labels import codes
from meshlib.labels.diagnostics import LabelDiagnostics, show
from meshlib.labels.grammar import Part
from meshlib.model import Scheme
from meshlib.patterns import parse_host_pattern, parse_path_prefix

__all__ = [
    "ExternalRoute",
    "RedirectTarget",
    "parse_cookie_name",
    "parse_external_route",
    "parse_flag",
    "parse_hsts",
    "parse_internal_port",
    "parse_proxy_protocol",
    "parse_redirect",
    "parse_redirect_status",
    "parse_server_name",
    "parse_share_with",
]

# Up to 31 years; browsers cap it at one or two.
_HSTS_SECONDS = re.compile(r"[0-9]{1,9}")
_HSTS_DIRECTIVES = {"includesubdomains": "includeSubDomains", "preload": "preload"}
_NOT_TOKEN = re.compile(
    r"[^!#$%&'*+.^_`|~0-9A-Za-z-]"
)  # RFC 9110 5.6.2, which RFC 6265 4.1.1 uses for cookie names
# What may follow the host of a URL (RFC 3986 3.3 to 3.5); it goes into a Location field as it is.
_NOT_URL = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/?#%-]|%(?![0-9A-Fa-f]{2})")
_AUTHORITY_END = re.compile(r"[/?#]")
_ROUTES = ("http", "sni", "tcp", "udp")
# Names of stacks, projects, services, containers and networks, as Docker takes them.
_GRANT = re.compile(
    r"(?:(?:stack|project|service|container|network):)?[A-Za-z0-9][A-Za-z0-9_.-]{0,252}"
)
_MAX_GRANTS = 32
_STATUSES = ("301", "302", "307", "308")


class ExternalRoute(NamedTuple):
    """What `external_route` matches, in normal form."""

    scheme: Scheme
    host: str
    path: str
    port: int | None = None

    def __str__(self) -> str:
        if self.port is not None:
            return f"{self.scheme}://:{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{self.path if self.path != '/' else ''}"


class RedirectTarget(NamedTuple):
    """Where `redirect` leads: `url` is rendered; `path` is its path in normal form, None when it
    has none of its own.
    """

    url: str
    scheme: str
    authority: Authority
    path: str | None

    def leads_to(self, route: ExternalRoute) -> bool:
        """Whether a client that follows it surely comes back to `route`."""
        if (self.scheme, self.authority.host) != (
            route.scheme,
            route.host,
        ) or self.authority.port not in (None, 80):
            return False
        return self.path is None or self.path == route.path


def parse_external_route(value: Part, diagnostics: LabelDiagnostics) -> ExternalRoute | None:
    """`http://HOST[/PATH]`, `sni://HOST`, `tcp://:PORT` or `udp://:PORT`; a host may be blank or
    begin with "*.".
    """
    name, mark, rest = value.text.partition("://")
    if not mark or name.lower() not in _ROUTES:
        diagnostics.add(
            codes.BAD_SCHEME,
            f"external_route is {show(value.text)}; it begins with http://, sni://, tcp:// or udp://",
            _scheme_hint("external_route", value.text, _ROUTES, diagnostics),
            column=value.column,
        )
        return None
    scheme = Scheme(name.lower())
    if scheme in (Scheme.TCP, Scheme.UDP):
        return _parse_port_route(scheme, Part(rest, value.column + len(name) + 3), diagnostics)
    authority, tail = _split_authority(rest)
    column = value.column + len(name) + 3
    host = _parse_route_host(scheme, Part(authority, column), diagnostics)
    path = _parse_route_path(scheme, authority, Part(tail, column + len(authority)), diagnostics)
    return None if host is None or path is None else ExternalRoute(scheme, host, path)


def _parse_port_route(
    scheme: Scheme, part: Part, diagnostics: LabelDiagnostics
) -> ExternalRoute | None:
    host, colon, number = part.text.removesuffix("/").rpartition(":")
    digits = number if number.isascii() and number.isdigit() else ""
    if host or not colon:
        # A host here would look like a restriction, and nothing could keep to it.
        message = (
            f"{scheme}:// is followed by {show(part.text)}: there is no name in what comes to a "
            f"{scheme.upper()} port, only the port"
        )
        hint = f"write {scheme}://:{digits[:5] or 'PORT'}, the port that clients connect to"
        diagnostics.add(codes.BAD_LISTENING_PORT, message, hint, column=part.column)
        return None
    try:
        return ExternalRoute(scheme, "", "/", parse_port(number))
    except AuthorityError as error:
        message = f"the port in {scheme}://{show(part.text)}: {error}"
        diagnostics.add(
            codes.BAD_LISTENING_PORT,
            message,
            f"write {scheme}://:PORT, 1 to 65535",
            column=part.column + 1,
        )
        return None


def _split_authority(rest: str) -> tuple[str, str]:
    end = _AUTHORITY_END.search(rest)
    return (rest[: end.start()], rest[end.start() :]) if end else (rest, "")


def _parse_route_host(scheme: Scheme, part: Part, diagnostics: LabelDiagnostics) -> str | None:
    if not part.text:
        return ""
    try:
        host, port_at = _host_and_port(part.text)
    except AuthorityError as error:
        kind = codes.BAD_WILDCARD if error.reason == "bad_wildcard" else codes.BAD_HOST
        hint = _host_hint(scheme, part.text, error)
        diagnostics.add(
            kind,
            f"the host is {show(part.text)}: {error}",
            hint,
            column=part.column + error.position,
        )
        return None
    if scheme is Scheme.SNI and is_ip_address(host):
        diagnostics.add(
            codes.SNI_ADDRESS,
            f"a TLS server name is never an IP address ({host})",
            (
                "write the name that clients connect to, or sni:// for every TLS connection "
                "without another route"
            ),
            column=part.column,
        )
        return None
    if port_at:
        diagnostics.add(
            codes.PORT_IGNORED,
            "the port is not part of the match: clients reach the gateway on its own ports",
            (
                f"write {scheme}://{part.text[: port_at - 1]}; "
                "the container's port goes into internal_port"
            ),
            column=part.column + port_at,
        )
    return host


def _host_and_port(text: str) -> tuple[str, int]:
    """Host pattern, and where the port begins (0: there is none)."""
    if "*" in text:
        name, _, port = text.partition(":")
        pattern = parse_host_pattern(name)
        if not port:
            return pattern, 0
        parse_port(port, position=len(name) + 1)
        return pattern, len(name) + 1
    host, number = parse_authority(text)
    return host, text.rindex(":") + 1 if number is not None else 0


def _host_hint(scheme: Scheme, text: str, error: AuthorityError) -> str:
    character = text[error.position : error.position + 1]
    if error.reason == "bad_wildcard":
        return (
            f"write {scheme}://*.example.com for every name below example.com, "
            f"{scheme}:// for every host"
        )
    if error.reason == "bad_port":
        return (
            f"write {scheme}://{text.rpartition(':')[0]}; "
            "the container's port goes into internal_port"
        )
    if character and character in "; \t\r\n":
        return "separate the pairs with commas: external_route=...,internal_port=..."
    if character and character in "${}%":
        return "a variable was not replaced; put its value here"
    return f"write {scheme}://shop.example.com"


def _parse_route_path(
    scheme: Scheme, authority: str, part: Part, diagnostics: LabelDiagnostics
) -> str | None:
    if part.text in ("", "/"):
        return "/"
    if scheme is Scheme.SNI:
        hint = f"write sni://{authority}, or route http:// by path"
        diagnostics.add(
            codes.SNI_PATH,
            "the path is inside the TLS connection, which is not opened",
            hint,
            column=part.column,
        )
        return None
    try:
        return parse_path_prefix(part.text)
    except PathError as error:
        character = part.text[error.position]
        hint = "write a path such as /api; it matches /api and everything below"
        if character in "?#":
            hint = f"leave out what begins with {character}: routes match host and path only"
        elif character in "; \t\r\n":
            hint = "separate the pairs with commas: external_route=...,internal_port=..."
        message = f"the path is {show(part.text)}: {error}"
        diagnostics.add(codes.BAD_PATH, message, hint, column=part.column + error.position)
        return None


def parse_redirect(value: Part, diagnostics: LabelDiagnostics) -> RedirectTarget | None:
    """`http://`, `https://` or `sni://` URL (the last is rendered as https); "/" alone counts as no
    path of its own.
    """
    name, mark, rest = value.text.partition("://")
    scheme = name.lower()
    if not mark or scheme not in ("http", "https", "sni"):
        hint = _scheme_hint("redirect", value.text, ("https", "http", "sni"), diagnostics)
        message = f"redirect is {show(value.text)}; it is a whole URL"
        diagnostics.add(codes.BAD_REDIRECT_URL, message, hint, column=value.column)
        return None
    host_text, tail = _split_authority(rest)
    column = value.column + len(name) + 3
    try:
        authority = parse_authority(host_text)
    except AuthorityError as error:
        hint = "write the host to go to: redirect=https://shop.example.com"
        diagnostics.add(
            codes.BAD_REDIRECT_URL,
            f"redirect to {show(value.text)}: {error}",
            hint,
            column=column + error.position,
        )
        return None
    bad = _NOT_URL.search(tail)
    if bad:
        message = f"the character {show(bad.group())} cannot be in a URL"
        hint = "percent-encode it (a space is %20)"
        diagnostics.add(
            codes.BAD_REDIRECT_URL, message, hint, column=column + len(host_text) + bad.start()
        )
        return None
    scheme = "https" if scheme == "sni" else scheme
    if tail in ("", "/"):
        return RedirectTarget(f"{scheme}://{authority}", scheme, authority, None)
    tail = tail if tail.startswith("/") else f"/{tail}"
    return RedirectTarget(
        f"{scheme}://{authority}{tail}", scheme, authority, _comparable_path(tail)
    )


def _comparable_path(tail: str) -> str:
    path = tail.partition("#")[0].partition("?")[0]
    try:
        return parse_path_prefix(path)
    except PathError:
        return path  # equal to no route's path, whose form is normal


def _scheme_hint(
    key: str, text: str, schemes: tuple[str, ...], diagnostics: LabelDiagnostics
) -> str:
    name, mark, rest = text.partition("://")
    if mark:
        if name.lower() == "https":
            return f"write {key}=sni://{rest} to pass TLS through to the service, or {key}=http://{rest}"
        meant = diagnostics.suggestions.nearest(name, schemes)
        return (
            f"did you mean {key}={meant}://{rest}?"
            if meant
            else f"write {key}={schemes[0]}://{rest}"
        )
    for scheme in ("tcp", "udp"):
        if scheme in schemes and text.lower().startswith(f"{scheme}:"):
            return f"did you mean {key}={scheme}://:{text[len(scheme) :].lstrip(':/')}?"
    for scheme in ("https", "http", "sni"):
        if text.lower().startswith((f"{scheme}:", f"{scheme}/")):
            return f"did you mean {key}={scheme}://{text[len(scheme) :].lstrip(':/')}?"
    return f"write {key}={schemes[0]}://{text}"


def parse_internal_port(value: Part, diagnostics: LabelDiagnostics) -> int | None:
    """A port inside the container, 1-65535."""
    try:
        return parse_port(value.text)
    except AuthorityError as error:
        number = value.text.partition("/")[0].rpartition(":")[2]
        hint = "write the port that the container listens on, for example internal_port=8080"
        if number != value.text and number.isascii() and number.isdigit():
            hint = f"write the container's port only: internal_port={number[:5]}"
        diagnostics.add(
            codes.BAD_INTERNAL_PORT,
            f"internal_port is {show(value.text)}: {error}",
            hint,
            column=value.column,
        )
        return None


def parse_cookie_name(value: Part, diagnostics: LabelDiagnostics) -> str | None:
    """The name of a cookie that the application sets (RFC 6265 token)."""
    bad = _NOT_TOKEN.search(value.text)
    if not bad:
        return value.text
    message = f"the character {show(bad.group())} cannot be in the name of a cookie"
    hint = (
        "write the name of the cookie that the application sets, "
        "for example sticky_sessions=SESSION"
    )
    diagnostics.add(codes.BAD_COOKIE_NAME, message, hint, column=value.column + bad.start())
    return None


def parse_proxy_protocol(value: Part, diagnostics: LabelDiagnostics) -> Literal["", "v1", "v2"]:
    """`v1` or `v2`; "" when it is neither."""
    text = value.text.lower()
    if text == "v1":
        return "v1"
    if text == "v2":
        return "v2"
    diagnostics.add(
        codes.BAD_PROXY_PROTOCOL,
        f"proxy_protocol is {show(value.text)}",
        "write v1 or v2, or leave it out",
        column=value.column,
    )
    return ""


def parse_server_name(value: Part, diagnostics: LabelDiagnostics) -> str:
    """The name in an endpoint's certificate, in normal form; "" when it is none."""
    try:
        name = normalize_host(value.text)
        if not is_ip_address(name):
            return name
        wrong = "an address"
    except AuthorityError as error:
        wrong = str(error)
    message = f"upstream_tls is {show(value.text)}: {wrong}"
    diagnostics.add(
        codes.BAD_SERVER_NAME,
        message,
        "write the host name in the service's certificate",
        column=value.column,
    )
    return ""


def parse_hsts(value: Part, diagnostics: LabelDiagnostics) -> str:
    """The value of Strict-Transport-Security (RFC 6797 6.1): seconds, then directives behind
    semicolons; "" when it is none.
    """
    seconds, *asked = [word.strip() for word in value.text.split(";")]
    wanted = {word.lower() for word in asked}
    if (
        _HSTS_SECONDS.fullmatch(seconds)
        and wanted <= _HSTS_DIRECTIVES.keys()
        and len(wanted) == len(asked)
    ):
        return "; ".join(
            [
                f"max-age={int(seconds)}",
                *(text for word, text in _HSTS_DIRECTIVES.items() if word in wanted),
            ]
        )
    hint = (
        "write the seconds that browsers shall remember it, hsts=31536000, "
        "or hsts=31536000;includeSubDomains"
    )
    diagnostics.add(codes.BAD_HSTS, f"hsts is {show(value.text)}", hint, column=value.column)
    return ""


def parse_flag(value: Part, diagnostics: LabelDiagnostics) -> bool | None:
    """`true` or `false`, in any case."""
    text = value.text.lower()
    if text in ("true", "false"):
        return text == "true"
    hint = "write include_forwarded_for=true, or leave it out"
    diagnostics.add(
        codes.BAD_FLAG, f"include_forwarded_for is {show(value.text)}", hint, column=value.column
    )
    return None


def parse_redirect_status(value: Part, diagnostics: LabelDiagnostics) -> int | None:
    """301, 302, 307 or 308."""
    if value.text in _STATUSES:
        return int(value.text)
    hint = "write 301 or 302, or 308 or 307 to keep the method of the request"
    diagnostics.add(
        codes.BAD_REDIRECT_STATUS,
        f"redirect_status is {show(value.text)}",
        hint,
        column=value.column,
    )
    return None


def parse_share_with(value: Part, diagnostics: LabelDiagnostics) -> tuple[str, ...]:
    """`NAME[;NAME...]`: stacks or Compose projects, or "stack:", "project:", "service:",
    "container:", "network:" and a name; sorted.
    """
    names = [name.strip() for name in value.text.split(";") if name.strip()]
    wrong = next((name for name in names if not _GRANT.fullmatch(name)), None)
    if wrong is None and 0 < len(names) <= _MAX_GRANTS:
        return tuple(sorted(set(names)))
    what = (
        f"{show(wrong)} is no name"
        if wrong is not None
        else f"there are {len(names)} names, not 1 to {_MAX_GRANTS}"
    )
    hint = "write share_with=STACK, or several: share_with=blog;project:shop;network:edge"
    diagnostics.add(codes.BAD_SHARE_WITH, f"share_with: {what}", hint, column=value.column)
    return ()
