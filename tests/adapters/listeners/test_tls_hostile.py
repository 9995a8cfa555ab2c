"""Clients and circumstances that mean harm to the TLS listener: thousands of slow hellos, no file
descriptors left.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hellos import hello_for, plain_echo
from tests.support.tcp_lab import LOOPBACK, MakeLab, Run, quick, until

ROOT = Path(__file__).parents[3]
SLOW = 2000
PATIENCE = 60.0


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * SLOW + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} file descriptors, may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_thousand_hellos_that_come_byte_by_byte(
    run: Run, lab: MakeLab, many_files: None
) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(
                quick(head_read=3600.0, connect=30.0, max_connections_per_client=None)
            )

            async def served() -> bool:
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(hello_for("a.example") + b"ping")
                reply = await reader.readexactly(4)
                writer.close()
                return reply == b"ping"

            async def held(count: int) -> None:
                await until(lambda: listener.held_bytes == count)

            wire = hello_for("a.example")
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            slow = []
            for number in range(SLOW):
                sock = socket.create_connection((LOOPBACK, port))
                sock.setblocking(False)
                slow.append(sock)
                if number % 100 == 99:
                    await asyncio.sleep(0)
            await until(lambda: len(listener) == SLOW)
            for sent in range(5):
                for sock in slow:
                    sock.send(wire[sent : sent + 1])
                await held(SLOW * (sent + 1))
                assert await served()
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            assert grown < SLOW * 6000  # their sockets and ours included
            assert len(listener) <= SLOW + 5
            for sock in slow:
                sock.close()
            await until(lambda: not len(listener))
            assert listener.refusals == {"hello_cut_off": SLOW}
            assert listener.held_bytes == 0

    run(main())


GATEWAY = """
import asyncio, logging, resource, sys
from meshlib.decision import Passthrough
from meshlib.model import Endpoint, ForwardTo, Route, ServerName, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.transport import TLSSettings
from meshlib_adapters.listeners.tls import TLSListener

port = int(sys.argv[1])
endpoints = (Endpoint("a.1", "127.0.0.1", port), Endpoint("a.2", "127.0.0.1", port))
upstream = Upstream(UpstreamKey("a", 443), endpoints)
route = Route(ServerName("a.example"), ForwardTo(upstream), service="a")

class Current:
    @property
    def table(self): return self
    def route_tls(self, hello, covered=None): return Passthrough(route, upstream)

async def main():
    logging.basicConfig(level=logging.WARNING)
    listener = TLSListener(Current(), TLSSettings(head_read=3600))
    _, port = await listener.listen("127.0.0.1", 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    print(port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_process_without_descriptors_waits_and_then_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.create_server((LOOPBACK, 0)) as endpoint, log.open("wb") as errors:
        endpoint.settimeout(PATIENCE)
        command = [sys.executable, "-c", GATEWAY, str(endpoint.getsockname()[1])]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            silent = [socket.create_connection((LOOPBACK, port)) for _ in range(100)]

            def complaints() -> int:
                return log.read_text().count("cannot accept connections for now")

            end = time.monotonic() + PATIENCE
            while complaints() < 3:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            switches = _switches(process.pid)
            while complaints() < 6:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            # It sleeps between its attempts: three of them need few turns of the loop, where a spin
            # would need thousands in a second.
            assert complaints() <= 8
            assert _switches(process.pid) - switches < 200
            for sock in silent:
                sock.close()
            with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as client:
                client.sendall(hello_for("a.example"))
                taken, _ = endpoint.accept()
                with taken:
                    taken.settimeout(PATIENCE)
                    assert taken.recv(10_000) == hello_for("a.example")
            assert process.poll() is None
            assert "Traceback" not in log.read_text()
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def _switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
