"""The `meshlib` command as people run it: a process, its admin address, and what it logs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "PATIENCE",
    "SERVICES",
    "Running",
    "environment",
    "free_port",
    "meshlib_command",
    "ready",
    "wait_for",
]

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0

SERVICES = """\
services:
  shop:
    labels:
      com.docker.ucp.mesh.http.80: "external_route=http://shop.example.com,internal_port=8080,sticky_sessions=SESSION"
      com.docker.ucp.mesh.http.443: "external_route=sni://shop.example.com,internal_port=8443"
    endpoints: ["10.0.0.5", "127.0.0.1:9001"]
  moved:
    labels: {com.docker.ucp.mesh.http: "external_route=http://old.example.com,redirect=https://shop.example.com"}
  broken:
    labels: {com.docker.ucp.mesh.http: "external_route=http://broken.example.com,internal_port=eighty"}
    endpoints: ["10.0.0.6"]
"""


def environment(**variables: str) -> dict[str, str]:
    # PYTHONUNBUFFERED is not what people have: it hides what is left in a buffer at the end.
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("MESHLIB_", "DOCKER_", "PYTHONUNBUFFERED"))
    }
    return {
        **kept,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}",
        "COLUMNS": "200",
        **variables,
    }


def meshlib_command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meshlib_adapters.cli", *arguments]
    return subprocess.run(
        command,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass
class Running:
    """`meshlib serve`, its admin address, and what it has logged so far (one JSON object a
    line).
    """

    process: subprocess.Popen[str]
    log_file: Path
    addresses: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def log(self) -> list[dict[str, object]]:
        return [
            json.loads(line)
            for line in self.log_file.read_text(encoding="utf-8").splitlines()
            if line.endswith("}")
        ]

    def logged(self, text: str) -> bool:
        return any(text in str(record["message"]) for record in self.log)

    def ask(self, path: str) -> tuple[int, dict[str, object]]:
        host, port = self.addresses["admin"]
        try:
            with urllib.request.urlopen(
                f"http://{host}:{port}{path}", timeout=PATIENCE
            ) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.02)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/-/ready", timeout=PATIENCE
        ) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
