"""Providers for Docker: the services of a Swarm, the containers of one engine. Needs the extra `docker`."""

from meshlib_adapters.docker.containers import ContainerProvider
from meshlib_adapters.docker.schedule import Timing
from meshlib_adapters.docker.swarm import SwarmProvider

__all__ = ["ContainerProvider", "SwarmProvider", "Timing"]
