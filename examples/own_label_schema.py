"""A gateway that reads labels of a dialect of its own beside those of Docker's HTTP Routing Mesh:

    labels:
      mesh.host: shop.example.com www.example.com
      mesh.port: 8080

    python examples/own_label_schema.py         # services of the Swarm that DOCKER_HOST leads to

Needs the extra `docker`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import meshlib
from meshlib.model import Severity
from meshlib_adapters import Gateway


@meshlib.label_schema("mesh", prefix="mesh.")
def read(
    labels: Mapping[str, str], service: str
) -> Iterator[Mapping[str, object] | meshlib.Diagnostic]:
    for label in sorted(labels.keys() - {"mesh.host", "mesh.port"}):
        yield meshlib.Diagnostic("MESH1", Severity.WARNING, service, label, "is not known")
    for host in labels.get("mesh.host", "").split():
        yield {
            "external_route": f"http://{host}",
            "internal_port": labels.get("mesh.port"),
            "label": "mesh.host",
        }


if __name__ == "__main__":
    Gateway(settings={"swarm": True}, http="127.0.0.1:8080").run()
