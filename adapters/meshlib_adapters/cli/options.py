"""Options that several commands share, and the settings that they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import click

from meshlib_adapters.config.settings import Settings
from meshlib_adapters.config.sources import (
    Layer,
    environment_layer,
    resolve_settings,
    toml_layer,
)

__all__ = [
    "ADMIN",
    "CONFIG",
    "JSON",
    "gateway_options",
    "load_settings",
    "source_options",
]

P = ParamSpec("P")
R = TypeVar("R")

# `--admin` without a URL: the gateway is asked where its settings say.
_AS_CONFIGURED = ""


def _options(
    *options: Callable[[Callable[P, R]], Callable[P, R]],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


CONFIG = click.option("--config", metavar="FILE.toml", help="Settings file; also MESHLIB_CONFIG.")
_SERVICES = click.option(
    "--services",
    metavar="FILE",
    multiple=True,
    help="YAML or Compose file of services, or FILE:OVERRIDE; may be repeated.",
)
_ENGINE = "[URL]"
_DOCKER = click.option(
    "--docker",
    metavar=_ENGINE,
    is_flag=False,
    flag_value="true",
    help="Route containers of a Docker Engine: at URL, else DOCKER_HOST.",
)
_SWARM = click.option(
    "--swarm",
    metavar=_ENGINE,
    is_flag=False,
    flag_value="true",
    help="Route services of a Swarm: of the manager at URL, else DOCKER_HOST.",
)
_LISTENERS = [
    click.option(
        "--http",
        metavar="HOST:PORT",
        multiple=True,
        help="Address to accept HTTP on, or 'off'.  [0.0.0.0:80]",
    ),
    click.option(
        "--https",
        metavar="HOST:PORT",
        multiple=True,
        help="Address to accept TLS on, or 'off'.  [0.0.0.0:8443]",
    ),
    click.option(
        "--admin",
        metavar="HOST:PORT",
        multiple=True,
        help="Address of the admin listener, or 'off'.  [127.0.0.1:8081]",
    ),
]
_LOG = [
    click.option("--log-level", metavar="L", help="debug, info, warning or error.  [info]"),
    click.option("--log-format", metavar="text|json", help="Format of log lines.  [text]"),
]
ADMIN = click.option(
    "--admin",
    metavar="[URL]",
    is_flag=False,
    flag_value=_AS_CONFIGURED,
    help="Ask a running gateway: its admin listener at URL, else as configured.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_WORKERS = click.option("--workers", metavar="N", help="Worker processes; 0 for one per core.  [1]")
gateway_options = _options(_SERVICES, _DOCKER, _SWARM, *_LISTENERS, _WORKERS, CONFIG, *_LOG)
source_options = _options(_SERVICES, _DOCKER, _SWARM, ADMIN, CONFIG)


def load_settings(config: str | None = None, **options: Any) -> tuple[Settings, dict[str, str]]:
    """The settings in effect and their origins: file, environment, then `options` (None and () are
    "not given").
    """
    config = config or os.environ.get("MESHLIB_CONFIG") or None
    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value not in (None, ())
    }
    values = {name.replace("log_", "log."): value for name, value in given.items()}
    line = Layer(values, {name: "--" + name.replace(".", "-") for name in values})
    return resolve_settings(
        [*([toml_layer(config)] if config else []), environment_layer(os.environ)[0], line]
    )
