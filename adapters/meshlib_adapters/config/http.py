"""Limits and time-outs of the HTTP data path, each with its name, unit, default and reason."""

from __future__ import annotations

from dataclasses import dataclass, fields

from meshlib.balancing import SessionLimits
from meshlib.errors import ConfigurationError

__all__ = ["HTTPSettings", "session_limits"]


_MAY_BE_ZERO = frozenset(
    {
        "max_body",
        "max_connections_per_client",
        "max_requests_per_endpoint",
        "min_body_rate",
        "pool_size",
        "queue_size",
        "replay_size",
        "retry_budget",
        "slow_start",
        "sticky_unknown",
        "sticky_unknown_total",
    }
)


@dataclass(frozen=True, slots=True)
class HTTPSettings:
    """Times are seconds, sizes bytes. 0 means "no limit" only where it is said.

    A time-out is never for a whole body: a slow but moving transfer may take as long as it likes.
    Raises `ConfigurationError`, naming the field, for values that make no sense.
    """

    # Largest request head. nginx: 4 buffers of 8 KiB; HAProxy: one of 16 KiB; Envoy: 60 KiB.
    head_size: int = 32 * 1024
    # Most field lines in a head. HAProxy: 101; Envoy: 100.
    field_count: int = 100
    # Largest request body; 0: no limit, because bodies stream and cost no memory.
    max_body: int = 0
    # Bytes kept per direction and connection before the faster side is told to wait.
    buffer_size: int = 64 * 1024
    # A request body up to this size is kept until the answer begins, so that it can be sent to
    # another endpoint.
    replay_size: int = 16 * 1024
    # Keep-alive: how long a client may say nothing between two requests (nginx: 75).
    idle: float = 75.0
    # From the first byte of a head to its last (slowloris; nginx: 60, HAProxy's advice: 5-10).
    head_read: float = 10.0
    # Connecting to one endpoint; the next one is tried after that.
    connect: float = 2.0
    # From the request sent to the first byte of the answer (nginx proxy_read_timeout: 60).
    response_head: float = 60.0
    # Between two reads of a body, in either direction, while the other side is ready for more.
    between_bytes: float = 60.0
    # An upgraded connection with no byte either way (HAProxy's advice for tunnels: 1 h).
    tunnel_idle: float = 3600.0
    # How long unread request bytes are read and thrown away, so that the client can read our answer
    # (nginx: 5).
    lingering_close: float = 2.0
    # Client connections in all, and of one client (0: no limit): an IPv4 address, or a network of
    # 64 bits in IPv6. A tenth: as many as some 150 browsers behind one address hold, whose idle
    # ones are given up first; proxies that are named have no such limit.
    max_connections: int = 10_000
    max_connections_per_client: int = 1000
    # Bytes a second that a client has to send of a request's body, or take of a response's, while
    # it is its turn (IIS and Kestrel: 240, Apache: 500); 0: no limit. Averaged over `body_grace`
    # seconds at least; looked at as often as time-outs are.
    min_body_rate: int = 240
    body_grace: float = 10.0
    # Idle connections kept to one endpoint, and for how long (many servers close after 60-75 s,
    # Node after 5 s).
    pool_size: int = 256
    pool_idle: float = 30.0
    # Endpoints tried for one request, and the share of requests that may be tried again (Envoy's
    # retry budget: 20 %).
    max_tries: int = 3
    retry_budget: float = 0.2
    # An endpoint that has joined others, or was ejected, gets a growing share of new requests for
    # so long; 0: its whole share at once (HAProxy's and Envoy's default too).
    slow_start: float = 0.0
    # Requests at one endpoint at a time (0: no limit); how many more of an upstream may wait for
    # their turn, and how long (HAProxy: maxconn, no limit, timeout connect). Less than a client's
    # patience, or it is gone when its turn comes.
    max_requests_per_endpoint: int = 0
    queue_size: int = 1000
    queue: float = 5.0
    # Interim (1xx) answers passed on for one request; more are a flood.
    max_interim: int = 16
    # Sessions remembered in each process: for one upstream and cookie, for one upstream, in all;
    # and for how long after their last use.
    sticky_sessions: int = 100_000
    sticky_sessions_per_upstream: int = 100_000
    sticky_sessions_total: int = 250_000
    sticky_ttl: float = 1800.0
    # The same of cookies that no application has set here, which anybody can write: for one
    # upstream and cookie, and in all.
    sticky_unknown: int = 1000
    sticky_unknown_total: int = 10_000
    # A longer cookie is not remembered; RFC 6265 6.1 has clients keep 4096 bytes a cookie.
    sticky_value_size: int = 4096

    # PEM of the authorities that vouch for endpoints asked over TLS, or its file; "": those of the
    # system.
    upstream_ca: str = ""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, str):
                continue
            may_be_zero = item.name in _MAY_BE_ZERO
            if value < 0 or (value == 0 and not may_be_zero):
                raise ConfigurationError(
                    f"{value!r} is too small", where=item.name, hint="write a positive number"
                )
        if self.head_size < 1024:
            raise ConfigurationError(
                "no browser's head fits", where="head_size", hint="write at least 1024"
            )


def session_limits(settings: HTTPSettings) -> SessionLimits:
    """How many sticky sessions are remembered, and for how long."""
    return SessionLimits(
        table=settings.sticky_sessions,
        upstream=settings.sticky_sessions_per_upstream,
        total=settings.sticky_sessions_total,
        unknown=settings.sticky_unknown,
        unknown_total=settings.sticky_unknown_total,
        value_size=settings.sticky_value_size,
        ttl=settings.sticky_ttl,
    )
