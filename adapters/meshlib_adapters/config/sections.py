"""The sections of the gateway's settings: each setting with its default, its reader and its
meaning, declared once.

Data only; `settings` says where values come from and what they become.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from meshlib.discovery.limits import DiscoveryLimits
from meshlib.labels.hrm import LABEL
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.readers import (
    Address,
    Network,
    OwnerGrants,
    PortRange,
    read_addresses,
    read_answer_size,
    read_bool,
    read_choice,
    read_duration,
    read_integer,
    read_ip,
    read_names,
    read_networks,
    read_owners,
    read_ports,
    read_pseudonym,
    read_share,
    read_size,
    read_text,
    read_variables,
)

__all__ = [
    "ComposeSettings",
    "DiscoverySettings",
    "ForwardingSettings",
    "HTTP2LimitSettings",
    "LimitSettings",
    "LogSettings",
    "PortsSettings",
    "RoutingSettings",
    "TLSTerminationSettings",
    "TimeoutSettings",
    "setting",
]

T = TypeVar("T")


def setting(default: T, read: Callable[[object], T], about: str) -> T:
    """A dataclass field of this default, with what reads its raw value (`ValueError` for a wrong
    one) and what it means.
    """
    # The declared type is the value's, as `dataclasses.field` itself does it.
    result: T = field(default=default, metadata={"read": read, "about": about})
    return result


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    unmatched_status: int = setting(
        404, read_integer(400, 599), "status for a host that nobody asked for (HRM: 503)"
    )
    retry_after: int = setting(
        1, read_integer(1, 86400), "seconds in Retry-After when no task can serve"
    )
    sharing: str = setting(
        "owner",
        read_choice("owner", "paths", "merge"),
        "what others may have of a host: nothing ('owner'), 'paths' its owner does not ask for, or all that HRM gave ('merge')",
    )
    owners: tuple[OwnerGrants, ...] = setting(
        (),
        read_owners,
        "hosts (*.HOST, * for all others), ports, and who alone may have them: stack:, project:, service:, container:, network:",
    )
    keep_owners: float = setting(
        7 * 86400.0,
        read_duration,
        "a name that nobody asks for is kept for its owner so long; 0: not at all",
    )


_DISCOVERY = DiscoveryLimits()  # the core's own defaults, and its reasons for them
_COUNT = read_integer(1, 10**9)


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    network_label: str = setting(
        LABEL, read_text, "label of the networks whose services are routed; 'any' for every network"
    )
    networks: tuple[str, ...] = setting(
        (), read_names, "names of further networks whose services are routed"
    )
    gateway_networks: tuple[str, ...] = setting(
        (),
        read_names,
        "names or ids of the networks that the gateway is on, else found by itself; 'any': not checked",
    )
    use_vip: bool = setting(
        False, read_bool, "ask a Swarm service's virtual address instead of its tasks"
    )
    answer_size: int = setting(
        64 * 1024 * 1024,
        read_answer_size,
        "bytes of one list of an engine's that are read; a longer one is not",
    )
    max_routes: int = setting(_DISCOVERY.routes, _COUNT, "routes of all services together")
    max_routes_per_service: int = setting(
        _DISCOVERY.labels.routes, _COUNT, "... and of one, published ports included"
    )
    max_ports_per_service: int = setting(
        _DISCOVERY.labels.ports,
        read_integer(1, 65535),
        "TCP and UDP ports that one service may have, by label or published",
    )
    max_labels_per_service: int = setting(
        _DISCOVERY.labels.labels, _COUNT, "routing labels of one service that are read"
    )
    max_label_text: int = setting(
        _DISCOVERY.label_text,
        _COUNT,
        "characters in the routing labels of all services of a provider",
    )
    max_label_text_per_service: int = setting(
        _DISCOVERY.labels.characters, _COUNT, "... and of one"
    )
    max_endpoints_per_service: int = setting(
        _DISCOVERY.endpoints, _COUNT, "endpoints of one service, over all its ports"
    )
    max_names_per_service: int = setting(
        _DISCOVERY.names, _COUNT, "names and aliases of one service that are answered"
    )
    max_diagnostics: int = setting(
        _DISCOVERY.diagnostics, _COUNT, "diagnostics kept of all services together"
    )
    max_diagnostics_per_service: int = setting(
        _DISCOVERY.labels.diagnostics, _COUNT, "... and of one"
    )
    max_suggestions_per_service: int = setting(
        _DISCOVERY.labels.suggestions,
        _COUNT,
        "mistyped words of one service that are compared with what they may mean",
    )


@dataclass(frozen=True, slots=True)
class ForwardingSettings:
    mode: str = setting(
        "set",
        read_choice("set", "label", "off"),
        "X-Forwarded-*: 'set' always, 'label' only where a label asks (HRM), 'off' never",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        (), read_networks, "peers whose X-Forwarded-* are believed"
    )
    rfc7239: bool = setting(False, read_bool, "set Forwarded (RFC 7239) as well")
    via: str = setting(
        "meshlib", read_pseudonym, "our name in Via (RFC 9110 7.6.3); 'off': no Via from us"
    )
    request_id: bool = setting(
        True, read_bool, "give each request an X-Request-ID, unless a trusted peer did"
    )
    underscores: bool = setting(False, read_bool, "let field names with an underscore through")


_HTTP = HTTPSettings()  # the data path's own defaults, and its reasons for them


@dataclass(frozen=True, slots=True)
class LimitSettings:
    head_size: int = setting(_HTTP.head_size, read_size, "bytes of a request's or an answer's head")
    field_count: int = setting(_HTTP.field_count, read_integer(1, 10000), "fields of a head")
    max_body: int = setting(_HTTP.max_body, read_size, "bytes of a request's body; 0: unlimited")
    buffer_size: int = setting(
        _HTTP.buffer_size, read_size, "bytes kept for each direction of a connection"
    )
    replay_size: int = setting(
        _HTTP.replay_size, read_size, "bytes of a request's body kept for another try"
    )
    max_connections: int = setting(
        _HTTP.max_connections, read_integer(1, 10**7), "client connections at a time"
    )
    max_connections_per_client: int = setting(
        _HTTP.max_connections_per_client,
        read_integer(0, 10**7),
        "the same of one client (address, or IPv6 network of 64 bits); 0: unlimited",
    )
    min_body_rate: int = setting(
        _HTTP.min_body_rate,
        read_size,
        "bytes a second that a client sends or takes of a body, at least, in its turn; 0: any",
    )
    max_interim: int = setting(
        _HTTP.max_interim, read_integer(1, 1000), "interim (1xx) answers to one request"
    )
    pool_size: int = setting(
        _HTTP.pool_size, read_integer(0, 10**5), "idle connections kept to one endpoint"
    )
    max_tries: int = setting(
        _HTTP.max_tries, read_integer(1, 100), "endpoints tried for one request"
    )
    max_requests_per_endpoint: int = setting(
        _HTTP.max_requests_per_endpoint,
        read_integer(0, 10**6),
        "requests at one endpoint at a time; 0: unlimited",
    )
    queue_size: int = setting(
        _HTTP.queue_size,
        read_integer(0, 10**6),
        "requests of one upstream that may wait for their turn",
    )
    retry_budget: float = setting(
        _HTTP.retry_budget, read_share, "share of requests that may be tried again, 0 to 1"
    )
    owned_names: int = setting(
        100_000, read_integer(1, 10**7), "hosts and ports whose owners are remembered"
    )
    owned_names_per_owner: int = setting(
        20_000, read_integer(1, 10**7), "the same for one stack, project or service"
    )
    sticky_sessions: int = setting(
        _HTTP.sticky_sessions, read_integer(1, 10**7), "sessions remembered for one sticky route"
    )
    sticky_sessions_per_upstream: int = setting(
        _HTTP.sticky_sessions_per_upstream,
        read_integer(1, 10**7),
        "the same for all sticky routes to one upstream",
    )
    sticky_sessions_total: int = setting(
        _HTTP.sticky_sessions_total, read_integer(1, 10**8), "the same in all"
    )
    sticky_unknown: int = setting(
        _HTTP.sticky_unknown,
        read_integer(0, 10**7),
        "cookies that no service has set here, remembered for one sticky route",
    )
    sticky_unknown_total: int = setting(
        _HTTP.sticky_unknown_total, read_integer(0, 10**8), "the same in all"
    )
    sticky_value_size: int = setting(
        _HTTP.sticky_value_size,
        read_size,
        "bytes of a sticky cookie; longer ones are not remembered",
    )


@dataclass(frozen=True, slots=True)
class TimeoutSettings:
    idle: float = setting(
        _HTTP.idle, read_duration, "a kept connection waits so long for its next request"
    )
    head_read: float = setting(
        _HTTP.head_read, read_duration, "a request's head arrives within this (else 408)"
    )
    connect: float = setting(_HTTP.connect, read_duration, "connecting to one endpoint")
    queue: float = setting(
        _HTTP.queue, read_duration, "waiting for a turn at an endpoint (else 503)"
    )
    response_head: float = setting(
        _HTTP.response_head, read_duration, "from the request's end to the answer's head (else 504)"
    )
    between_bytes: float = setting(
        _HTTP.between_bytes, read_duration, "silence within a body, either way"
    )
    body_grace: float = setting(
        _HTTP.body_grace, read_duration, "limits.min_body_rate is averaged over so long, at least"
    )
    tunnel_idle: float = setting(
        _HTTP.tunnel_idle, read_duration, "silence in an upgraded or TLS connection"
    )
    lingering_close: float = setting(
        _HTTP.lingering_close, read_duration, "reading on after an early answer"
    )
    pool_idle: float = setting(
        _HTTP.pool_idle, read_duration, "an idle connection to an endpoint is kept so long"
    )
    slow_start: float = setting(
        _HTTP.slow_start,
        read_duration,
        "a new or recovered endpoint gets a growing share of requests for so long; 0: all at once",
    )
    sticky_ttl: float = setting(
        _HTTP.sticky_ttl, read_duration, "a session is remembered so long after its last use"
    )
    drain: float = setting(10.0, read_duration, "SIGTERM: so long may requests under way take")
    first_snapshot: float = setting(
        10.0, read_duration, "at start, wait so long for a provider when another has delivered"
    )


@dataclass(frozen=True, slots=True)
class ComposeSettings:
    variables: tuple[str, ...] = setting(
        (),
        read_variables,
        "variables that ${NAME} in files of services may take from the environment",
    )
    env_file: tuple[str, ...] = setting(
        (),
        read_names,
        "files of NAME=VALUE for the same, watched; what the environment gives counts more",
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = setting(
        "info",
        read_choice("debug", "info", "warning", "error"),
        "least severe records that are written",
    )
    format: str = setting(
        "text", read_choice("text", "json"), "one line for each record, either way"
    )
    repeats: int = setting(
        20,
        read_integer(0, 10**6),
        "lines of one kind at once, others are counted and told in one; 0: unlimited ...",
    )
    repeats_per_minute: int = setting(12, read_integer(1, 10**6), "... and in the long run")
    access: bool = setting(True, read_bool, "write a record for each request")
    access_format: str = setting("combined", read_choice("combined", "json"), "how it looks")
    spans: bool = setting(
        False,
        read_bool,
        "OpenTelemetry spans, for requests with a sampled traceparent; OTEL_* says where to",
    )


@dataclass(frozen=True, slots=True)
class TLSTerminationSettings:
    certificates: tuple[str, ...] = setting(
        (), read_names, "directories and files of certificates; TLS of their hosts is ended here"
    )
    min_version: str = setting(
        "1.2", read_choice("1.2", "1.3"), "oldest version of TLS that is taken"
    )
    client_auth: str = setting(
        "off", read_choice("off", "request", "require"), "whether clients show a certificate"
    )
    client_ca: str = setting("", read_text, "file of the authorities whose clients are believed")
    ticket_secret: str = setting(
        "",
        read_text,
        "file of random bytes, the same for all gateways that are to resume each other's sessions; else one's workers do",
    )
    http2: bool = setting(True, read_bool, "offer HTTP/2, where the extra http2 is installed")
    plain_http: str = setting(
        "refuse", read_choice("refuse", "redirect", "serve"), "HTTP without TLS on a TLS port"
    )
    stickiness: str = setting(
        "session",
        read_choice("session", "none"),
        "'session': one that is passed through stays on one endpoint",
    )
    acme: tuple[Address, ...] = setting(
        (), read_addresses, "endpoints that get TLS-ALPN-01 challenges (acme-tls/1); 'off' for none"
    )
    public_port: int = setting(
        443, read_integer(1, 65535), "the port of https:// as clients see it, for redirects"
    )
    upstream_ca: str = setting(
        "", read_text, "file of the authorities of services asked over TLS; else the system's"
    )
    check: float = setting(5.0, read_duration, "seconds between looks at the files of certificates")


@dataclass(frozen=True, slots=True)
class HTTP2LimitSettings:
    """Names and defaults are those of `meshlib_adapters.http2.HTTP2Settings`, which says why; it
    needs the extra `http2`, these do not.
    """

    max_streams: int = setting(
        100, read_integer(1, 10**5), "requests of one HTTP/2 connection at a time"
    )
    stream_window: int = setting(
        256 * 1024,
        read_integer(65535, 2**31 - 1),
        "bytes of one request's body that may be on their way to us",
    )
    connection_window: int = setting(
        1024 * 1024, read_integer(65535, 2**31 - 1), "the same for all requests of a connection"
    )
    resets: int = setting(
        400,
        read_integer(1, 10**6),
        "requests that a client may take back, or send malformed, at once ...",
    )
    resets_per_second: int = setting(40, read_integer(1, 10**6), "... and in the long run")
    idle_frames: int = setting(
        2000,
        read_integer(1, 10**6),
        "frames that bring nothing forward (PING, SETTINGS, ...), at once ...",
    )
    idle_frames_per_second: int = setting(100, read_integer(1, 10**6), "... and in the long run")
    small_frames: int = setting(
        20_000,
        read_integer(1, 10**9),
        "frames of a body with less than nine bytes in them, at once ...",
    )
    small_frames_per_second: int = setting(2000, read_integer(1, 10**9), "... and in the long run")


@dataclass(frozen=True, slots=True)
class PortsSettings:
    open: str = setting(
        "off",
        read_choice("off", "labels", "published"),
        "TCP and UDP ports of services: 'labels' opens those that labels ask for, 'published' those that are published, too",
    )
    host: str = setting("0.0.0.0", read_ip, "the address that they are opened on")  # noqa: S104
    allowed: tuple[PortRange, ...] = setting(
        (PortRange(1024, 65535),), read_ports, "the ports that a service may have"
    )
    proxy_protocol: bool = setting(
        False,
        read_bool,
        "TCP connections of the proxies in proxy_protocol_from begin with a PROXY protocol header here, too, each of them",
    )
    max_ports: int = setting(1000, read_integer(1, 65535), "ports open at a time")
    flow_timeout: float = setting(
        60.0, read_duration, "a UDP client that is silent for so long is forgotten"
    )
    max_flows: int = setting(
        10_000, read_integer(1, 10**6), "UDP clients at a time; each has a socket"
    )
    max_flows_per_client: int = setting(
        1000,
        read_integer(0, 10**6),
        "the same of one client (address, or IPv6 network of 64 bits); 0: unlimited",
    )
