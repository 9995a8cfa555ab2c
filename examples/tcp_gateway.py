"""A TCP gateway: one port, several endpoints, the next one when one does not take a connection.

    python examples/tcp_gateway.py :5432 10.0.0.5:5432 10.0.0.6:5432    # until Ctrl-C

With a `Mesh` in place of the addresses, the endpoints are those of its route "tcp://:5432", and
providers may change them. Needs the extra `gateway`.
"""

import logging
import sys

import meshlib
from meshlib_adapters import TCPGateway


def create_gateway(listen: str, *addresses: str) -> TCPGateway:
    """The whole gateway: new connections go to the endpoint with the fewest."""
    service = meshlib.Service(addresses, strategy="least_connections")
    settings = {"timeouts.tunnel_idle": "10m", "limits.max_connections_per_client": 100}
    return TCPGateway(service, listen=listen, settings=settings)


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    sys.exit(create_gateway(*sys.argv[1:]).run())
