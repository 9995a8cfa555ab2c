"""The same bytes through us and through nginx: of what both forward, the server behind reads the
same.

Which requests are refused may differ, and does. What must never be is that a server is told one
thing by us and another by nginx: one of the two would have misread the client. How many streams: a
thirtieth of MESHLIB_DIFFERENTIAL.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.differential.compare import STREAMS, TIMEOUT
from tests.differential.grammar import SEEDS, mutated, request, stream
from tests.differential.readers import Reading
from tests.differential.recorder import Recorder, recording
from tests.support.backend import Backend
from tests.support.client import Client

pytestmark = TIMEOUT

_CONFIG: Final = """\
{user}
worker_processes 1; daemon off; pid {work}/pid; error_log {work}/error.log crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {work}/1; proxy_temp_path {work}/2; fastcgi_temp_path {work}/3;
    uwsgi_temp_path {work}/4; scgi_temp_path {work}/5;
    large_client_header_buffers 8 64k;
    underscores_in_headers on;
    keepalive_requests 1000000;
    upstream behind {{ server 127.0.0.1:{behind}; keepalive 8; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port};
        server_name any;
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_ignore_client_abort on;
            proxy_next_upstream off;
        }}
    }}
}}
"""

# Method, target, host without port in lower case, body.
_Seen = tuple[bytes, bytes, bytes, bytes]


class _Lenient(Recorder):
    """What h11 does not take from nginx is no request that was read."""

    def __call__(self, peer: object) -> None:
        with suppress(AssertionError):
            super().__call__(peer)  # type: ignore[arg-type]


@contextmanager
def nginx(work: Path) -> Iterator[tuple[tuple[str, int], Recorder]]:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        assert not os.environ.get("CI"), "nginx is not installed"
        pytest.skip("nginx is not installed")
    recorder = _Lenient()
    behind = Backend(recorder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    (work / "nginx.conf").write_text(
        _CONFIG.format(work=work, port=port, behind=behind.port, user=user)
    )
    process = subprocess.Popen(
        [program, "-p", str(work), "-c", str(work / "nginx.conf")], stderr=subprocess.PIPE
    )
    try:
        end = time.monotonic() + 30
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
                break
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < end, "nginx does not listen"
            time.sleep(0.02)
        yield ("127.0.0.1", port), recorder
    finally:
        process.terminate()
        process.wait(30)
        assert process.stderr is not None
        process.stderr.close()
        behind.stop()


def passed_on(address: tuple[str, int], recorder: Recorder, data: bytes) -> list[_Seen]:
    """What the server behind has read, whole."""
    before = len(recorder.complete)
    client = Client(address)
    client.send(data)
    with suppress(OSError):
        client.shut()
    client.read_rest()
    client.close()
    return [seen(reading) for reading in recorder.complete[before:]]


def seen(reading: Reading) -> _Seen:
    method, target, _, authority = reading.heads[0].start
    # nginx leaves out the port, also an empty one, and the dot at the end of a name.
    host = authority.lower()
    name, mark, port = host.rpartition(b":")
    return (
        method,
        target,
        (name if mark and (port.isdigit() or not port) else host).removesuffix(b"."),
        reading.body,
    )


def case(number: int) -> bytes:
    if number < len(SEEDS):
        return SEEDS[number]
    random = Random(f"nginx {number}")
    kind = number % 4
    if kind == 0:
        return stream(random, request)
    data = request(random)
    return data if kind == 1 else mutated(random, data)


def test_nginx_and_we_never_tell_a_server_different_things(tmp_path: Path) -> None:
    census: Counter[str] = Counter()
    apart: list[str] = []
    with recording() as (site, ours), nginx(tmp_path) as (address, theirs):
        for number in range(len(SEEDS) + STREAMS // 30):
            data = case(number)
            by_us, by_nginx = passed_on(site.address, ours, data), passed_on(address, theirs, data)
            census[
                "both"
                if by_us and by_nginx
                else "we alone"
                if by_us
                else "nginx alone"
                if by_nginx
                else "nobody"
            ] += 1
            apart += [
                f"{number}: {us} {them} {data!r}"
                for us, them in zip(by_us, by_nginx, strict=False)
                if us != them
            ]
    print(dict(census))  # for long runs
    assert not apart, f"{len(apart)} differ, the first of them: {apart[:10]}"
    assert census["both"] * 5 > census.total(), census
    assert census["nobody"], census
    assert census["nginx alone"], census
