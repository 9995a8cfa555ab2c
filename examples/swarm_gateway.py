"""A gateway for a Docker Swarm: services say in labels which requests they want.

    python examples/swarm_gateway.py    # HTTP on 80, TLS by server name on 8443, until Ctrl-C

A service is routed when it is on a network with the label com.docker.ucp.mesh.http and has one like
com.docker.ucp.mesh.http.80: "external_route=http://shop.example.com,internal_port=8080". Runs on a
manager, in a container on those networks. Needs the extra `gateway`.
"""

import logging
import sys

import meshlib
from meshlib_adapters import Gateway, SwarmProvider


def create_gateway(swarm: SwarmProvider, http: str = ":80", tls: str = ":8443") -> Gateway:
    """The whole gateway: the Swarm's services, and one redirect of its own."""
    mesh = meshlib.Mesh({"old.example.com": meshlib.redirect("https://shop.example.com")})
    return Gateway(mesh, providers=[swarm], http=http, tls=tls)


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    sys.exit(create_gateway(SwarmProvider()).run())
