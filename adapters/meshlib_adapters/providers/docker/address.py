"""Address of the engine: a URL, DOCKER_HOST or a docker context, read as the docker command
does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import docker.errors
from docker.context import ContextAPI
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env, parse_host

from meshlib.errors import ConfigurationError

__all__ = ["EngineAddress", "find_engine"]

_CONTEXT = "context://"
_HINT = "write unix:///var/run/docker.sock, tcp://HOST:2376, ssh://USER@HOST or context://NAME"


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Parameters for an API client of an engine. `base_url` None: the local socket, wherever this
    platform has it.
    """

    base_url: str | None
    tls: TLSConfig | None = None

    def __str__(self) -> str:
        return self.base_url or "the local Docker socket"


def find_engine(url: str | None = None) -> EngineAddress:
    """Find the engine at `url`. Raises `ConfigurationError` when there can be no such engine.

    Without `url`: DOCKER_HOST, else DOCKER_CONTEXT, else the current context, else the local
    socket. Keys and certificates are those of the context, or of DOCKER_CERT_PATH with
    DOCKER_TLS_VERIFY.
    """
    try:
        if url is None and not os.environ.get("DOCKER_HOST"):
            return _context(os.environ.get("DOCKER_CONTEXT"))
        if url is not None and url.startswith(_CONTEXT):
            return _context(url.removeprefix(_CONTEXT))
        found = kwargs_from_env(environment={**os.environ, **({"DOCKER_HOST": url} if url else {})})
        parse_host(found.get("base_url"), tls=bool(found.get("tls")))
    except ConfigurationError:
        raise
    except (docker.errors.DockerException, ValueError, OSError) as error:
        raise ConfigurationError(str(error), where=url or "DOCKER_HOST", hint=_HINT) from None
    return EngineAddress(found.get("base_url"), found.get("tls") or None)


def _context(name: str | None) -> EngineAddress:
    try:
        context = ContextAPI.get_context(name)
    except Exception as error:  # noqa: BLE001
        raise ConfigurationError(
            f"cannot be read: {error}", where=f"docker context {name}", hint="docker context ls"
        ) from None
    if context is None:
        raise ConfigurationError(
            "does not exist", where=f"docker context {name}", hint="docker context ls"
        )
    return EngineAddress(context.Host or None, context.TLSConfig or None)
