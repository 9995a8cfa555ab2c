"""TCP and TLS passthrough: listeners, and a relay that leaves the moving of bytes to the kernel.

`TLSListener` routes by server name without a key, `TCPListener` relays a whole port; `Relay`, `Acceptor` and `Dialer` are
their parts, for gateways of your own.
"""

from meshlib_adapters.tcp.acceptor import Acceptor, listening_socket
from meshlib_adapters.tcp.dialer import Dialer
from meshlib_adapters.tcp.limits import ClientLimits
from meshlib_adapters.tcp.records import PortRecord, TunnelRecord
from meshlib_adapters.tcp.relay import Relay, RelayResources
from meshlib_adapters.tcp.settings import RelaySettings, TCPSettings, TLSSettings
from meshlib_adapters.tcp.tcp_listener import TCPListener
from meshlib_adapters.tcp.tls_listener import TLSListener

__all__ = [
    "Acceptor",
    "ClientLimits",
    "Dialer",
    "PortRecord",
    "Relay",
    "RelayResources",
    "RelaySettings",
    "TCPListener",
    "TCPSettings",
    "TLSListener",
    "TLSSettings",
    "TunnelRecord",
    "listening_socket",
]
