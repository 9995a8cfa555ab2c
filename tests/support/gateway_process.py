"""A gateway in a process of its own, and how much memory it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.backend import Backend
from tests.support.client import Client, get

__all__ = ["MEGABYTE", "Process"]

MEGABYTE = 1_000_000

GATEWAY = """
import asyncio, sys
from meshlib.model import Contribution, Endpoint, ForwardTo, HostPath, Route, Snapshot, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.listeners.http import HTTPListener
from meshlib_adapters.proxy.proxy import Proxy
from meshlib.mesh import Mesh

async def main():
    upstream = Upstream(UpstreamKey("u"), (Endpoint("u.1", "127.0.0.1", int(sys.argv[1])),))
    route = Route(HostPath(""), ForwardTo(upstream), service="u")
    gateway = HTTPListener(Proxy(Mesh(Snapshot.of([Contribution("u", "u", routes=(route,))]))))
    print((await gateway.listen("127.0.0.1", 0))[0][1], flush=True)
    await asyncio.Event().wait()

if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


class Process:
    """A gateway in a process of its own, so that its memory can be watched."""

    def __init__(self, upstream: Backend, loop: str) -> None:
        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(root), str(root / "adapters")])
        self._process = subprocess.Popen(
            [sys.executable, "-c", GATEWAY, str(upstream.port), loop],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        self.address = ("127.0.0.1", int(self._process.stdout.readline()))

    def warm(self) -> int:
        """Serve a first request; returns the memory that takes."""
        client = Client(self.address)
        assert client.ask(get("/warm")).status == 200
        client.close()
        return self.memory()

    def memory(self, name: str = "VmRSS") -> int:
        """Bytes resident; "VmHWM" for the most there ever were."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(name)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
