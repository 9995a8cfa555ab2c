"""Odd responses through nginx and HAProxy: what the vectors say of them is what they do, so that
what they take and we do not is known, with its reason.
"""

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

from tests.differential.compare import TIMEOUT
from tests.support.backend import Backend, Peer
from tests.support.odd_responses import ODD, ask, is_whole

pytestmark = TIMEOUT

_NGINX: Final = """\
{user}
worker_processes 1; daemon off; pid {work}/pid; error_log {work}/error.log crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {work}/1; proxy_temp_path {work}/2; fastcgi_temp_path {work}/3;
    uwsgi_temp_path {work}/4; scgi_temp_path {work}/5;
    upstream behind {{ server 127.0.0.1:{behind} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
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
    bind 127.0.0.1:{port}
    default_backend behind
backend behind
    retries 0
    server behind 127.0.0.1:{behind}
"""


@contextlib.contextmanager
def proxy(name: str, work: Path, behind: int) -> Iterator[tuple[str, int]]:
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        assert not os.environ.get("CI"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address: tuple[str, int] = probe.getsockname()
    configuration = work / "configuration"
    user = "user root;" if os.geteuid() == 0 else ""
    text = (_NGINX if name == "nginx" else _HAPROXY).format(
        work=work, port=address[1], behind=behind, user=user
    )
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


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_they_do_what_the_vectors_say(name: str, tmp_path: Path) -> None:
    # Another version may have learned more: what counts is that nothing is missing here.
    current = b""

    def respond(peer: Peer) -> None:
        if not peer.read_head():
            return
        peer.send(current)
        peer.sock.shutdown(socket.SHUT_WR)
        while peer.more():
            pass

    behind = Backend(respond)
    try:
        with proxy(name, tmp_path, behind.port) as address:
            wrong = []
            for case in ODD:
                current = case["response"].encode("latin-1")
                if is_whole(ask(address), case.get("status", 200)) != case[name]:
                    wrong.append(case["title"])
    finally:
        behind.stop()
    assert wrong == []
