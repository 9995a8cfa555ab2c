"""The gateway's settings: defaults < TOML file < `MESHLIB_*` < command line.

One declaration for each setting, here and in `sections`, with its default, its reader and its
meaning; names follow from it: `limits.head_size` is `[limits] head_size = ...` in TOML and
`MESHLIB_LIMITS_HEAD_SIZE` in the environment, `http` is `http = ...`, `MESHLIB_HTTP` and `--http`.
`sources` reads them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, cast

from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.limits import DiscoveryLimits
from meshlib.forwarding import ForwardingPolicy
from meshlib.labels.limits import LabelLimits
from meshlib.ownership import OwnershipRules
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.readers import (
    Address,
    Network,
    read_addresses,
    read_choice,
    read_engine,
    read_hosts,
    read_integer,
    read_names,
    read_networks,
    read_text,
)
from meshlib_adapters.config.sections import (
    ComposeSettings,
    DiscoverySettings,
    ForwardingSettings,
    HTTP2LimitSettings,
    LimitSettings,
    LogSettings,
    PortsSettings,
    RoutingSettings,
    TimeoutSettings,
    TLSTerminationSettings,
    setting,
)
from meshlib_adapters.config.transport import ProxyHeaderPolicy

if TYPE_CHECKING:
    from meshlib_adapters.config.http2 import HTTP2Settings

__all__ = [
    "ForwardingSettings",
    "LimitSettings",
    "LogSettings",
    "PortsSettings",
    "RoutingSettings",
    "Settings",
    "TLSTerminationSettings",
    "TimeoutSettings",
    "discovery_limits",
    "forwarding_policy",
    "http2_limits",
    "http_settings",
    "ownership_rules",
    "proxy_header_policy",
    "resolve_options",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, validated. `docker` and `swarm`: None is off, "" is DOCKER_HOST or the current
    context, else a URL.
    """

    http: tuple[Address, ...] = setting(
        (Address("0.0.0.0", 80),),  # noqa: S104
        read_addresses,
        "listeners for HTTP; 'off' for none",
    )
    https: tuple[Address, ...] = setting(
        (Address("0.0.0.0", 8443),),  # noqa: S104
        read_addresses,
        "listeners for TLS, routed by server name",
    )
    admin: tuple[Address, ...] = setting(
        (Address("127.0.0.1", 8081),), read_addresses, "listener for /-/live, /-/ready, ..."
    )
    admin_hosts: tuple[str, ...] = setting(
        (), read_hosts, "names that it may be asked by, besides addresses and localhost"
    )
    proxy_protocol: str = setting(
        "off",
        read_choice("off", "accept", "require"),
        "PROXY protocol (v1, v2) on HTTP and TLS listeners: 'accept' it or 'require' it",
    )
    proxy_protocol_from: tuple[Network, ...] = setting(
        (), read_networks, "the proxies in front that may send one"
    )
    workers: int = setting(1, read_integer(0, 1024), "processes that serve; 0: one for each core")
    user: str = setting(
        "", read_text, "the workers become this user (name or number); only as root"
    )
    group: str = setting("", read_text, "... with this group alone, instead of the user's own")
    services: tuple[str, ...] = setting((), read_names, "YAML files of services, watched")
    docker: str | None = setting(None, read_engine, "containers of one engine: true, or its URL")
    swarm: str | None = setting(
        None, read_engine, "services of a Swarm, by one of its managers: true, or its URL"
    )
    state: str = setting(
        "",
        read_text,
        "directory that keeps whose names are, and the last snapshots; 'off' for none; else STATE_DIRECTORY, /var/lib/meshlib if there",
    )
    compose: ComposeSettings = field(default_factory=ComposeSettings)
    discovery: DiscoverySettings = field(default_factory=DiscoverySettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    forwarding: ForwardingSettings = field(default_factory=ForwardingSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    timeouts: TimeoutSettings = field(default_factory=TimeoutSettings)
    tls: TLSTerminationSettings = field(default_factory=TLSTerminationSettings)
    http2: HTTP2LimitSettings = field(default_factory=HTTP2LimitSettings)
    ports: PortsSettings = field(default_factory=PortsSettings)
    log: LogSettings = field(default_factory=LogSettings)


def http_settings(settings: Settings) -> HTTPSettings:
    """What the HTTP data path needs of `settings`: its fields have the names of those in `limits`
    and `timeouts`.
    """
    wanted = {item.name for item in fields(HTTPSettings)}
    own: dict[str, Any] = {}
    for part in (settings.limits, settings.timeouts):
        own.update(
            {item.name: getattr(part, item.name) for item in fields(part) if item.name in wanted}
        )
    return HTTPSettings(**own, upstream_ca=settings.tls.upstream_ca)


def http2_limits(settings: Settings) -> HTTP2Settings | None:
    """What peers of HTTP/2 may do, clients and endpoints; None: the extra `http2` is not
    installed.
    """
    try:
        from meshlib_adapters.config.http2 import HTTP2Settings
    except ImportError:
        return None
    return HTTP2Settings(**asdict(settings.http2))


def resolve_options(settings: Settings) -> ResolveOptions:
    """How records become routes."""
    wanted = settings.discovery
    label = "" if wanted.network_label == "any" else wanted.network_label
    published = settings.ports.open == "published"
    networks = frozenset(wanted.networks)
    own = frozenset(wanted.gateway_networks)
    return ResolveOptions(
        network_label=label,
        networks=networks,
        reachable=own or None,
        check_networks="any" not in own,
        use_vip=wanted.use_vip,
        published_ports=published,
        limits=discovery_limits(settings),
    )


def discovery_limits(settings: Settings) -> DiscoveryLimits:
    """What services may have."""
    own = settings.discovery
    labels = LabelLimits(
        labels=own.max_labels_per_service,
        characters=own.max_label_text_per_service,
        routes=own.max_routes_per_service,
        ports=own.max_ports_per_service,
        diagnostics=own.max_diagnostics_per_service,
        suggestions=own.max_suggestions_per_service,
    )
    return DiscoveryLimits(
        labels=labels,
        endpoints=own.max_endpoints_per_service,
        names=own.max_names_per_service,
        label_text=own.max_label_text,
        routes=own.max_routes,
        diagnostics=own.max_diagnostics,
    )


def ownership_rules(settings: Settings) -> OwnershipRules:
    """Who may ask for a name."""
    routing, limits = settings.routing, settings.limits
    sharing = cast("Literal['owner', 'paths', 'merge']", routing.sharing)
    owners = {item.name: item.grants for item in routing.owners}
    return OwnershipRules(
        sharing, owners, int(routing.keep_owners), limits.owned_names, limits.owned_names_per_owner
    )


def forwarding_policy(settings: Settings) -> ForwardingPolicy:
    """What upstreams are told about clients."""
    own = settings.forwarding
    return ForwardingPolicy(**{item.name: getattr(own, item.name) for item in fields(own)})


def proxy_header_policy(settings: Settings) -> ProxyHeaderPolicy:
    """From whom the HTTP and TLS listeners take PROXY protocol headers."""
    mode = cast("Literal['off', 'accept', 'require']", settings.proxy_protocol)
    return ProxyHeaderPolicy(mode, settings.proxy_protocol_from)
