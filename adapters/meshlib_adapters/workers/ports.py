"""Published ports for TCP and UDP routes as the gateway's settings want them: none unless they say
so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from meshlib.mesh import Mesh
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.listeners.published_ports import PublishedPorts
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.workers.descriptors import connections_that_fit, raise_limit

__all__ = ["create_ports"]


logger = logging.getLogger("meshlib.workers")


def create_ports(
    mesh: Mesh,
    settings: Settings,
    reserved: Collection[int],
    on_end: Callable[[ConnectionRecord], None] | None = None,
) -> PublishedPorts | None:
    """The listeners, not started; None when the settings want none: then the log says so once, when
    a route asks for a port.

    `reserved` are ports that the gateway itself listens on, besides those that its settings name.
    `on_end` as in `PublishedPorts`.
    """
    if settings.ports.open == "off":
        _PortsOff(mesh)
        return None
    own = {address.port for address in (*settings.http, *settings.https, *settings.admin)}
    wanted, descriptors = settings.ports, raise_limit()
    connections = connections_that_fit(wanted.tcp.max_connections, descriptors, each=2, what="TCP")
    flows = connections_that_fit(
        wanted.udp.max_flows, descriptors, each=1, what="UDP", setting="ports.max_flows"
    )
    wanted = replace(
        wanted,
        reuse_port=settings.workers
        != 1,  # each has a socket of its own; the kernel spreads clients
        tcp=replace(wanted.tcp, max_connections=connections),
        udp=replace(wanted.udp, max_flows=flows),
    )
    rule = settings.proxy_header if wanted.proxy_protocol else None
    return PublishedPorts(
        mesh, wanted, reserved=own.union(reserved), on_end=on_end, proxy_protocol=rule
    )


class _PortsOff:
    """Logs once that routes ask for ports that are not opened."""

    def __init__(self, mesh: Mesh) -> None:
        self._unsubscribe = mesh.subscribe(self._check)
        self._check(mesh)

    def _check(self, mesh: Mesh) -> None:
        if mesh.table.ports:
            port, slot = min(mesh.table.ports.items())
            message = (
                "%s asks for %s, and no such port is opened here: "
                "set ports.open to 'labels' to have them (see docs/ports.md)"
            )
            logger.warning(message, slot.route.service, port)
            self._unsubscribe()
