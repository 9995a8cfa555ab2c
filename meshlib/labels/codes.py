"""Kinds of diagnostics that HRM labels can cause; `docs/labels.md` has the same table.

HRM0xx: an error, the label gives no route. HRM1xx: a warning, something is ignored. HRM2xx: good to
know. A code never gets a new meaning.
"""

from __future__ import annotations

from meshlib.labels.diagnostics import DiagnosticKind
from meshlib.model import Severity

__all__ = [
    "BAD_COOKIE_NAME",
    "BAD_FLAG",
    "BAD_HOOKS",
    "BAD_HOST",
    "BAD_HSTS",
    "BAD_HTTPS",
    "BAD_INTERNAL_PORT",
    "BAD_LISTENING_PORT",
    "BAD_PATH",
    "BAD_PROXY_PROTOCOL",
    "BAD_REDIRECT_STATUS",
    "BAD_REDIRECT_URL",
    "BAD_SCHEME",
    "BAD_SERVER_NAME",
    "BAD_SHARE_WITH",
    "BAD_STRATEGY",
    "BAD_TIME_OUT",
    "BAD_UPSTREAM_PROTOCOL",
    "BAD_WILDCARD",
    "CATALOGUE",
    "DUPLICATE_ROUTE",
    "EMPTY_ELEMENT",
    "EMPTY_VALUE",
    "FORWARDED_FOR_ON_SNI",
    "HOOKS_UNREAD",
    "HSTS_ON_SNI",
    "HTTPS_ON_SNI",
    "HTTP_KEY_ON_PORT",
    "LABEL_KEY_SLIP",
    "LEGACY_FORM",
    "LENIENT_ON_SNI",
    "NOT_A_PAIR",
    "NO_EXTERNAL_ROUTE",
    "NO_PORT",
    "PORT_IGNORED",
    "PROXY_PROTOCOL_ON_UDP",
    "PUBLISHED_PORT",
    "QUOTED",
    "REDIRECT_LOOP",
    "REDIRECT_ON_PORT",
    "REDIRECT_ON_SNI",
    "REPEATED_KEY",
    "SECOND_STRATEGY",
    "SEVERAL_PORTS",
    "SHARE_WITH_ON_PORT",
    "SNI_ADDRESS",
    "SNI_PATH",
    "STATUS_WITHOUT_REDIRECT",
    "STICKY_ON_SNI",
    "TIME_OUT_ON_SNI",
    "TIME_OUT_ON_UDP",
    "TOO_LONG",
    "TOO_MANY_ELEMENTS",
    "TOO_MANY_LABELS",
    "TOO_MANY_PORTS",
    "TOO_MANY_ROUTES",
    "TOO_MUCH_TEXT",
    "UNKNOWN_KEY",
    "UNUSED_BESIDE_REDIRECT",
    "UPSTREAM_PROTOCOL_ON_SNI",
    "UPSTREAM_TLS_ON_SNI",
]

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO

