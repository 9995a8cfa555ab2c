"""Providers that settings name, and their first snapshots for commands that do not serve."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread

from meshlib.discovery.files.own_endpoints import OwnListeners
from meshlib.discovery.files.variables import choose_variables
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import Snapshot
from meshlib_adapters.config.plugins import load_plugin
from meshlib_adapters.config.settings import Settings, discovery_limits, resolve_options
from meshlib_adapters.extras import not_installed
from meshlib_adapters.providers.feed import log_failure
from meshlib_adapters.providers.interfaces import find_interfaces
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.providers.state_keeper import existing_directory

__all__ = [
    "build_providers",
    "first_snapshots",
    "given_providers",
    "names_providers",
    "own_listeners",
]

_NOTHING_TO_ASK = "name at least one: --services FILE, --docker [URL], --swarm [URL]"


def build_providers(settings: Settings) -> list[Provider]:
    """The providers that `settings` name, at least one; `ConfigurationError` for none, or for one
    whose extra is not installed.
    """
    providers: list[Provider] = []
    if settings.services:
        from meshlib_adapters.providers.file import FileProvider

        compose, limits = settings.compose, discovery_limits(settings)
        variables = choose_variables(os.environ, compose.variables)
        providers += [
            FileProvider(
                [path for path in entry.split(os.pathsep) if path],
                variables=variables,
                env_files=compose.env_file,
                profiles=compose.profiles or None,
                limits=limits,
                own=partial(own_listeners, settings),
            )
            for entry in dict.fromkeys(settings.services)
        ]
    if settings.docker is not None or settings.swarm is not None:
        try:
            from meshlib_adapters.providers.docker.containers import ContainerProvider
            from meshlib_adapters.providers.docker.swarm import SwarmProvider
        except ImportError as error:
            raise not_installed("the Docker SDK", error, "docker", "--docker, --swarm") from None
        options, most = resolve_options(settings), settings.discovery.answer_size
        if settings.swarm is not None:
            providers.append(
                SwarmProvider(settings.swarm or None, options=options, max_response=most)
            )
        if settings.docker is not None:
            providers.append(
                ContainerProvider(settings.docker or None, options=options, max_response=most)
            )
    providers += [load_plugin("providers", name, _made) for name in settings.plugins.providers]
    if not providers:
        raise ConfigurationError("there is no provider of routes", hint=_NOTHING_TO_ASK)
    return providers


def own_listeners(settings: Settings) -> OwnListeners:
    """The listeners that a gateway with these settings has in this machine or container now."""
    found = {
        (address.host or "0.0.0.0", address.port)  # noqa: S104
        for address in (*settings.http, *settings.https, *settings.admin)
    }
    interfaces = frozenset(one.partition("/")[0] for one in find_interfaces() or ())
    ports = settings.ports.host if settings.ports.open != "off" else ""
    return OwnListeners(frozenset(found), interfaces, ports)


def given_providers(providers: Iterable[Provider] | None) -> tuple[Provider, ...]:
    """The providers that code gives a gateway; `ConfigurationError` for anything else."""
    if isinstance(providers, str) or not isinstance(providers, Iterable | None):
        raise ConfigurationError(
            f"a list of providers is wanted, not {providers!r}",
            where="Gateway(providers=)",
            hint="write providers=[SwarmProvider()]",
        )
    found = tuple(providers or ())
    for number, provider in enumerate(found):
        if not _is_provider(provider):
            hint = "give instances, such as SwarmProvider()"
            raise ConfigurationError(
                f"{provider!r} is not a provider", where=f"providers[{number}]", hint=hint
            )
    return found


def _is_provider(provider: object) -> bool:
    return callable(getattr(provider, "snapshots", None)) and isinstance(
        getattr(provider, "name", None), str
    )


def _made(factory: Callable[[], Provider]) -> Provider:
    provider = factory()
    if not _is_provider(provider):
        raise ConfigurationError(f"it made {provider!r}, which is not a provider")
    return provider


def names_providers(settings: Settings) -> bool:
    """Whether `settings` name any provider."""
    named = bool(settings.services) or bool(settings.plugins.providers)
    return named or settings.docker is not None or settings.swarm is not None


async def first_snapshots(settings: Settings, *, wait: float = 10.0) -> Mesh:
    """A mesh of the first snapshot of each provider, for commands that do not serve.

    The networks of this process do not count, since it is not the gateway, unless
    `discovery.gateway_networks` names some. `ConfigurationError` when a provider reports trouble
    instead, or delivers nothing for `wait` seconds.
    """
    mesh = settings.mesh(on_error=log_failure)
    directory = existing_directory(settings.state, os.environ)
    kept: Mapping[str, Snapshot] = {}
    if directory is not None:
        # Owners and last good routes as the gateway on this machine has recorded them, where we may
        # read that.
        state = await anyio.to_thread.run_sync(directory.peek)
        mesh.restore(state.tenures)
        kept = state.snapshots
    if not settings.discovery.gateway_networks:
        settings = replace(
            settings, discovery=replace(settings.discovery, gateway_networks=("any",))
        )
    for provider in build_providers(settings):
        remember = getattr(provider, "remember", None)
        if provider.name in kept and callable(remember):
            remember(kept[provider.name])
        snapshot = await _first_snapshot(provider, wait)
        if snapshot is None:
            raise ConfigurationError(
                provider.status.reason or f"no response within {wait:g} s", where=provider.name
            )
        mesh.publish(provider.name, snapshot, now=time.time())
    return mesh


async def _first_snapshot(provider: Provider, wait: float) -> Snapshot | None:
    result: Snapshot | None = None
    with anyio.move_on_after(wait):
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                nonlocal result
                async for snapshot in provider.snapshots():
                    result = snapshot
                    break
                group.cancel_scope.cancel()

            async def watch() -> None:
                while True:
                    if provider.status.state == "degraded":
                        group.cancel_scope.cancel()
                    await anyio.sleep(0.02)

            group.start_soon(ask)
            group.start_soon(watch)
    return result
