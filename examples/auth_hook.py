"""A gateway that lets whoever knows a token pass, and tells the service who it is.

TOKENS=anna:s3cret python examples/auth_hook.py 10.0.0.5:8080
curl -H "Authorization: Bearer s3cret" http://127.0.0.1:8080/
"""

from __future__ import annotations

import hmac
import os
import sys

import meshlib
from meshlib_adapters import Gateway

TOKENS = dict(pair.split(":", 1) for pair in os.environ.get("TOKENS", "").split(",") if pair)


async def who(request: meshlib.Request) -> meshlib.Changes | meshlib.Response:
    given = (request.field("authorization") or "").removeprefix("Bearer ")
    for user, token in TOKENS.items():  # here a program would ask its database
        if hmac.compare_digest(given.encode(), token.encode()):
            return meshlib.Changes({"X-User": user}, remove=["Authorization"])
    return meshlib.Response(401, {"WWW-Authenticate": "Bearer"}, "Who are you?")


def mesh(addresses: list[str]) -> meshlib.Mesh:
    return meshlib.Mesh({"*": meshlib.Service(addresses, hooks=["auth"])}, hooks={"auth": who})


if __name__ == "__main__":
    Gateway(mesh(sys.argv[1:]), http="127.0.0.1:8080").run()
