"""Services of a Compose project: whether each runs, by its `profiles`, and under which name it is
found, by its `network_mode`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from meshlib.discovery.files.interpolation import interpolate
from meshlib.discovery.files.sources import Source, last_text, layers
from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show

__all__ = ["active_profiles", "host_name", "is_active"]

_PROFILES: Final = "COMPOSE_PROFILES"
_ALL: Final = "*"
# Services on each other's networks; people have one such step.
_MAX_STEPS: Final = 20
_ENDPOINTS_HINT: Final = 'add endpoints: ["HOST:PORT"]'


def active_profiles(chosen: frozenset[str] | None, variables: Mapping[str, str]) -> frozenset[str]:
    """The profiles that are `chosen`, else those in the variable COMPOSE_PROFILES, separated by
    commas.
    """
    if chosen is not None:
        return chosen
    return frozenset(name.strip() for name in variables.get(_PROFILES, "").split(",")) - {""}


def is_active(sources: Sequence[Source], service: str, active: frozenset[str]) -> bool:
    """Whether a service is in no profile, or in an active one; "*" stands for all of them.

    `ConfigurationError` for `profiles` that are not a list of texts.
    """
    own: list[str] = []
    for layer in layers(sources, service, "profiles"):
        names = layer.value if isinstance(layer.value, list) else [None]
        for name in names:
            if not isinstance(name, str):
                raise ConfigurationError(
                    "profiles is not a list of strings", hint='write profiles: ["NAME"]'
                )
            own.append(interpolate(name, layer.source.variables))
    return not own or _ALL in active or not active.isdisjoint(own)


def host_name(service: str, services: Mapping[str, Sequence[Source]]) -> str:
    """The name under which the containers of a service are found on Compose's networks: its own, or
    that of whose network it is on.

    `ConfigurationError` for a service that has none: Docker's DNS knows no container on the network
    of the host, on the default bridge, or on no network.
    """
    name = service
    for _ in range(_MAX_STEPS):
        sources = services.get(name)
        if sources is None:
            raise ConfigurationError(
                f"network_mode names the service {show(name)}, which does not exist",
                hint=_ENDPOINTS_HINT,
            )
        mode = last_text(sources, name, "network_mode")
        kind, _, target = mode.partition(":")
        if mode in ("host", "none", "bridge"):
            raise ConfigurationError(
                f"with network_mode {mode} no name leads to it", hint=_ENDPOINTS_HINT
            )
        if kind == "container" and target:
            return target
        if kind != "service":
            return name
        name = target
    raise ConfigurationError(
        f"network_mode goes over more than {_MAX_STEPS} services, or in a circle",
        hint=_ENDPOINTS_HINT,
    )
