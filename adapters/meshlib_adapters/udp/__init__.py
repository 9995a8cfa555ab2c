"""UDP: a listener that carries the datagrams of each client to one endpoint, and its answers back."""

from meshlib_adapters.udp.listener import UDPListener
from meshlib_adapters.udp.settings import UDPSettings

__all__ = ["UDPListener", "UDPSettings"]