NO_EXTERNAL_ROUTE = DiagnosticKind("HRM001", _ERROR, "the label has no `external_route`")
NOT_A_PAIR = DiagnosticKind("HRM002", _ERROR, "something between two commas is not `key=value`")
EMPTY_VALUE = DiagnosticKind("HRM003", _ERROR, "a key has no value")
BAD_SCHEME = DiagnosticKind(
    "HRM004",
    _ERROR,
    "`external_route` does not begin with `http://`, `sni://`, `tcp://` or `udp://`",
)
BAD_HOST = DiagnosticKind(
    "HRM005",
    _ERROR,
    "`external_route` has no host, one that is not a host name, or a port that is not a port",
)
BAD_WILDCARD = DiagnosticKind("HRM006", _ERROR, "a `*` is not the whole first label of the host")
BAD_PATH = DiagnosticKind(
    "HRM007",
    _ERROR,
    "the path in `external_route` is not a path prefix (query, `..`, `//`, `*`, spaces)",
)
SNI_PATH = DiagnosticKind("HRM008", _ERROR, "an `sni://` route has a path")
SNI_ADDRESS = DiagnosticKind("HRM009", _ERROR, "an `sni://` route names an IP address")
BAD_INTERNAL_PORT = DiagnosticKind(
    "HRM010", _ERROR, "`internal_port` is not a number from 1 to 65535"
)
NO_PORT = DiagnosticKind(
    "HRM011",
    _ERROR,
    "`internal_port` is missing and the service publishes no TCP port (`udp://`: UDP port)",
)
SEVERAL_PORTS = DiagnosticKind(
    "HRM012",
    _ERROR,
    "`internal_port` is missing and the service publishes several TCP ports (`udp://`: UDP ports)",
)
BAD_REDIRECT_URL = DiagnosticKind(
    "HRM013", _ERROR, "`redirect` is not an absolute `http://`, `https://` or `sni://` URL"
)
REDIRECT_ON_SNI = DiagnosticKind("HRM014", _ERROR, "an `sni://` route has a `redirect`")
REDIRECT_LOOP = DiagnosticKind("HRM015", _ERROR, "a `redirect` leads back to its own route")
BAD_REDIRECT_STATUS = DiagnosticKind(
    "HRM016", _ERROR, "`redirect_status` is not 301, 302, 307 or 308"
)
BAD_COOKIE_NAME = DiagnosticKind(
    "HRM017", _ERROR, "`sticky_sessions` is not a cookie name (RFC 6265 token)"
)
BAD_FLAG = DiagnosticKind(
    "HRM018", _ERROR, "`include_forwarded_for` or `lenient` is neither `true` nor `false`"
)
QUOTED = DiagnosticKind("HRM019", _ERROR, "a quotation mark is part of the value")
TOO_LONG = DiagnosticKind("HRM020", _ERROR, "the value is longer than 4096 characters")
TOO_MANY_ELEMENTS = DiagnosticKind("HRM021", _ERROR, "more than 100 pairs or routes in one label")
TOO_MANY_LABELS = DiagnosticKind(
    "HRM022",
    _ERROR,
    "the service has more routing labels than it may have (1000); the rest is not read",
)
BAD_LISTENING_PORT = DiagnosticKind(
    "HRM023", _ERROR, "a `tcp://` or `udp://` route is not `:PORT`, a number from 1 to 65535"
)
BAD_PROXY_PROTOCOL = DiagnosticKind("HRM024", _ERROR, "`proxy_protocol` is neither `v1` nor `v2`")
REDIRECT_ON_PORT = DiagnosticKind("HRM025", _ERROR, "a `tcp://` or `udp://` route has a `redirect`")
BAD_SERVER_NAME = DiagnosticKind(
    "HRM026", _ERROR, "`upstream_tls` is not a host name, or is combined with `proxy_protocol`"
)
BAD_HTTPS = DiagnosticKind(
    "HRM027",
    _ERROR,
    "`https` is not `require`, or the route does not have exactly one host",
)
BAD_HSTS = DiagnosticKind(
    "HRM028",
    _ERROR,
    "`hsts` is not a number of seconds, optionally with `;includeSubDomains` and `;preload`",
)
BAD_UPSTREAM_PROTOCOL = DiagnosticKind(
    "HRM029", _ERROR, "`upstream_protocol` is not `h2c`, or is combined with `upstream_tls`"
)
BAD_SHARE_WITH = DiagnosticKind(
    "HRM030", _ERROR, "`share_with` is not 1 to 32 names of owners or networks, separated by `;`"
)
BAD_TIME_OUT = DiagnosticKind(
    "HRM031",
    _ERROR,
    "`response_head`, `between_bytes` or `tunnel_idle` is not a number of seconds from 1 to 86400",
)
BAD_HOOKS = DiagnosticKind(
    "HRM032", _ERROR, "`hooks` is not 1 to 16 names of hooks, or its key is mistyped"
)
BAD_STRATEGY = DiagnosticKind("HRM033", _ERROR, "`strategy` is not the name of a known strategy")
HOOKS_UNREAD = DiagnosticKind(
    "HRM034",
    _ERROR,
    "`hooks` on a route whose requests nobody can read (`sni://`, `tcp://`, `udp://`)",
)
TOO_MUCH_TEXT = DiagnosticKind(
    "HRM040",
    _ERROR,
    "the service's routing labels have more characters than they may have; the rest is not read",
)
TOO_MANY_ROUTES = DiagnosticKind(
    "HRM041", _ERROR, "the service asks for more routes than it may have; the rest is left out"
)
TOO_MANY_PORTS = DiagnosticKind(
    "HRM042",
    _ERROR,
    "the service asks for more TCP and UDP ports than it may have; the rest is left out",
)

