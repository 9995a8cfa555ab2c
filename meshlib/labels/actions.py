"""The action that a label gives its route: forward to a port of the container (`internal_port`), or
redirect (`redirect`, `redirect_status`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from meshlib.authority import Authority, parse_authority, parse_port
from meshlib.errors import AuthorityError, PathError
from meshlib.labels import codes
from meshlib.labels.diagnostics import LabelDiagnostics, show
from meshlib.labels.grammar import Pair, Part
from meshlib.labels.matches import with_likely_scheme, written
from meshlib.labels.options import is_one_host, report_beside_redirect
from meshlib.labels.proposals import split_authority
from meshlib.labels.result import PublishedPort
from meshlib.labels.slips import redirect_hint
from meshlib.model import HostPath, Match, RedirectRule, Scheme
from meshlib.patterns import parse_path_prefix

__all__ = [
    "REDIRECT_STATUSES",
    "RedirectTarget",
    "ServicePorts",
    "choose_port",
    "parse_redirect",
    "read_action",
    "service_ports",
]

REDIRECT_STATUSES: Final = (301, 302, 307, 308)

_SCHEMES: Final = ("https", "http", "sni")
# What may follow the host of a URL (RFC 3986 3.3 to 3.5); it goes into a Location field as it is.
_NOT_URL: Final = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/?#%-]|%(?![0-9A-Fa-f]{2})")
_SHOWN: Final = 10  # ports named in a message


class ServicePorts(NamedTuple):
    """The ports of one protocol that a service publishes.

    `targets` are those inside the container, in order; `published` maps a published port to its
    target where the number is not itself a target.
    """

    targets: tuple[int, ...]
    published: Mapping[int, int]


class RedirectTarget(NamedTuple):
    """The target of `redirect`: `url` is rendered; `path` is its path in normal form, None when it
    has none of its own.
    """

    url: str
    scheme: str
    authority: Authority
    path: str | None

    def leads_to(self, match: HostPath) -> bool:
        """Whether a client that follows it certainly comes back to the route of `match`."""
        return (
            (self.scheme, self.authority.host) == ("http", match.host)
            and self.authority.port in (None, 80)
            and self.path in (None, match.path)
        )


def service_ports(ports: Sequence[PublishedPort]) -> Mapping[str, ServicePorts]:
    """The published ports by protocol, "tcp" and "udp"."""
    return {protocol: _of_protocol(ports, protocol) for protocol in ("tcp", "udp")}


def _of_protocol(ports: Sequence[PublishedPort], protocol: str) -> ServicePorts:
    own = [port for port in ports if port.protocol.lower() == protocol]
    targets = sorted({port.target for port in own})
    pairs = sorted(
        ((port.published, port.target) for port in own if port.published is not None), reverse=True
    )
    return ServicePorts(
        tuple(targets),
        {published: target for published, target in pairs if published not in targets},
    )


def read_action(
    pairs: Mapping[str, Pair],
    match: Match | None,
    ports: Mapping[str, ServicePorts],
    diagnostics: LabelDiagnostics,
) -> int | RedirectRule | None:
    """The port that the pairs of a label forward to, or the redirect that they ask for; None when
    they are wrong, which is reported.

    `match` None: the label has a wrong one.
    """
    number, redirect = pairs.get("internal_port"), pairs.get("redirect")
    status = pairs.get("redirect_status")
    if redirect is not None:
        rule = _read_redirect(redirect, status, match, diagnostics)
        if number is not None:
            report_beside_redirect(number, diagnostics)
        return rule
    if status is not None:
        message = "redirect_status is ignored: the label has no redirect"
        hint = "add redirect=URL, or leave redirect_status out"
        diagnostics.add(codes.STATUS_WITHOUT_REDIRECT, message, hint, column=status.name.column)
    return choose_port(number.value if number else None, match, ports, diagnostics)


def choose_port(
    given: Part | None,
    match: Match | None,
    ports: Mapping[str, ServicePorts],
    diagnostics: LabelDiagnostics,
) -> int | None:
    """The port inside the container: `given`, else the only one that the service publishes, of the
    protocol that `match` needs; None when there is none, or several, which is reported.
    """
    protocol = "udp" if match is not None and match.scheme is Scheme.UDP else "tcp"
    targets, published = ports[protocol]
    if given is not None:
        port = _parse_internal_port(given, diagnostics)
        if port is not None and port in published:
            target = published[port]
            message = f"{port} is the published port; inside the container it is {target}"
            hint = f"write internal_port={target}"
            diagnostics.add(codes.PUBLISHED_PORT, message, hint, column=given.column)
        return port
    if len(targets) == 1:
        return targets[0]
    if not targets:
        message = (
            f"internal_port is missing, and the service publishes no {protocol.upper()} port to "
            "use instead"
        )
        hint = "add internal_port=PORT, the port that the container listens on"
        diagnostics.add(codes.NO_PORT, message, hint)
        return None
    names = [str(target) for target in targets[:_SHOWN]]
    more = ", ..." if len(targets) > _SHOWN else ""
    message = (
        f"internal_port is missing, and the service publishes several: {', '.join(names)}{more}"
    )
    hint = "add " + " or ".join(f"internal_port={name}" for name in names[:3])
    diagnostics.add(codes.SEVERAL_PORTS, message, hint)
    return None


def _parse_internal_port(value: Part, diagnostics: LabelDiagnostics) -> int | None:
    try:
        return parse_port(value.text)
    except AuthorityError as error:
        hint = "write the port that the container listens on, for example internal_port=8080"
        try:
            inside = parse_port(value.text.strip("\"'").partition("/")[0].rpartition(":")[2])
            hint = f"write the container's port only: internal_port={inside}"
        except AuthorityError:
            pass  # nothing in it is a port
        message = f"internal_port is {show(value.text)}: {error}"
        diagnostics.add(codes.BAD_INTERNAL_PORT, message, hint, column=value.column)
        return None


def _read_redirect(
    pair: Pair, status: Pair | None, match: Match | None, diagnostics: LabelDiagnostics
) -> RedirectRule | None:
    own = match.host if isinstance(match, HostPath) and is_one_host(match) else ""
    target = parse_redirect(pair.value, diagnostics, own)
    number = _parse_status(status.value, diagnostics) if status else 301
    if target is None or number is None or match is None:
        return None
    if not isinstance(match, HostPath):
        _report_redirect_on(match, pair, diagnostics)
        return None
    if target.leads_to(match):
        message = "the redirect leads back to its own route, so clients would go in circles"
        hint = "redirect to another host, path or scheme"
        diagnostics.add(codes.REDIRECT_LOOP, message, hint, column=pair.value.column)
        return None
    return RedirectRule(target.url, number, keep_path=target.path is None)


def _report_redirect_on(match: Match, pair: Pair, diagnostics: LabelDiagnostics) -> None:
    if match.scheme is Scheme.SNI:
        instead = written(match).replace("sni", "http", 1)
        message = "a TLS connection that is passed through cannot be redirected"
        hint = f"redirect from external_route={instead}, or leave redirect out"
        diagnostics.add(codes.REDIRECT_ON_SNI, message, hint, column=pair.name.column)
        return
    message = f"what arrives at a {match.scheme.upper()} port cannot be redirected"
    hint = "leave redirect out, or redirect from external_route=http://HOST"
    diagnostics.add(codes.REDIRECT_ON_PORT, message, hint, column=pair.name.column)


def _parse_status(value: Part, diagnostics: LabelDiagnostics) -> int | None:
    if value.text in map(str, REDIRECT_STATUSES):
        return int(value.text)
    message = f"redirect_status is {show(value.text)}"
    hint = "write 301 or 302, or 308 or 307 to keep the method of the request"
    diagnostics.add(codes.BAD_REDIRECT_STATUS, message, hint, column=value.column)
    return None


def parse_redirect(
    value: Part, diagnostics: LabelDiagnostics, own: str = ""
) -> RedirectTarget | None:
    """The target of an `http://`, `https://` or `sni://` URL, the last rendered as https; None when
    the value is wrong, which is reported. "/" alone counts as no path of its own. `own` is the one
    host of the route, for hints.
    """
    name, mark, rest = value.text.partition("://")
    scheme = name.lower()
    if not mark or scheme not in _SCHEMES:
        message = f"redirect is {show(value.text)}; it must be a whole URL"
        hint = redirect_hint(value.text, own) or _url_hint(value.text, diagnostics)
        diagnostics.add(codes.BAD_REDIRECT_URL, message, hint, column=value.column)
        return None
    host_text, tail = split_authority(rest)
    column = value.column + len(name) + 3
    try:
        authority = parse_authority(host_text)
    except AuthorityError as error:
        message = f"redirect is {show(value.text)}: {error}"
        example = "write the host to go to: redirect=https://shop.example.com"
        hint = redirect_hint(value.text, own) or example
        column += error.position
        diagnostics.add(codes.BAD_REDIRECT_URL, message, hint, column=column)
        return None
    bad = _NOT_URL.search(tail)
    if bad:
        message = (
            f"redirect is {show(value.text)}: the character {show(bad.group())} cannot be in a URL"
        )
        hint = "percent-encode it (a space is %20)"
        column += len(host_text) + bad.start()
        diagnostics.add(codes.BAD_REDIRECT_URL, message, hint, column=column)
        return None
    scheme = "https" if scheme == "sni" else scheme
    if tail in ("", "/"):
        return RedirectTarget(f"{scheme}://{authority}", scheme, authority, None)
    tail = tail if tail.startswith("/") else f"/{tail}"
    url = f"{scheme}://{authority}{tail}"
    return RedirectTarget(url, scheme, authority, _comparable_path(tail))


def _comparable_path(tail: str) -> str:
    path = tail.partition("#")[0].partition("?")[0]
    try:
        return parse_path_prefix(path)
    except PathError:
        return path  # equal to no route's path, whose form is normal


def _url_hint(text: str, diagnostics: LabelDiagnostics) -> str:
    for meant in with_likely_scheme(text, _SCHEMES, diagnostics):
        host, tail = split_authority(meant.partition("://")[2])
        try:
            parse_authority(host)
        except AuthorityError:
            continue
        if meant.isprintable() and not _NOT_URL.search(tail):
            return f"did you mean redirect={meant}?"
    return "write redirect=https://shop.example.com"
