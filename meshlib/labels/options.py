"""Options of a label: a table with one row for each, and the reading of a label by it.

A new option is a row here, a field of `RouteOptions` (or of `Transport`, where it is about the
connections to endpoints; `strategy` is the upstream's), and one place in
`meshlib_adapters.proxy.exchange`. Whatever there is to say about a key comes from its row: which
kinds of routes have a use for it, which other keys it clashes with, the code of a wrong value and
its cure, and what an unknown key may have been meant to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from meshlib.labels import codes
from meshlib.labels.diagnostics import DiagnosticKind, LabelDiagnostics, show
from meshlib.labels.grammar import Pair
from meshlib.labels.values import (
    OptionValueError,
    read_cookie_name,
    read_flag,
    read_hooks,
    read_hsts,
    read_proxy_protocol,
    read_require,
    read_seconds,
    read_server_name,
    read_share_with,
    read_strategy,
    read_upstream_protocol,
)
from meshlib.model import HostPath, Match, Scheme, Severity
from meshlib.route_options import NO_OPTIONS, RouteOptions
from meshlib.upstream_key import PLAIN, Transport

__all__ = [
    "KEYS",
    "LISTED",
    "OPTIONS",
    "TIME_OUTS",
    "Option",
    "Unused",
    "is_one_host",
    "read_options",
    "report_beside_redirect",
    "route_options",
    "transport",
]


class Unused(NamedTuple):
    """Report that a kind of route has no use for an option.

    `reason` is the rest of "KEY is ignored: ...".
    """

    kind: DiagnosticKind
    reason: str
    cure: str = "leave it out"


@dataclass(frozen=True, slots=True)
class Option:
    """One option, a row of the table.

    `key` is its name in a label, `sets` the field of `RouteOptions`, `Transport` or `Upstream` that
    has its value. `read` turns the text of a value into that field's; a text that it refuses with
    `OptionValueError` is reported as `wrong`, with `cure` for a hint.

    `unused` are the kinds of routes that ignore it. `clashes` says by the key of an earlier row why
    the two exclude each other, and `one_host`, unless it is empty, why the route must have exactly
    one host; both are reported as `wrong`. `with_redirect`: it has a meaning beside `redirect`,
    where no endpoint is asked. `listed`: its value is a list of names, which may have commas
    between them as well as semicolons.
    """

    key: str
    sets: str
    read: Callable[[str], object]
    wrong: DiagnosticKind
    cure: str
    unused: Mapping[Scheme, Unused]
    clashes: Mapping[str, str] = field(default_factory=dict)
    one_host: str = ""
    with_redirect: bool = False
    listed: bool = False

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """The kinds of routes that have a use for it."""
        return tuple(scheme for scheme in Scheme if scheme not in self.unused)


def _on_ports(kind: DiagnosticKind, reason: str) -> dict[Scheme, Unused]:
    return {
        scheme: Unused(kind, reason.format(scheme.upper())) for scheme in (Scheme.TCP, Scheme.UDP)
    }


def _only_http(
    on_sni: DiagnosticKind, reason: str, cure: str = "leave it out"
) -> dict[Scheme, Unused]:
    unread = "what arrives at a {} port is passed on unread"
    return {
        Scheme.SNI: Unused(on_sni, reason, cure),
        **_on_ports(codes.HTTP_KEY_ON_PORT, unread),
    }


_UNSEEN: Final = "requests and responses are inside the TLS connection, which is not decrypted"
_TUNNEL: Final = "write tunnel_idle, which holds for the connection"


def _time_out(key: str, unused: Mapping[Scheme, Unused]) -> Option:
    cure = (
        f"write {key}=300, in seconds, a day (86400) at most; without it the gateway's "
        f"timeouts.{key} holds"
    )
    return Option(key, key, read_seconds, codes.BAD_TIME_OUT, cure, unused)


# In the order in which a label is checked: a clash is reported at the later of two rows.
OPTIONS: Final = (
    Option(
        "sticky_sessions",
        "sticky_cookie",
        read_cookie_name,
        codes.BAD_COOKIE_NAME,
        "write the name of a cookie that the application sets: sticky_sessions=SESSION",
        _only_http(
            codes.STICKY_ON_SNI,
            "the cookie is inside the TLS connection, which is not decrypted",
            "leave it out; a TLS session stays on one task anyway",
        ),
    ),
    Option(
        "include_forwarded_for",
        "forwarded_for",
        read_flag,
        codes.BAD_FLAG,
        "write include_forwarded_for=true, or leave it out",
        _only_http(
            codes.FORWARDED_FOR_ON_SNI,
            "nothing can be added to a TLS connection that is passed through",
        ),
    ),
    Option(
        "proxy_protocol",
        "proxy_protocol",
        read_proxy_protocol,
        codes.BAD_PROXY_PROTOCOL,
        "write proxy_protocol=v1 or proxy_protocol=v2, or leave it out",
        {
            Scheme.UDP: Unused(
                codes.PROXY_PROTOCOL_ON_UDP,
                "the PROXY protocol header begins a connection, and UDP has none",
            )
        },
    ),
    Option(
        "upstream_tls",
        "tls_name",
        read_server_name,
        codes.BAD_SERVER_NAME,
        "write the host name in the service's certificate: upstream_tls=shop.internal",
        _only_http(codes.UPSTREAM_TLS_ON_SNI, "the client's own TLS reaches the service"),
        clashes={"proxy_protocol": "a PROXY protocol header in front of TLS is not supported"},
    ),
    Option(
        "upstream_protocol",
        "protocol",
        read_upstream_protocol,
        codes.BAD_UPSTREAM_PROTOCOL,
        "write upstream_protocol=h2c for HTTP/2 without TLS, or leave it out for HTTP/1.1",
        _only_http(
            codes.UPSTREAM_PROTOCOL_ON_SNI,
            "whatever is inside the client's TLS reaches the service",
        ),
        clashes={"upstream_tls": "h2c is HTTP/2 without TLS"},
    ),
    Option(
        "lenient",
        "lenient",
        read_flag,
        codes.BAD_FLAG,
        "write lenient=true, or leave it out",
        _only_http(
            codes.LENIENT_ON_SNI,
            "the responses are inside the TLS connection, which is not decrypted",
        ),
    ),
    Option(
        "https",
        "https_only",
        read_require,
        codes.BAD_HTTPS,
        "write https=require, or leave it out",
        _only_http(codes.HTTPS_ON_SNI, "every connection to an sni:// route is TLS already"),
        one_host="a route for many hosts has no single host to redirect clients to",
    ),
    Option(
        "hsts",
        "hsts",
        read_hsts,
        codes.BAD_HSTS,
        "write for how many seconds browsers are to remember it: hsts=31536000 or "
        "hsts=31536000;includeSubDomains",
        _only_http(
            codes.HSTS_ON_SNI, "the responses are inside the TLS connection, which is not decrypted"
        ),
    ),
    Option(
        "share_with",
        "share_with",
        read_share_with,
        codes.BAD_SHARE_WITH,
        "write share_with=STACK, or several: share_with=blog;project:shop;network:edge",
        _on_ports(codes.SHARE_WITH_ON_PORT, "a {} port belongs to one service alone"),
        with_redirect=True,
    ),
    Option(
        "strategy",
        "strategy",
        read_strategy,
        codes.BAD_STRATEGY,
        "write strategy=least_connections, or leave it out",
        {},
    ),
    Option(
        "hooks",
        "hooks",
        read_hooks,
        codes.BAD_HOOKS,
        "write the names of hooks that the gateway has: hooks=auth,limit",
        {
            scheme: Unused(codes.HOOKS_UNREAD, reason, "leave it out, or write an http:// route")
            for scheme, reason in (
                (Scheme.SNI, _UNSEEN),
                (Scheme.TCP, "what arrives at a TCP port is passed on unread"),
                (Scheme.UDP, "what arrives at a UDP port is passed on unread"),
            )
        },
        listed=True,
    ),
    _time_out("response_head", _only_http(codes.TIME_OUT_ON_SNI, _UNSEEN, _TUNNEL)),
    _time_out("between_bytes", _only_http(codes.TIME_OUT_ON_SNI, _UNSEEN, _TUNNEL)),
    _time_out(
        "tunnel_idle",
        {
            Scheme.UDP: Unused(
                codes.TIME_OUT_ON_UDP, "datagrams have no tunnel, and flows a time-out of their own"
            )
        },
    ),
)

# Those named as the settings `timeouts.*` that they take the place of.
TIME_OUTS: Final = ("response_head", "between_bytes", "tunnel_idle")

# Those whose value is a list that commas may separate.
LISTED: Final = frozenset(option.key for option in OPTIONS if option.listed)

# Every key that a label may have. The first four say what the route matches and does.
KEYS: Final = (
    "external_route",
    "internal_port",
    "redirect",
    "redirect_status",
    *(option.key for option in OPTIONS),
)


def read_options(
    pairs: Mapping[str, Pair], match: Match | None, diagnostics: LabelDiagnostics
) -> tuple[RouteOptions, Transport, str]:
    """The options, the transport and the strategy ("": none) that the pairs of a label ask for,
    without those that are wrong or ignored.

    `match` None: the label has a wrong one. Then options are checked as those of an HTTP route, so
    that everything that is wrong is reported at once.
    """
    values: dict[str, object] = {}
    for option in OPTIONS:
        pair = pairs.get(option.key)
        if pair is None:
            continue
        if "redirect" in pairs and not option.with_redirect:
            report_beside_redirect(pair, diagnostics)
        else:
            _read_option(option, pair, match, values, diagnostics)
    return route_options(values), transport(values), str(values.get("strategy", ""))


def _read_option(
    option: Option,
    pair: Pair,
    match: Match | None,
    values: dict[str, object],
    diagnostics: LabelDiagnostics,
) -> None:
    unused = option.unused.get(match.scheme if match is not None else Scheme.HTTP)
    if unused is not None:
        harm = "is ignored" if unused.kind.severity is not Severity.ERROR else "cannot be"
        message = f"{option.key} {harm}: {unused.reason}"
        diagnostics.add(unused.kind, message, unused.cure, column=pair.name.column)
        return
    text = pair.value.text
    try:
        value = option.read(text)
    except OptionValueError as error:
        message = f"{option.key} is {show(text)}: {error}"
        column = pair.value.column + error.position
        diagnostics.add(option.wrong, message, option.cure, column=column)
        return
    for other in OPTIONS if option.clashes else ():
        if other.key in option.clashes and values.get(other.sets):
            message = (
                f"{option.key} and {other.key} exclude each other: {option.clashes[other.key]}"
            )
            column = pair.name.column
            diagnostics.add(option.wrong, message, "leave one of them out", column=column)
            return
    if option.one_host and match is not None and not is_one_host(match):
        hint = f"give each host a label of its own, or leave {option.key} out"
        diagnostics.add(option.wrong, option.one_host, hint, column=pair.name.column)
        return
    values[option.sets] = value


def is_one_host(match: Match) -> bool:
    """Whether it matches HTTP requests for exactly one host."""
    return isinstance(match, HostPath) and match.host != "" and not match.host.startswith("*")


def report_beside_redirect(pair: Pair, diagnostics: LabelDiagnostics) -> None:
    """Report a key that a redirect has no use for."""
    key = pair.name.text
    message = f"{key} is ignored: the gateway redirects by itself and asks no endpoint"
    hint = f"leave {key} out"
    diagnostics.add(codes.UNUSED_BESIDE_REDIRECT, message, hint, column=pair.name.column)


def route_options(values: Mapping[str, Any]) -> RouteOptions:
    """The values by field, of which those of `Transport` are left aside, as options of a route."""
    own = {name: values[name] for name in _ROUTE_FIELDS if name in values}
    return RouteOptions(**own) if own else NO_OPTIONS


def transport(values: Mapping[str, Any]) -> Transport:
    """The values by field, of which those of `RouteOptions` are left aside, as a transport."""
    own = {name: values[name] for name in _TRANSPORT_FIELDS if name in values}
    return Transport(**own) if own else PLAIN


_ROUTE_FIELDS: Final = tuple(one.name for one in fields(RouteOptions))
_TRANSPORT_FIELDS: Final = tuple(one.name for one in fields(Transport))
