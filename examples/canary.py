"""A gateway that tries a new version of a service: for 5 % of the clients, and for whoever asks for
it by a field.

    python examples/canary.py 10.0.0.5:8080 10.0.0.6:8080
    curl -H "X-Canary: yes" http://127.0.0.1:8080/
"""

from __future__ import annotations

import sys

import meshlib
from meshlib_adapters import Gateway
from meshlib_adapters.hooks.canary import Canary

NEW = "canary.internal"


def guard(request: meshlib.Request) -> meshlib.Response | None:
    route = request.decision.route
    return meshlib.Response(404) if route is not None and route.host == NEW else None


def mesh(old: str, new: str, share: float = 0.05) -> meshlib.Mesh:
    made = meshlib.Mesh({"*": [old], NEW: [new]})
    made.before(guard)  # nobody gets there by its name
    made.before(Canary(NEW, field="X-Canary", value="yes", share=share))
    return made


if __name__ == "__main__":
    Gateway(mesh(sys.argv[1], sys.argv[2]), http="127.0.0.1:8080").run()
