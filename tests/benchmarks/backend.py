"""The servers behind the proxies: nginx for fixed responses (cheap and correct), a small asyncio
one for streams.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import stream_server
from tests.benchmarks.processes import BenchmarkError, Process, free_port

__all__ = ["LARGE_SIZE", "SMALL_SIZE", "Backend", "responds", "serving"]

SMALL_SIZE = 100
LARGE_SIZE = 1024 * 1024

_CONFIG = """\
user root;
worker_processes 1;
daemon off;
pid {work}/backend.pid;
error_log {work}/backend-error.log error;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {work}/b1; proxy_temp_path {work}/b2; fastcgi_temp_path {work}/b3;
    uwsgi_temp_path {work}/b4; scgi_temp_path {work}/b5;
    types {{ }}
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "{small}"; }}
        location = /large {{ root {work}; default_type application/octet-stream; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Backend:
    """Ports on 127.0.0.1. `fixed`: 100 bytes anywhere, 1 MiB at /large. `stream`: see
    `stream_server`.
    """

    fixed: int
    stream: int


def responds(port: int, target: str, host: str) -> bool:
    """Whether a GET brings 200 with a whole body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", target, headers={"Host": host})
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return response.status == 200


@contextlib.contextmanager
def serving(work: Path, cpus: set[int]) -> Iterator[Backend]:
    """Both servers, ready. Raises `BenchmarkError` when nginx is missing or one does not start."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        raise BenchmarkError("the backend needs nginx (apt-get install nginx)")
    backend = Backend(free_port(), free_port())
    (work / "large").write_bytes(b"L" * LARGE_SIZE)
    config = work / "backend.conf"
    config.write_text(
        _CONFIG.format(work=work, port=backend.fixed, small="s" * SMALL_SIZE), encoding="utf-8"
    )
    command = [nginx, "-p", str(work), "-c", str(config)]
    script = [sys.executable, str(Path(stream_server.__file__)), str(backend.stream)]
    with (
        Process("backend nginx", command, cpus=cpus, output=work / "backend.out") as fixed,
        Process("stream backend", script, cpus=cpus, output=work / "stream.out") as stream,
    ):
        fixed.wait_until(lambda: responds(backend.fixed, "/", "backend"), 10)
        stream.wait_until(lambda: responds(backend.stream, "/echo", "backend"), 10)
        yield backend
