"""An HTTP gateway whose routes stand in the program.

    python examples/static_gateway.py    # on port 8080 until Ctrl-C; drains on SIGTERM

Needs the extra `gateway`.
"""

import logging
import sys

import meshlib
from meshlib_adapters import Gateway

MESH = meshlib.Mesh(
    {
        "shop.example.com": ["10.0.0.5:8080", "10.0.0.6:8080"],
        "shop.example.com/api": meshlib.Service(
            ["10.0.0.7:80", "10.0.0.8:80"], strategy="least_connections", sticky="SID"
        ),
        "*.example.com": ["10.0.0.9:80"],
        "old.example.com": meshlib.redirect("https://shop.example.com"),
    }
)


def create_gateway(http: str = ":8080") -> Gateway:
    """The whole gateway. `MESH.replace` changes its routes while it serves."""
    return Gateway(MESH, http=http, settings={"timeouts.drain": "10s", "limits.max_body": "10MiB"})


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    sys.exit(create_gateway().run())
