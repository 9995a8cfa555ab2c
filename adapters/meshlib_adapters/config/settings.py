"""The gateway's settings: defaults < TOML file < `MESHLIB_*` < command line.

One declaration for each setting, in the dataclass of the part that it is for, which gets it as it
is. Names follow from the declaration: `limits.head_size` is `[limits] head_size = ...` in TOML and
`MESHLIB_LIMITS_HEAD_SIZE` in the environment, `http` is `http = ...`, `MESHLIB_HTTP` and `--http`.
`sources` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from meshlib.client_claims import ForwardingPolicy
from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.limits import DiscoveryLimits
from meshlib.labels.limits import LabelLimits
from meshlib.mesh import Mesh
from meshlib.ownership import OwnershipRules
from meshlib_adapters.config.declaration import Declaration, setting
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.config.plugins import PluginSettings, load_plugins
from meshlib_adapters.config.readers import (
    Address,
    read_addresses,
    read_bool,
    read_choice,
    read_duration,
    read_engine,
    read_hosts,
    read_integer,
    read_names,
    read_proxies,
    read_pseudonym,
    read_text,
)
from meshlib_adapters.config.sections import (
    ComposeSettings,
    DiscoverySettings,
    LogSettings,
    RoutingSettings,
)
from meshlib_adapters.config.tls import TerminationSettings
from meshlib_adapters.config.transport import PortSettings, ProxyHeaderPolicy, TLSSettings

__all__ = [
    "DECLARED_HERE",
    "Settings",
    "discovery_limits",
    "ownership_rules",
    "resolve_options",
]

# Declarations of fields of the core, which knows no readers.
DECLARED_HERE: Final[Mapping[type, Mapping[str, Declaration]]] = {
    ForwardingPolicy: {
        "mode": Declaration(
            read_choice("set", "label", "off"),
            "X-Forwarded-*: 'set' always, 'label' only where a label asks (HRM), 'off' never",
        ),
        "trusted_proxies": Declaration(
            read_proxies,
            "peers whose X-Forwarded-* are trusted; 'unix:' for those of a Unix socket",
        ),
        "rfc7239": Declaration(read_bool, "also set Forwarded (RFC 7239)"),
        "via": Declaration(read_pseudonym, "pseudonym in Via (RFC 9110 7.6.3); 'off': add no Via"),
        "request_id": Declaration(
            read_bool, "add an X-Request-ID to each request, unless a trusted peer did"
        ),
        "underscores": Declaration(read_bool, "forward fields whose name has an underscore"),
    }
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, validated. `docker` and `swarm`: None is off, "" is DOCKER_HOST or the current
    context, else a URL.

    `requests`, `http2`, `tls`, `termination`, `ports`, `proxy_header` and `forwarding` are what the
    parts of that name take.
    """

    http: tuple[Address, ...] = setting(
        (Address("0.0.0.0", 80),),  # noqa: S104
        read_addresses,
        "addresses that accept HTTP; 'off' for none",
    )
    https: tuple[Address, ...] = setting(
        (Address("0.0.0.0", 8443),),  # noqa: S104
        read_addresses,
        "addresses that accept TLS, routed by server name; 'off' for none",
    )
    admin: tuple[Address, ...] = setting(
        (Address("127.0.0.1", 8081),),
        read_addresses,
        "address of the admin listener (/-/live, /-/ready, ...); 'off' for none",
    )
    admin_hosts: tuple[str, ...] = setting(
        (),
        read_hosts,
        "host names that requests to the admin listener may use, besides addresses and localhost",
    )
    workers: int = setting(1, read_integer(0, 1024), "worker processes; 0: one per core")
    user: str = setting(
        "", read_text, "user (name or number) that the workers become; only as root"
    )
    group: str = setting("", read_text, "... and their only group, instead of the user's own")
    services: tuple[str, ...] = setting(
        (),
        read_names,
        "YAML or Compose files of services, or directories with one, watched; FILE:FILE lays the "
        "second over the first",
    )
    docker: str | None = setting(None, read_engine, "containers of one engine: true, or its URL")
    swarm: str | None = setting(
        None, read_engine, "services of a Swarm, from one of its managers: true, or its URL"
    )
    state: str = setting(
        "",
        read_text,
        "directory that keeps the owners of names and the last snapshots; 'off' for "
        "none; default: STATE_DIRECTORY, else /var/lib/meshlib if it exists",
    )
    proxy_header: ProxyHeaderPolicy = field(default_factory=ProxyHeaderPolicy)
    compose: ComposeSettings = field(default_factory=ComposeSettings)
    discovery: DiscoverySettings = field(default_factory=DiscoverySettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    forwarding: ForwardingPolicy = field(default_factory=ForwardingPolicy)
    requests: HTTPSettings = field(default_factory=HTTPSettings)
    tls: TLSSettings = field(default_factory=TLSSettings)
    termination: TerminationSettings = field(default_factory=TerminationSettings)
    http2: HTTP2Settings = field(default_factory=HTTP2Settings)
    ports: PortSettings = field(default_factory=PortSettings)
    log: LogSettings = field(default_factory=LogSettings)
    plugins: PluginSettings = field(default_factory=PluginSettings)
    drain: float = setting(
        10.0,
        read_duration,
        "after SIGTERM, time for requests under way",
        key="timeouts.drain",
    )
    first_snapshot: float = setting(
        10.0,
        read_duration,
        "at the start, time to wait for a provider when another has delivered",
        key="timeouts.first_snapshot",
    )
    upstream_ca: str = setting(
        "",
        read_text,
        "PEM file of the authorities of endpoints asked over TLS; default: the system's",
        key="tls.upstream_ca",
    )

    def mesh(self, *, on_error: Callable[[Exception], None] | None = None) -> Mesh:
        """An empty mesh whose tables respond as these settings say, with the hooks of plug-ins;
        `on_error` as in `Mesh`.
        """
        return Mesh(
            unmatched_status=self.routing.unmatched_status,
            retry_after=self.routing.retry_after,
            https_port=self.tls.public_port,
            rules=ownership_rules(self),
            limits=discovery_limits(self),
            on_error=on_error,
            hooks=load_plugins(self.plugins),
        )


def resolve_options(settings: Settings) -> ResolveOptions:
    """Options for making routes of records."""
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
    """Limits on what services may have."""
    own = settings.discovery
    labels = LabelLimits(
        labels=own.max_labels_per_service,
        characters=own.max_label_text_per_service,
        routes=own.max_routes_per_service,
        ports=own.max_ports_per_service,
        diagnostics=own.max_diagnostics_per_service,
        suggestions=own.max_suggestions_per_service,
        blank_hosts=own.blank_hosts,
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
    """Rules on who may have a name."""
    routing = settings.routing
    owners = {item.name: item.grants for item in routing.owners}
    return OwnershipRules(
        routing.sharing,
        owners,
        int(routing.keep_owners),
        routing.owned_names,
        routing.owned_names_per_owner,
    )
