"""Sections of the settings that are the gateway's own; the parts' own settings stand beside them
(`http`, `http2`, `tls`, `transport`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from meshlib.discovery.limits import DiscoveryLimits
from meshlib.labels.hrm import LABEL
from meshlib_adapters.config.declaration import limit, setting
from meshlib_adapters.config.owners import OwnerGrants, read_owners
from meshlib_adapters.config.readers import (
    read_bool,
    read_choice,
    read_duration,
    read_integer,
    read_names,
    read_response_size,
    read_text,
    read_variables,
)

__all__ = ["ComposeSettings", "DiscoverySettings", "LogSettings", "RoutingSettings"]


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Conflicts, owners of names, and responses to requests that no route matches."""

    unmatched_status: int = setting(
        404, read_integer(400, 599), "status for a host without a route (HRM: 503)"
    )
    retry_after: int = setting(
        1, read_integer(1, 86400), "seconds in Retry-After when no task can serve"
    )
    sharing: Literal["owner", "paths", "merge"] = setting(
        "owner",
        read_choice("owner", "paths", "merge"),
        "what other owners may have of a host: nothing ('owner'), 'paths' that its owner "
        "does not ask for, or all that HRM gave ('merge')",
    )
    owners: tuple[OwnerGrants, ...] = setting(
        (),
        read_owners,
        "hosts (*.HOST, * for all others) and ports, and who alone may have them: "
        "stack:, project:, service:, container:, network:",
    )
    keep_owners: float = setting(
        7 * 86400.0,
        read_duration,
        "how long a name that nobody asks for is kept for its owner; 0: not at all",
    )
    owned_names: int = setting(
        100_000,
        read_integer(1, 10**7),
        "hosts and ports whose owners are remembered",
        key="limits.owned_names",
    )
    owned_names_per_owner: int = setting(
        20_000,
        read_integer(1, 10**7),
        "the same for one owner",
        key="limits.owned_names_per_owner",
    )


_DISCOVERY = DiscoveryLimits()  # the core's own defaults, and its reasons for them
_COUNT = read_integer(1, 10**9)


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """Which services are routed, and how much they may ask for."""

    network_label: str = setting(
        LABEL, read_text, "label of the networks whose services are routed; 'any' for every network"
    )
    networks: tuple[str, ...] = setting(
        (), read_names, "names of further networks whose services are routed"
    )
    gateway_networks: tuple[str, ...] = setting(
        (),
        read_names,
        "names or ids of the gateway's own networks; default: detected; 'any': not checked",
    )
    blank_hosts: bool = setting(
        True,
        read_bool,
        "read http:// and sni:// without a host as every host, as HRM did; false: an error",
    )
    use_vip: bool = setting(
        False, read_bool, "use a Swarm service's virtual address instead of its tasks"
    )
    # What is known is served all the same. Off: where the engines of all gateways are away at once
    # (one manager for all), none would be ready.
    ready_without_engine: float = setting(
        0.0,
        read_duration,
        "how long /-/ready stays 200 while an engine cannot be read; 0: while requests are served",
    )
    answer_size: int = setting(
        64 * 1024 * 1024,
        read_response_size,
        "bytes of one list from an engine; a longer list is not read",
    )
    max_routes: int = setting(_DISCOVERY.routes, _COUNT, "routes of all services together")
    max_routes_per_service: int = setting(
        _DISCOVERY.labels.routes, _COUNT, "... and of one, published ports included"
    )
    max_ports_per_service: int = setting(
        _DISCOVERY.labels.ports,
        read_integer(1, 65535),
        "TCP and UDP ports of one service, by label or published",
    )
    max_labels_per_service: int = setting(
        _DISCOVERY.labels.labels, _COUNT, "routing labels of one service"
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
        _DISCOVERY.names, _COUNT, "names and aliases of one service that are resolved"
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
        "mistyped words of one service that are compared with known ones",
    )


@dataclass(frozen=True, slots=True)
class ComposeSettings:
    """Values for `${NAME}` in files of services, and the profiles that run."""

    variables: tuple[str, ...] = setting(
        (),
        read_variables,
        "variables that ${NAME} in files of services may take from the environment",
    )
    env_file: tuple[str, ...] = setting(
        (),
        read_names,
        "files of NAME=VALUE for the same, watched; the environment takes precedence; default: "
        ".env beside the file of services",
    )
    profiles: tuple[str, ...] = setting(
        (),
        read_names,
        "profiles whose services are routed, '*' for all; default: the variable COMPOSE_PROFILES",
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Log lines, access records and spans."""

    level: str = setting(
        "info",
        read_choice("debug", "info", "warning", "error"),
        "least severe level that is logged",
    )
    format: Literal["text", "json"] = setting(
        "text", read_choice("text", "json"), "format of log lines"
    )
    repeats: int | None = limit(
        20,
        read_integer(0, 10**6),
        "log lines of one kind in a burst; more are counted and reported in one line; 0: unlimited",
    )
    repeats_per_minute: int = setting(12, read_integer(1, 10**6), "... and per minute after that")
    access: bool = setting(True, read_bool, "write an access record for each request")
    access_format: Literal["combined", "json"] = setting(
        "combined", read_choice("combined", "json"), "format of access records"
    )
    spans: bool = setting(
        False,
        read_bool,
        "OpenTelemetry spans for requests with a sampled traceparent; OTEL_* configures the export",
    )
