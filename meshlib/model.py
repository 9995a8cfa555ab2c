"""Everything that is known: routes, upstreams, endpoints, and what was wrong with labels.

Everything here is immutable and compared by value: equal snapshots mean that nothing is to be done.
Resolvers reuse objects that did not change, so comparing two snapshots of ten thousand services is
ten thousand identity checks and not a walk through all of them.

Names and texts that a service chooses are bounded here, when the object is made: an upstream's key,
an endpoint's id and node, a route's service, label and name, all of a diagnostic. So whatever
keeps, logs or sends them needs no bound of its own. Nothing here is of labels, Docker, HTTP or I/O.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import ClassVar, NamedTuple, TypeAlias

from meshlib.bounds import bounded_name, bounded_text
from meshlib.errors import ConfigurationError
from meshlib.json_values import from_json, to_json
from meshlib.name_records import NameRecord
from meshlib.route_options import NO_OPTIONS, RouteOptions
from meshlib.upstream_key import Transport, UpstreamKey

__all__ = [
    "Contribution",
    "Diagnostic",
    "Endpoint",
    "EndpointState",
    "ForwardTo",
    "HostPath",
    "ListeningPort",
    "Match",
    "RedirectRule",
    "Route",
    "Scheme",
    "ServerName",
    "Severity",
    "Snapshot",
    "Tenure",
    "Upstream",
]


class Scheme(enum.StrEnum):
    """The part of the traffic that a route is matched against: the head of an HTTP request, the
    server name of a TLS hello, or a port alone.
    """

    HTTP = "http"
    SNI = "sni"
    TCP = "tcp"
    UDP = "udp"


class ListeningPort(NamedTuple):
    """A port of the gateway that belongs to one route alone: `scheme` is TCP or UDP, `port`
    1-65535.
    """

    scheme: Scheme
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://:{self.port}"


class EndpointState(enum.StrEnum):
    """State of an endpoint as discovery sees it. Only READY ones get new requests.

    What the data path finds out itself (refused connections, failures) is kept apart, in
    `meshlib.balancing.health`, because it changes far more often than this.
    """

    READY = "ready"
    STARTING = "starting"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


class Severity(enum.StrEnum):
    """ERROR: a route is missing or degraded. WARNING: it serves, perhaps not as meant. INFO: good
    to know.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that serves.

    `id` is the stable identity used for stickiness: service + slot (service + node for global
    services, the container's name for plain containers), so that it survives the replacement of a
    task. `host` is an IP address or a host name without brackets, `port` 1-65535, `weight` >= 0
    (0: only when nothing else is left). `node` names the machine that it runs on, so that what is
    found out about the machine counts for all of its endpoints ("": not known).
    """

    id: str
    host: str
    port: int
    weight: int = 1
    state: EndpointState = EndpointState.READY
    node: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", bounded_name(self.id))
        object.__setattr__(self, "node", bounded_name(self.node))

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A named set of endpoints with a strategy.

    `key` is unique in a snapshot and stable over updates: run-time state (idle connections, health,
    cursors) is kept under it. `endpoints` are in order of `id`, then address. `strategy` is a name
    that `meshlib.balancing.create_strategy` knows.
    """

    key: UpstreamKey
    endpoints: tuple[Endpoint, ...] = ()
    strategy: str = "round_robin"

    @property
    def name(self) -> str:
        """The key for people (`UpstreamKey.name`)."""
        return self.key.name

    @property
    def transport(self) -> Transport:
        """The way to speak to its endpoints."""
        return self.key.transport

    @property
    def ready(self) -> tuple[Endpoint, ...]:
        """The endpoints that may get new requests."""
        return tuple(e for e in self.endpoints if e.state is EndpointState.READY)


@dataclass(frozen=True, slots=True)
class RedirectRule:
    """Redirect to `target`, an absolute URL ("https://new.example.com"), already rendered and
    validated. With `keep_path` the request's path and query are appended as they came. `status` is
    one of 301, 302, 307, 308.
    """

    target: str
    status: int = 301
    keep_path: bool = True


@dataclass(frozen=True, slots=True)
class ForwardTo:
    """Action of a route that has endpoints."""

    upstream: Upstream


@dataclass(frozen=True, slots=True)
class HostPath:
    """HTTP requests: `host` in normal form ("shop.example.com", "*.example.com", "" for any host),
    and `path`, a prefix on segment boundaries, "/" for every path.
    """

    scheme: ClassVar = Scheme.HTTP
    host: str
    path: str = "/"


@dataclass(frozen=True, slots=True)
class ServerName:
    """TLS hellos with a server name: `name` as the host of a `HostPath`."""

    scheme: ClassVar = Scheme.SNI
    name: str


# What a route matches; `ListeningPort`: all that comes to the port.
Match: TypeAlias = HostPath | ServerName | ListeningPort


@dataclass(frozen=True, slots=True)
class Route:
    """A match, and what to do with it. ValueError for a match by a port of HTTP or SNI.

    `service` and `label` name its origin (for people), `schema` the label schema ("hrm").
    `degraded`: the label that asked for this route is now wrong, and this is its last good version.
    """

    match: Match
    action: ForwardTo | RedirectRule
    options: RouteOptions = NO_OPTIONS
    _: KW_ONLY
    service: str
    label: str = ""
    schema: str = ""
    degraded: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.match, ListeningPort) and self.scheme not in (Scheme.TCP, Scheme.UDP):
            raise ValueError(f"a {self.scheme} route has no port of the gateway")
        object.__setattr__(self, "service", bounded_name(self.service))
        object.__setattr__(self, "label", bounded_name(self.label))

    @property
    def scheme(self) -> Scheme:
        """Kind of traffic that it matches."""
        return self.match.scheme

    @property
    def host(self) -> str:
        """The host that it matches; "" for any, and for a port."""
        if isinstance(self.match, ListeningPort):
            return ""
        return self.match.name if isinstance(self.match, ServerName) else self.match.host

    @property
    def path(self) -> str:
        """The path prefix that it matches; "/" for what has no paths."""
        return self.match.path if isinstance(self.match, HostPath) else "/"

    @property
    def listening_port(self) -> ListeningPort | None:
        """The port that belongs to this route alone; None for a route that is matched by what
        clients send.
        """
        return self.match if isinstance(self.match, ListeningPort) else None

    @property
    def upstream(self) -> Upstream | None:
        """Upstream that it forwards to; None for a redirect."""
        return self.action.upstream if isinstance(self.action, ForwardTo) else None

    @property
    def redirect(self) -> RedirectRule | None:
        """Redirect that it responds with; None when it forwards."""
        return None if isinstance(self.action, ForwardTo) else self.action

    @property
    def claimed_name(self) -> str:
        """Name that it asks for, which somebody can own: the host pattern ("": any host), or
        "tcp://:5432".
        """
        return str(self.match) if isinstance(self.match, ListeningPort) else self.host

    @property
    def name(self) -> str:
        """A short name for logs and metrics: "http://shop.example.com/api", "tcp://:5432"; bounded
        (`bounded_name`).
        """
        match = self.match
        if isinstance(match, HostPath):
            return bounded_name(f"http://{match.host}{match.path if match.path != '/' else ''}")
        return bounded_name(f"sni://{match.name}") if isinstance(match, ServerName) else str(match)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something wrong with somebody's labels, as data.

    `code` is stable and documented ("HRM003"); `service` and `label` say where, `column` is the
    1-based position of the character in the label's value (0: the whole label). `message` says what
    is wrong, `hint` what to write instead; `names` are those (`Route.claimed_name`) that are asked
    for and not routed because of it, as far as they can be read. All is bounded (`meshlib.bounds`).
    """

    code: str
    severity: Severity
    service: str
    label: str
    message: str
    hint: str = ""
    column: int = 0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("service", "label"):
            object.__setattr__(self, name, bounded_name(getattr(self, name)))
        for name in ("message", "hint"):
            object.__setattr__(self, name, bounded_text(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Contribution:
    """Part of a snapshot that comes from one Docker service, container or file entry.

    `key` is unique and stable ("swarm/x8a7...": provider and the object's id), `created_at` its age
    in nanoseconds since the epoch (the older one wins a conflict; 0 when unknown). `owner` is the
    hand that it belongs to, as `meshlib.ownership` compares it: "stack shop", "project shop",
    "service shop", "container shop", "file /etc/services.yml"; "" for what is given in code.
    `networks` are the names of the networks it is on.
    """

    key: str
    service: str
    created_at: int = 0
    routes: tuple[Route, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    owner: str = ""
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", bounded_name(self.key))
        object.__setattr__(self, "service", bounded_name(self.service))
        object.__setattr__(self, "owner", bounded_name(self.owner))


class Tenure(NamedTuple):
    """Ownership of a name.

    `name` is what a route asks for (`Route.claimed_name`), `owner` a `Contribution.owner`. `since`
    is when the owner got it and `left` when the owner ceased to ask for it (0: it asks), in seconds
    since the epoch. `guests` are those that the owner's routes let in (`RouteOptions.share_with`),
    sorted.
    """

    name: str
    owner: str
    since: int = 0
    left: int = 0
    guests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is known, immutable; contributions are sorted by `key`, which makes equality exact.

    `tenures` holds the owner of each name (None: not settled yet). It is not part of equality:
    providers do not know it; `meshlib.ownership` finds it, and it travels along so that every
    process has the same.

    `names` are for resolvers of names (`meshlib.discovery.names`). No route depends on them, so
    workers are not sent any.
    """

    contributions: tuple[Contribution, ...] = ()
    tenures: Mapping[str, Tenure] | None = field(default=None, compare=False, repr=False)
    names: tuple[NameRecord, ...] = ()

    @staticmethod
    def of(contributions: Iterable[Contribution], names: Iterable[NameRecord] = ()) -> Snapshot:
        """A snapshot of contributions in any order, whose keys must differ (ValueError), and of
        `names` in the given order.
        """
        ordered = tuple(sorted(contributions, key=lambda c: c.key))
        for left, right in itertools.pairwise(ordered):
            if left.key == right.key:
                raise ValueError(f"two contributions have the key {left.key!r}")
        return Snapshot(ordered, names=tuple(names))

    @staticmethod
    def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
        """One snapshot of what several providers know."""
        parts = tuple(snapshots)
        return Snapshot.of(
            (c for part in parts for c in part.contributions),
            (name for part in parts for name in part.names),
        )

    def to_json(self) -> str:
        """The snapshot as JSON, tenures and names included; `from_json` reads it."""
        return to_json(self)

    @staticmethod
    def from_json(text: str, *, where: str = "snapshot") -> Snapshot:
        """The snapshot that `to_json` wrote; contributions may be in any order.

        `ConfigurationError` names the place below `where`
        ("snapshot.contributions[0].routes[2].port") and the cure. Whether its routes can be served
        is checked when a mesh gets it, as with every snapshot.
        """
        found = from_json(Snapshot, text, where)
        try:
            ordered = Snapshot.of(found.contributions)
        except ValueError as error:
            hint = "give each contribution a key of its own"
            raise ConfigurationError(
                str(error), where=f"{where}.contributions", hint=hint
            ) from None
        return replace(found, contributions=ordered.contributions)

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every route of every contribution, before conflicts are settled."""
        return tuple(r for c in self.contributions for r in c.routes)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Every diagnostic of the labels (the table adds those of conflicts)."""
        return tuple(d for c in self.contributions for d in c.diagnostics)
