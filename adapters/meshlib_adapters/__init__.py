"""Everything of meshlib that does I/O: a gateway in one object, and its parts.

    import meshlib
    from meshlib_adapters import Gateway, SwarmProvider

    mesh = meshlib.Mesh({"shop.example.com": ["10.0.0.5:8080", "10.0.0.6:8080"]})
    Gateway(mesh, providers=[SwarmProvider()], http=":80").run()

Shown here is what most programs need, each loaded on first use; everything else is imported from
its module, and each module needs only its own extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import meshlib_adapters.extras as extras

if TYPE_CHECKING:
    from meshlib_adapters.config.settings import Settings
    from meshlib_adapters.gateway import Gateway
    from meshlib_adapters.listeners.http import HTTPListener
    from meshlib_adapters.listeners.published_ports import PublishedPorts
    from meshlib_adapters.listeners.tcp import TCPListener
    from meshlib_adapters.listeners.tls import TLSListener
    from meshlib_adapters.listeners.udp.listener import UDPListener
    from meshlib_adapters.providers.docker.containers import ContainerProvider
    from meshlib_adapters.providers.docker.swarm import SwarmProvider
    from meshlib_adapters.providers.file import FileProvider
    from meshlib_adapters.providers.polling import PollingProvider
    from meshlib_adapters.providers.provider import Provider, ProviderStatus
    from meshlib_adapters.proxy.proxy import Proxy
    from meshlib_adapters.socket_gateways import TCPGateway, TLSGateway
    from meshlib_adapters.streams.sniff import sniff
    from meshlib_adapters.streams.splice import splice

# Each with the extra that its module needs ("": none).
_PLACES = {
    "ContainerProvider": ("meshlib_adapters.providers.docker.containers", "docker"),
    "FileProvider": ("meshlib_adapters.providers.file", "gateway"),
    "Gateway": ("meshlib_adapters.gateway", "gateway"),
    "HTTPListener": ("meshlib_adapters.listeners.http", ""),
    "PollingProvider": ("meshlib_adapters.providers.polling", "gateway"),
    "PublishedPorts": ("meshlib_adapters.listeners.published_ports", ""),
    "Provider": ("meshlib_adapters.providers.provider", ""),
    "Proxy": ("meshlib_adapters.proxy.proxy", ""),
    "ProviderStatus": ("meshlib_adapters.providers.provider", ""),
    "Settings": ("meshlib_adapters.config.settings", ""),
    "SwarmProvider": ("meshlib_adapters.providers.docker.swarm", "docker"),
    "TCPGateway": ("meshlib_adapters.socket_gateways", "gateway"),
    "TCPListener": ("meshlib_adapters.listeners.tcp", ""),
    "TLSGateway": ("meshlib_adapters.socket_gateways", "gateway"),
    "TLSListener": ("meshlib_adapters.listeners.tls", ""),
    "UDPListener": ("meshlib_adapters.listeners.udp.listener", ""),
    "sniff": ("meshlib_adapters.streams.sniff", ""),
    "splice": ("meshlib_adapters.streams.splice", ""),
}

__all__ = [
    "ContainerProvider",
    "FileProvider",
    "Gateway",
    "HTTPListener",
    "PollingProvider",
    "Provider",
    "ProviderStatus",
    "Proxy",
    "PublishedPorts",
    "Settings",
    "SwarmProvider",
    "TCPGateway",
    "TCPListener",
    "TLSGateway",
    "TLSListener",
    "UDPListener",
    "sniff",
    "splice",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = extras.load(_PLACES[name][0], name, _PLACES[name][1])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