LABEL_KEY_SLIP = DiagnosticKind(
    "HRM101",
    _WARNING,
    "the label's key is almost, but not quite, a routing label's; the label is ignored",
)
UNKNOWN_KEY = DiagnosticKind("HRM102", _WARNING, "a key is unknown; ignored")
REPEATED_KEY = DiagnosticKind("HRM103", _WARNING, "a key occurs twice; the last one counts")
EMPTY_ELEMENT = DiagnosticKind("HRM104", _WARNING, "there is nothing between two commas; ignored")
PORT_IGNORED = DiagnosticKind(
    "HRM105", _WARNING, "`external_route` has a port; only the host is matched"
)
PUBLISHED_PORT = DiagnosticKind(
    "HRM106", _WARNING, "`internal_port` is the published port and not the one inside the container"
)
STICKY_ON_SNI = DiagnosticKind(
    "HRM107", _WARNING, "`sticky_sessions` on an `sni://` route; ignored"
)
FORWARDED_FOR_ON_SNI = DiagnosticKind(
    "HRM108", _WARNING, "`include_forwarded_for` on an `sni://` route; ignored"
)
DUPLICATE_ROUTE = DiagnosticKind(
    "HRM109",
    _WARNING,
    "two labels of a service ask for the same route; the first in order of their keys counts",
)
STATUS_WITHOUT_REDIRECT = DiagnosticKind(
    "HRM110", _WARNING, "`redirect_status` without `redirect`; ignored"
)
HTTP_KEY_ON_PORT = DiagnosticKind(
    "HRM111",
    _WARNING,
    "a key for HTTP only, on a `tcp://` or `udp://` route; ignored",
)
PROXY_PROTOCOL_ON_UDP = DiagnosticKind(
    "HRM112", _WARNING, "`proxy_protocol` on a `udp://` route; ignored"
)
UPSTREAM_TLS_ON_SNI = DiagnosticKind(
    "HRM113", _WARNING, "`upstream_tls` on an `sni://` route; ignored"
)
HTTPS_ON_SNI = DiagnosticKind("HRM114", _WARNING, "`https` on an `sni://` route; ignored")
HSTS_ON_SNI = DiagnosticKind("HRM115", _WARNING, "`hsts` on an `sni://` route; ignored")
UPSTREAM_PROTOCOL_ON_SNI = DiagnosticKind(
    "HRM116", _WARNING, "`upstream_protocol` on an `sni://` route; ignored"
)
SHARE_WITH_ON_PORT = DiagnosticKind(
    "HRM117", _WARNING, "`share_with` on a `tcp://` or `udp://` route; ignored"
)
LENIENT_ON_SNI = DiagnosticKind("HRM118", _WARNING, "`lenient` on an `sni://` route; ignored")
TIME_OUT_ON_SNI = DiagnosticKind(
    "HRM119", _WARNING, "`response_head` or `between_bytes` on an `sni://` route; ignored"
)
BLANK_HOST = DiagnosticKind(
    "HRM120", _WARNING, "`http://` or `sni://` without a host; taken for every host, as in HRM"
)
TIME_OUT_ON_UDP = DiagnosticKind("HRM121", _WARNING, "`tunnel_idle` on a `udp://` route; ignored")
SECOND_STRATEGY = DiagnosticKind(
    "HRM123", _WARNING, "two labels ask for different strategies at one port; the first one counts"
)

LEGACY_FORM = DiagnosticKind(
    "HRM201", _INFO, "the label has the form of UCP 2.0; its routes are made"
)
UNUSED_BESIDE_REDIRECT = DiagnosticKind(
    "HRM202", _INFO, "a key that a redirect has no use for; ignored"
)

CATALOGUE: tuple[DiagnosticKind, ...] = (
    NO_EXTERNAL_ROUTE,
    NOT_A_PAIR,
    EMPTY_VALUE,
    BAD_SCHEME,
    BAD_HOST,
    BAD_WILDCARD,
    BAD_PATH,
    SNI_PATH,
    SNI_ADDRESS,
    BAD_INTERNAL_PORT,
    NO_PORT,
    SEVERAL_PORTS,
    BAD_REDIRECT_URL,
    REDIRECT_ON_SNI,
    REDIRECT_LOOP,
    BAD_REDIRECT_STATUS,
    BAD_COOKIE_NAME,
    BAD_FLAG,
    QUOTED,
    TOO_LONG,
    TOO_MANY_ELEMENTS,
    TOO_MANY_LABELS,
    BAD_LISTENING_PORT,
    BAD_PROXY_PROTOCOL,
    REDIRECT_ON_PORT,
    BAD_SERVER_NAME,
    BAD_HTTPS,
    BAD_HSTS,
    BAD_UPSTREAM_PROTOCOL,
    BAD_SHARE_WITH,
    BAD_TIME_OUT,
    BAD_HOOKS,
    BAD_STRATEGY,
    HOOKS_UNREAD,
    TOO_MUCH_TEXT,
    TOO_MANY_ROUTES,
    TOO_MANY_PORTS,
    LABEL_KEY_SLIP,
    UNKNOWN_KEY,
    REPEATED_KEY,
    EMPTY_ELEMENT,
    PORT_IGNORED,
    PUBLISHED_PORT,
    STICKY_ON_SNI,
    FORWARDED_FOR_ON_SNI,
    DUPLICATE_ROUTE,
    STATUS_WITHOUT_REDIRECT,
    HTTP_KEY_ON_PORT,
    PROXY_PROTOCOL_ON_UDP,
    UPSTREAM_TLS_ON_SNI,
    HTTPS_ON_SNI,
    HSTS_ON_SNI,
    UPSTREAM_PROTOCOL_ON_SNI,
    SHARE_WITH_ON_PORT,
    LENIENT_ON_SNI,
    TIME_OUT_ON_SNI,
    BLANK_HOST,
    TIME_OUT_ON_UDP,
    SECOND_STRATEGY,
    LEGACY_FORM,
    UNUSED_BESIDE_REDIRECT,
)
