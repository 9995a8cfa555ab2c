"""Limits and time-outs of requests, each with its name, unit, default and reason."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

from meshlib.balancing import SessionLimits
from meshlib.errors import ConfigurationError
from meshlib_adapters.config.declaration import limit, setting
from meshlib_adapters.config.readers import (
    read_duration,
    read_integer,
    read_share,
    read_size,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

__all__ = ["Dial", "HTTPSettings", "session_limits"]

_MAY_BE_ZERO = frozenset(
    {
        "pool_size",
        "queue_size",
        "replay_size",
        "retry_budget",
        "slow_start",
        "sticky_unknown",
        "sticky_unknown_total",
    }
)


class Dial(Protocol):
    """A way to endpoints: connects the protocol that `protocol` makes to a host and a port, and
    returns the transport, whose `get_protocol` it then is. None: go there by the network, as
    without it. Raises OSError.
    """

    def __call__(
        self, protocol: Callable[[], asyncio.Protocol], host: str, port: int, /
    ) -> Awaitable[asyncio.Transport | None]: ...


@dataclass(frozen=True, slots=True)
class HTTPSettings:
    """The sections `limits` and `timeouts`, for requests. Times are seconds, sizes bytes; None is
    "no limit" (users write 0).

    A time-out is never for a whole body: a slow but moving transfer may take as long as it likes.
    Raises `ConfigurationError`, naming the field, for values that make no sense.
    """

    # Largest request head. nginx: 4 buffers of 8 KiB; HAProxy: one of 16 KiB; Envoy: 60 KiB.
    head_size: int = setting(
        32 * 1024, read_size, "bytes of a request's or a response's head", key="limits.head_size"
    )
    # HAProxy: 101; Envoy: 100.
    field_count: int = setting(
        100, read_integer(1, 10000), "fields of a head", key="limits.field_count"
    )
    # Bodies stream and cost no memory.
    max_body: int | None = limit(
        None,
        read_size,
        "bytes of a request's body; 0: unlimited",
        key="limits.max_body",
    )
    # Then the faster side is told to wait.
    buffer_size: int = setting(
        64 * 1024,
        read_size,
        "bytes buffered for each direction of a connection",
        key="limits.buffer_size",
    )
    # Kept until the response begins.
    replay_size: int = setting(
        16 * 1024,
        read_size,
        "bytes of a request's body kept for a retry",
        key="limits.replay_size",
    )
    # Keep-alive (nginx: 75).
    idle: float = setting(
        75.0,
        read_duration,
        "how long a kept-alive connection waits for its next request",
        key="timeouts.idle",
    )
    # From the first byte of a head to its last (slowloris; nginx: 60, HAProxy's advice: 5-10); the
    # same for a TLS hello and a PROXY protocol header.
    head_read: float = setting(
        10.0,
        read_duration,
        "time for a whole request head (else 408), TLS hello or PROXY protocol header",
        key="timeouts.head_read",
    )
    # The next endpoint is tried beside it after an eighth of that.
    connect: float = setting(
        2.0, read_duration, "time to connect to one endpoint", key="timeouts.connect"
    )
    # A machine that lost its power says nothing: the kernel itself waits for a quarter of an hour.
    unacknowledged: float = setting(
        10.0,
        read_duration,
        "how long an endpoint's machine may acknowledge nothing before its connections end",
        key="timeouts.unacknowledged",
    )
    # From the request sent to the first byte of the response (nginx proxy_read_timeout: 60).
    response_head: float = setting(
        60.0,
        read_duration,
        "from the end of a request to the head of its response (else 504)",
        key="timeouts.response_head",
    )
    hooks: float = setting(
        10.0,
        read_duration,
        "for the hooks before a request, and for those behind it (else 500)",
        key="timeouts.hooks",
    )
    # Between two reads of a body while the other side is ready for more.
    between_bytes: float = setting(
        60.0,
        read_duration,
        "silence within a body, in either direction",
        key="timeouts.between_bytes",
    )
    # HAProxy's advice for tunnels: 1 h.
    tunnel_idle: float = setting(
        3600.0,
        read_duration,
        "silence in a tunnel: upgraded, TLS passed through, or TCP",
        key="timeouts.tunnel_idle",
    )
    # Unread request bytes are thrown away, so that the client can read our response (nginx: 5).
    lingering_close: float = setting(
        2.0,
        read_duration,
        "time to read on after an early response",
        key="timeouts.lingering_close",
    )
    # More clients wait in the kernel's backlog.
    max_connections: int = setting(
        10_000,
        read_integer(1, 10**7),
        "concurrent client connections",
        key="limits.max_connections",
    )
    # A client is an IPv4 address, or a network of 64 bits in IPv6. A tenth of all: as many as some
    # 150 browsers behind one address hold, whose idle ones are given up first; proxies that are
    # named have no such limit.
    max_connections_per_client: int | None = limit(
        1000,
        read_integer(0, 10**7),
        "the same for one client (IPv4 address or IPv6 /64 network); 0: unlimited",
        key="limits.max_connections_per_client",
    )
    # IIS and Kestrel: 240, Apache: 500. Averaged over `body_grace` seconds at least; looked at as
    # often as time-outs are.
    min_body_rate: int | None = limit(
        240,
        read_size,
        "least bytes a second that a client sends or takes of a body while it is its turn; 0: any",
        key="limits.min_body_rate",
    )
    body_grace: float = setting(
        10.0,
        read_duration,
        "shortest time over which limits.min_body_rate is averaged",
        key="timeouts.body_grace",
    )
    pool_size: int = setting(
        256, read_integer(0, 10**5), "idle connections kept to one endpoint", key="limits.pool_size"
    )
    # Many servers close after 60-75 s, Node after 5 s.
    pool_idle: float = setting(
        30.0,
        read_duration,
        "how long an idle connection to an endpoint is kept",
        key="timeouts.pool_idle",
    )
    # Others are tried before, as long as none can be connected to.
    max_tries: int = setting(
        3, read_integer(1, 100), "endpoints that one request is sent to", key="limits.max_tries"
    )
    # Envoy's retry budget: 20 %.
    retry_budget: float = setting(
        0.2,
        read_share,
        "share of requests that may be retried, 0 to 1",
        key="limits.retry_budget",
    )
    # After it has joined others, or was ejected (off by default in HAProxy and Envoy, too).
    slow_start: float = setting(
        0.0,
        read_duration,
        "how long a new or recovered endpoint gets a growing share of requests; 0: all at once",
        key="timeouts.slow_start",
    )
    # HAProxy: maxconn, no limit.
    max_requests_per_endpoint: int | None = limit(
        None,
        read_integer(0, 10**6),
        "concurrent requests to one endpoint; 0: unlimited",
        key="limits.max_requests_per_endpoint",
    )
    queue_size: int = setting(
        1000,
        read_integer(0, 10**6),
        "requests of one upstream that may wait in its queue",
        key="limits.queue_size",
    )
    # Less than a client's patience, or it is gone when its turn comes.
    queue: float = setting(5.0, read_duration, "time in the queue (else 503)", key="timeouts.queue")
    # More are a flood.
    max_interim: int = setting(
        16,
        read_integer(1, 1000),
        "interim (1xx) responses to one request",
        key="limits.max_interim",
    )
    # Sessions remembered in each process, by upstream and cookie, by upstream, and in all.
    sticky_sessions: int = setting(
        100_000,
        read_integer(1, 10**7),
        "sessions remembered for one sticky route",
        key="limits.sticky_sessions",
    )
    sticky_sessions_per_upstream: int = setting(
        100_000,
        read_integer(1, 10**7),
        "the same for all sticky routes to one upstream",
        key="limits.sticky_sessions_per_upstream",
    )
    sticky_sessions_total: int = setting(
        250_000,
        read_integer(1, 10**8),
        "the same for all upstreams",
        key="limits.sticky_sessions_total",
    )
    sticky_ttl: float = setting(
        1800.0,
        read_duration,
        "how long a session is remembered after its last use",
        key="timeouts.sticky_ttl",
    )
    # Anybody can write such a cookie.
    sticky_unknown: int = setting(
        1000,
        read_integer(0, 10**7),
        "cookies not set by a service here, remembered for one sticky route",
        key="limits.sticky_unknown",
    )
    sticky_unknown_total: int = setting(
        10_000, read_integer(0, 10**8), "the same for all routes", key="limits.sticky_unknown_total"
    )
    # RFC 6265 6.1 has clients keep 4096 bytes a cookie.
    sticky_value_size: int = setting(
        4096,
        read_size,
        "bytes of a sticky cookie; longer ones are not remembered",
        key="limits.sticky_value_size",
    )
    # Authorities that vouch for endpoints asked over TLS, as PEM; "": those of the system.
    upstream_authorities: str = ""
    # Opens connections in the event loop's stead; of code alone (`meshlib_adapters.testing`).
    dial: Dial | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None or isinstance(value, str) or callable(value):
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
    """The limits on how many sticky sessions are remembered, and for how long."""
    return SessionLimits(
        table=settings.sticky_sessions,
        upstream=settings.sticky_sessions_per_upstream,
        total=settings.sticky_sessions_total,
        unknown=settings.sticky_unknown,
        unknown_total=settings.sticky_unknown_total,
        value_size=settings.sticky_value_size,
        ttl=settings.sticky_ttl,
    )
