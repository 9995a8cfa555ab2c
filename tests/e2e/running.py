"""A gateway of this checkout inside the lab: `meshlib serve --swarm` in a namespace on the routed
networks, and questions to it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab.lab import Inside, Lab
from tests.lab.node import Popen, wait_until

__all__ = ["HTTP", "Gateway", "Load"]

HTTP = "http://127.0.0.1:8080"
_ADMIN = "127.0.0.1:8081"
_ROOT = Path(__file__).parents[2]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'adapters'}"}


class Gateway:
    """`meshlib serve --swarm` on the networks; ready when made."""

    def __init__(self, lab: Lab, networks: Sequence[str], *options: str) -> None:
        self.lab = lab
        self.inside: Inside = lab.inside(networks)
        command = [
            sys.executable,
            "-m",
            "meshlib_adapters.cli",
            "serve",
            "--swarm",
            lab.url,
            "--http",
            "127.0.0.1:8080",
        ]
        command += ["--https", "127.0.0.1:8443", "--admin", _ADMIN, *options]
        self.process: Popen = lab.start(
            self.inside, command, env=_environment(), stdout=subprocess.DEVNULL
        )
        wait_until(
            lambda: "ready" in self.fetch(f"http://{_ADMIN}/-/ready") or None,
            timeout=30,
            what="the gateway is ready",
        )

    def fetch(self, url: str, *options: str) -> str:
        return self.inside.fetch(url, *options)

    def get(self, host: str, path: str = "/", *options: str) -> str:
        """The body of a response, "" when there is none."""
        return self.fetch(f"{HTTP}{path}", "-H", f"Host: {host}", *options)

    def status(self, host: str, path: str = "/") -> str:
        """ "STATUS LOCATION" of a response."""
        return self.get(host, path, "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}").strip()

    def routes(self) -> dict[str, Any]:
        """What `/-/routes` says."""
        response: dict[str, Any] = json.loads(self.fetch(f"http://{_ADMIN}/-/routes"))
        return response

    def command(self, *arguments: str) -> str:
        """What `meshlib ARGUMENTS --admin` prints in the gateway's namespace."""
        command = self.inside.command(
            [
                sys.executable,
                "-m",
                "meshlib_adapters.cli",
                *arguments,
                "--admin",
                f"http://{_ADMIN}",
            ]
        )
        return subprocess.run(
            command, env=_environment(), capture_output=True, text=True, check=False, timeout=30
        ).stdout

    def wait_for(self, host: str, *, endpoints: int, timeout: float = 15) -> None:
        """Wait until the route of `host` has exactly so many ready endpoints."""

        def look() -> bool:
            found = [route for route in self.routes()["routes"] if route["host"] == host]
            ready = [e for route in found for e in route["endpoints"] if e["state"] == "ready"]
            return bool(found) and len(ready) == endpoints

        wait_until(look, timeout=timeout, what=f"{host} has {endpoints} endpoints")

    def replicas(self, host: str, count: int) -> set[str]:
        """The bodies of so many responses."""
        return {self.get(host) for _ in range(count)}


class Load:
    """Requests to a host of the gateway all the time; `stop()` tells what came of them."""

    def __init__(self, gateway: Gateway, host: str, path: str = "/") -> None:
        command = [sys.executable, str(Path(__file__).with_name("load.py")), f"{HTTP}{path}", host]
        self._process = gateway.lab.start(gateway.inside, command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"started\n"

    def stop(self) -> dict[str, Any]:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.stdout is not None
        result: dict[str, Any] = json.loads(self._process.stdout.read())
        self._process.wait(20)
        return result
