"""ASGI servers, each in a process of its own, that serve `MeshApp` in front of one backend."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.support.backend import PATIENCE, Backend
from tests.support.client import Client, get

__all__ = ["SERVERS", "ASGIProcess", "app"]

_APP: Final = "tests.support.asgi_process:app"
_UVICORN: Final = (
    "uvicorn",
    "--no-proxy-headers",
    "--log-level=critical",
    "--ws=websockets-sansio",
    "--port={port}",
    "--loop=asyncio",
)
SERVERS: Final = {
    "uvicorn-httptools": (*_UVICORN, "--http=httptools", _APP),
    "uvicorn-h11": (*_UVICORN, "--http=h11", _APP),
    "hypercorn": ("hypercorn", "--bind=127.0.0.1:{port}", _APP),
    "granian": ("granian", "--interface=asgi", "--port={port}", "--no-log", _APP),
    "daphne": ("daphne", "--bind=127.0.0.1", "--port={port}", "--verbosity=0", _APP),
}
_CONTROL: Final = "control.invalid"


def _create() -> Any:
    from meshlib.mesh import Mesh
    from meshlib_adapters.asgi import MeshApp

    mesh = Mesh()
    served = MeshApp(mesh)

    async def controlled(scope: Any, receive: Any, send: Any) -> None:
        """What asks for the control host says where everything else goes."""
        if (b"host", _CONTROL.encode()) not in scope.get("headers", ()):
            await served(scope, receive, send)
            return
        port = scope["path"].strip("/")
        mesh.replace({"*": [f"127.0.0.1:{port}"]} if port else {})
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    return controlled


if "MESHLIB_PROBED" in os.environ:
    app = _create()


class ASGIProcess:
    """A server of one kind. It is at once a `Site` and an `OwnProcess` of the probes."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(root), str(root / "adapters")])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address: tuple[str, int] = free.getsockname()
        program, *options = SERVERS[kind]
        command = [option.format(port=self.address[1]) for option in options]
        self._clients: list[Client] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", program, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "MESHLIB_PROBED": "1"},
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.serve(None)
            except OSError:
                assert self._process.poll() is None, f"{kind} has ended"
                assert time.monotonic() < deadline, f"{kind} does not serve"
                time.sleep(0.02)
            else:
                break

    def serve(self, upstream: Backend | None) -> ASGIProcess:
        """Put another backend behind it, or none, and close what is left of the last clients."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        client = Client(self.address)
        try:
            client.send(get(f"/{upstream.port if upstream else ''}", _CONTROL))
            assert client.read_response().status == 204
        finally:
            client.close()
        return self

    def client(self) -> Client:
        """A new connection; closed when another backend comes."""
        client = Client(self.address)
        self._clients.append(client)
        return client

    def warm(self) -> int:
        """Serve a first request; returns the memory that takes."""
        client = Client(self.address)
        assert client.ask(get("/warm")).status == 200
        client.close()
        return self.memory()

    def memory(self, name: str = "VmRSS") -> int:
        """Bytes resident in all its processes; "VmHWM" for the most there ever were."""
        total = 0
        for pid in [self._process.pid, *self._children()]:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(f"{name}:"):
                    total += int(line.split()[1]) * 1024
        return total

    def stop(self) -> None:
        """End it."""
        for client in self._clients:
            client.close()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _children(self) -> list[int]:
        task = Path(f"/proc/{self._process.pid}/task")
        return [
            int(pid)
            for thread in task.iterdir()
            for pid in (thread / "children").read_text().split()
        ]
