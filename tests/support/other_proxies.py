"""nginx and HAProxy in front of a backend: what they do right is what ours has to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

__all__ = ["other_proxy"]

_NGINX: Final = """\
{user}
worker_processes 1; daemon off; pid {work}/pid; error_log {work}/error.log crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {work}/1; proxy_temp_path {work}/2; fastcgi_temp_path {work}/3;
    uwsgi_temp_path {work}/4; scgi_temp_path {work}/5;
    map $http_upgrade $wished {{ default upgrade; '' ''; }}
    upstream behind {{ server 127.0.0.1:{behind} max_fails=0; {kept} }}
    server {{
        listen 127.0.0.1:{port}{http2};
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection $wished;
            proxy_set_header Upgrade $http_upgrade;
            proxy_request_buffering off;
            proxy_next_upstream {retried};
        }}
    }}
}}
"""
_HAPROXY: Final = """\
defaults
    mode http
    timeout connect 10s
    timeout client 30s
    timeout server 30s
frontend ours
    bind 127.0.0.1:{port}{http2}
    default_backend behind
backend behind
    retries {retries}
    http-reuse {reuse}
    server behind 127.0.0.1:{behind}
"""


@contextlib.contextmanager
def other_proxy(
    name: str, work: Path, behind: int, *, http2: bool = False, kept: bool = False
) -> Iterator[tuple[str, int]]:
    """Run "nginx" or "haproxy" in the directory `work` in front of a port of this machine, and
    yield its address. `http2`: for clients that speak HTTP/2 at once; `kept`: connections to the
    backend are kept, and what fails on them is tried again as these proxies do by default. One that
    is not installed is a failure in CI, and skips the test elsewhere.
    """
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        assert not os.environ.get("CI"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address: tuple[str, int] = probe.getsockname()
    text = (_NGINX if name == "nginx" else _HAPROXY).format(
        work=work,
        port=address[1],
        behind=behind,
        user="user root;" if os.geteuid() == 0 else "",
        http2=(" http2" if name == "nginx" else " proto h2") if http2 else "",
        kept="keepalive 8;" if kept else "",
        retried="error timeout" if kept else "off",
        reuse="always" if kept else "safe",
        retries=3 if kept else 0,
    )
    configuration = work / "configuration"
    configuration.write_text(text)
    arguments = ["-p", str(work), "-c"] if name == "nginx" else ["-db", "-f"]
    process = subprocess.Popen([program, *arguments, str(configuration)], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(address, 5):
                break
            assert process.poll() is None
            assert time.monotonic() < end, f"{name} does not listen"
            time.sleep(0.02)
        yield address
    finally:
        process.terminate()
        process.wait(30)
