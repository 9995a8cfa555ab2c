"""Settings of relays, TLS, TCP and UDP listeners, published ports and the PROXY protocol."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from meshlib.errors import ConfigurationError
from meshlib.model import Endpoint, ListeningPort, Scheme
from meshlib.proxy_protocol import LONGEST_V2, MAX_V2
from meshlib.tls import MAX_HELLO, MAX_WIRE
from meshlib_adapters.config.declaration import limit, same, setting
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.readers import (
    Network,
    PortRange,
    read_acme,
    read_bool,
    read_choice,
    read_duration,
    read_integer,
    read_ip,
    read_networks,
    read_ports,
)

__all__ = [
    "PortSettings",
    "ProxyHeaderPolicy",
    "RelaySettings",
    "TCPSettings",
    "TLSSettings",
    "UDPSettings",
]


def _at_least(settings: object, least: int, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < least:
            raise ConfigurationError(f"{name} must be at least {least}", where=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """Settings for relaying bytes. Sizes in bytes.

    `buffer_size`: the one buffer that all tunnels of a relay share for small messages; a read that
    fills it makes the direction use a pipe. `pipe_size`: what a pipe is asked to hold (the kernel
    may allow less); `max_pipes` of them are open at most (two file descriptors each), `spare_pipes`
    are kept for the next burst. `splice` false never uses one.
    """

    buffer_size: int = 64 * 1024
    pipe_size: int = 1024 * 1024
    max_pipes: int = 256
    spare_pipes: int = 8
    splice: bool = True

    def __post_init__(self) -> None:
        _at_least(self, 1, "buffer_size", "pipe_size")
        _at_least(self, 0, "max_pipes", "spare_pipes")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSettings:
    """Limits and time-outs of a TLS listener; seconds and bytes. Raises `ConfigurationError` for
    what cannot be.

    `head_read` runs from the first moment until the hello is whole, whatever arrives meanwhile.
    `connect` is for each endpoint tried; another one is tried beside it after an eighth of that.
    `unacknowledged` is how long an endpoint's machine may acknowledge nothing. `tunnel_idle` ends a
    tunnel in which nothing moved either way, `max_lifetime` (None: never) any tunnel.
    `lingering_close`: how long a refused client has to take its alert. `sweep_interval` is the
    grain of all of them.

    `max_connections` in all: more wait in the kernel's backlog. `max_connections_per_client` (None:
    no limit): more of one client (an IPv4 address, or a network of 64 bits in IPv6) are closed at
    once. At either limit a connection that is idle is given up first: one whose hello is not
    complete, one that waits for a request, a tunnel in which the client has said nothing but its
    hello. `max_hello` and `max_wire` are those of `ClientHelloSniffer`; `max_held_bytes` limits the
    bytes held for all clients whose hello is not with an endpoint yet.

    `stickiness`: "session" keeps a TLS session on one endpoint as far as that can be known, "none"
    leaves all to the upstream's strategy; `sticky_sessions_total` that servers gave out are
    remembered, `sticky_sessions_per_upstream` of one upstream, each for `session_ttl` after its
    last use; of sessions whose id a client chose `sticky_unknown` of one upstream.

    `acme`: the endpoints that get connections which offer "acme-tls/1" and nothing else (RFC 8737),
    whatever the routes say; without them such a connection is one like any other.

    `plain_http`: "refuse" responds with 400 to HTTP without TLS; "redirect" sends it to https with
    `redirect_status`, at the port `public_port` as clients see it; "serve" serves it as
    it is.
    """

    head_read: float = same(HTTPSettings, "head_read")
    connect: float = same(HTTPSettings, "connect")
    unacknowledged: float = same(HTTPSettings, "unacknowledged")
    tunnel_idle: float = same(HTTPSettings, "tunnel_idle")
    max_lifetime: float | None = None
    lingering_close: float = same(HTTPSettings, "lingering_close")
    sweep_interval: float = 0.5
    max_connections: int = same(HTTPSettings, "max_connections")
    max_connections_per_client: int | None = same(HTTPSettings, "max_connections_per_client")
    max_hello: int = MAX_HELLO
    max_wire: int = MAX_WIRE
    max_held_bytes: int = 64 * 1024 * 1024
    backlog: int = 4096
    plain_http: Literal["refuse", "redirect", "serve"] = setting(
        "refuse",
        read_choice("refuse", "redirect", "serve"),
        "HTTP without TLS on a TLS port: 'refuse', 'redirect' or 'serve' it",
    )
    redirect_status: int = 308
    public_port: int = setting(
        443, read_integer(1, 65535), "port of https:// as clients see it, for redirects"
    )
    stickiness: Literal["session", "none"] = setting(
        "session",
        read_choice("session", "none"),
        "'session': a TLS session that is passed through stays on one endpoint; 'none': "
        "the strategy decides",
    )
    sticky_sessions_total: int = same(HTTPSettings, "sticky_sessions_total")
    sticky_sessions_per_upstream: int = same(HTTPSettings, "sticky_sessions_per_upstream")
    sticky_unknown: int = same(HTTPSettings, "sticky_unknown")
    session_ttl: float = 7200.0
    acme: tuple[Endpoint, ...] = setting(
        (), read_acme, "endpoints for TLS-ALPN-01 challenges (acme-tls/1); 'off' for none"
    )
    relay: RelaySettings = RelaySettings()

    def __post_init__(self) -> None:
        for name in (
            "head_read",
            "connect",
            "unacknowledged",
            "tunnel_idle",
            "lingering_close",
            "sweep_interval",
            "session_ttl",
        ):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be more than 0", where=name)
        if self.max_lifetime is not None and not self.max_lifetime > 0:
            raise ConfigurationError(
                "max_lifetime must be more than 0",
                where="max_lifetime",
                hint="leave it out for no limit",
            )
        _at_least(
            self,
            1,
            "max_connections",
            "max_hello",
            "max_wire",
            "max_held_bytes",
            "backlog",
            "public_port",
            "sticky_sessions_total",
        )
        _at_least(self, 1, "sticky_sessions_per_upstream")
        _at_least(self, 0, "sticky_unknown")
        if self.stickiness not in ("session", "none"):
            raise ConfigurationError("stickiness is session or none", where="stickiness")
        if self.max_connections_per_client is not None:
            _at_least(self, 1, "max_connections_per_client")
        if self.plain_http not in ("refuse", "redirect", "serve"):
            raise ConfigurationError("plain_http is refuse, redirect or serve", where="plain_http")
        if self.redirect_status not in (301, 302, 307, 308):
            raise ConfigurationError(
                "redirect_status is 301, 302, 307 or 308", where="redirect_status"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPSettings:
    """Limits and time-outs of a TCP listener, each as in `TLSSettings`; more than `max_connections`
    are closed at once, unless a connection whose client has said nothing yet can be given up.

    `head_read`: a PROXY protocol header is whole so long after the connection's first
    moment, where there must be one.

    Raises `ConfigurationError` for what cannot be.
    """

    head_read: float = same(HTTPSettings, "head_read")
    connect: float = same(HTTPSettings, "connect")
    unacknowledged: float = same(HTTPSettings, "unacknowledged")
    tunnel_idle: float = same(HTTPSettings, "tunnel_idle")
    max_lifetime: float | None = None
    sweep_interval: float = 0.5
    max_connections: int = same(HTTPSettings, "max_connections")
    max_connections_per_client: int | None = same(HTTPSettings, "max_connections_per_client")
    backlog: int = 4096
    relay: RelaySettings = RelaySettings()

    def __post_init__(self) -> None:
        for name in ("head_read", "connect", "unacknowledged", "tunnel_idle", "sweep_interval"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be more than 0", where=name)
        if self.max_lifetime is not None and not self.max_lifetime > 0:
            raise ConfigurationError(
                "max_lifetime must be more than 0",
                where="max_lifetime",
                hint="leave it out for no limit",
            )
        _at_least(self, 1, "max_connections", "backlog")
        if self.max_connections_per_client is not None:
            _at_least(self, 1, "max_connections_per_client")


@dataclass(frozen=True, slots=True, kw_only=True)
class UDPSettings:
    """Limits and time-outs of a UDP listener; seconds. Raises `ConfigurationError` for what cannot
    be.

    A flow ends when nothing came either way for `flow_timeout`, or for `drain_silence` while the
    listener drains. `max_flows` in all (each has a socket of its own), `max_flows_per_client` of
    one client (as in `TLSSettings`; None: no limit); a datagram that would begin another is
    dropped, unless a flow that never got a reply can make room. `sweep_interval` is the grain of
    the time-outs. `one_way`: nobody replies, so there are no flows, and each datagram goes to the
    next endpoint.
    """

    flow_timeout: float = setting(
        60.0,
        read_duration,
        "how long a silent UDP client is remembered",
        key="ports.flow_timeout",
    )
    drain_silence: float = 1.0
    one_way: bool = False
    max_flows: int = setting(
        10_000,
        read_integer(1, 10**6),
        "concurrent UDP clients; each has a socket",
        key="ports.max_flows",
    )
    max_flows_per_client: int | None = limit(
        1000,
        read_integer(0, 10**6),
        "the same for one client (IPv4 address or IPv6 /64 network); 0: unlimited",
        key="ports.max_flows_per_client",
    )
    sweep_interval: float = 0.5

    def __post_init__(self) -> None:
        for name in ("flow_timeout", "drain_silence", "sweep_interval"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be more than 0", where=name)
        for name in ("max_flows", "max_flows_per_client"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be at least 1", where=name)


@dataclass(frozen=True, slots=True)
class ProxyHeaderPolicy:
    """Whether a listener takes PROXY protocol headers, and from whom.

    "off": none. "accept": connections from `sources` may begin with one. "require": only
    connections that come from `sources` and begin with one are served. `max_size`: bytes that
    version 2 may have behind its fixed 16, as many as are kept of each connection until its header
    is whole. Raises `ConfigurationError` when nobody could send one.
    """

    mode: Literal["off", "accept", "require"] = setting(
        "off",
        read_choice("off", "accept", "require"),
        "PROXY protocol (v1, v2) on HTTP and TLS listeners: 'off', 'accept' or 'require' it",
        key="proxy_protocol",
    )
    sources: tuple[Network, ...] = setting(
        (),
        read_networks,
        "proxies in front that may send a PROXY protocol header",
        key="proxy_protocol_from",
    )
    max_size: int = setting(
        MAX_V2,
        read_integer(216, LONGEST_V2),
        "longest PROXY protocol header (v2), without its first 16 bytes",
        key="proxy_protocol_size",
    )

    def __post_init__(self) -> None:
        if not 216 <= self.max_size <= LONGEST_V2:
            raise ConfigurationError(
                f"a PROXY protocol header has 216 to {LONGEST_V2} bytes", where="max_size"
            )
        if self.mode != "off" and not self.sources:
            hint = (
                "name the proxies in front in proxy_protocol_from: 10.0.0.0/8, "
                "or 0.0.0.0/0 and ::/0 where nobody else can connect"
            )
            raise ConfigurationError(
                "nobody may send a PROXY protocol header", where="mode", hint=hint
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSettings:
    """The section `ports`: which ports may be opened, and how. Raises `ConfigurationError` for
    values that make no sense.

    `open` says whether the gateway opens any. `host`: the IP address to listen on. `allowed`: ports
    that routes may have. `one_way`: UDP ports to which nobody replies (`UDPSettings.one_way`).
    `proxy_protocol`: TCP connections of the proxies in front begin with a
    PROXY protocol header. `max_ports` at most, those of the lowest numbers; each costs a socket.
    `reuse_port`: other processes of ours listen on the same ports. `retry_interval`: seconds until
    what could not be opened is tried again. The limits of `tcp` and `udp` count for all ports
    together.
    """

    open: Literal["off", "labels", "published"] = setting(
        "off",
        read_choice("off", "labels", "published"),
        "TCP and UDP ports of services to open: none ('off'), those in 'labels', or "
        "'published' ones too",
    )
    host: str = setting("0.0.0.0", read_ip, "address to open them on")  # noqa: S104
    allowed: tuple[PortRange, ...] = setting(
        (PortRange(1024, 65535),), read_ports, "ports that a service may have"
    )
    proxy_protocol: bool = setting(
        False,
        read_bool,
        "expect a PROXY protocol header on each TCP connection from proxy_protocol_from",
    )
    # Not by itself: who has not replied yet may be about to, and what belongs together (the
    # templates of NetFlow, a stream of RTP) must stay together.
    one_way: tuple[PortRange, ...] = setting(
        (), read_ports, "UDP ports without replies (syslog): each datagram to the next endpoint"
    )
    max_ports: int = setting(1000, read_integer(1, 65535), "ports open at a time")
    reuse_port: bool = False
    retry_interval: float = 5.0
    tcp: TCPSettings = field(default_factory=TCPSettings)
    udp: UDPSettings = field(default_factory=UDPSettings)

    def __post_init__(self) -> None:
        if self.max_ports < 1:
            raise ConfigurationError("max_ports must be at least 1", where="max_ports")
        if not self.retry_interval > 0:
            raise ConfigurationError("retry_interval must be more than 0", where="retry_interval")

    def refusal(self, port: ListeningPort, reserved: Collection[int], opened: int) -> str:
        """Reason why no route may have this port while `opened` ports are open; "" if one may.
        `reserved` are TCP ports of the gateway itself.
        """
        if port.scheme is Scheme.TCP and port.port in reserved:
            return "it is the gateway's own"
        if not any(port in allowed for allowed in self.allowed):
            return "it is not one of the allowed ports (ports.allowed)"
        if opened >= self.max_ports:
            return f"{self.max_ports} ports are open already (ports.max_ports)"
        return ""
