"""`haproxy.cfg` as it is, before two gateways that are updated one after the other under load."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT
from tests.support.commands import PATIENCE, Running, free_port
from tests.support.worker_lab import Lab, backend, lab, labels, wait_for

_CLIENTS = 4
_HOST = "shop.example.com"


class _Load:
    """Clients that ask again and again, each time on a new connection."""

    def __init__(self, port: int) -> None:
        self.seen: Counter[object] = Counter()
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._over.wait(0.002):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            try:
                connection.request("GET", "/", headers={"Host": _HOST})
                self.seen[connection.getresponse().status] += 1
            except (OSError, http.client.HTTPException) as error:
                self.seen[type(error).__name__] += 1
            finally:
                connection.close()

    def end(self) -> Counter[object]:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        return self.seen


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


def updated_under_load(gateways: Lab, configuration: str) -> Counter[object]:
    front, *ports = (free_port() for _ in range(3))
    file = gateways.path / "haproxy.cfg"
    file.write_text(configuration)
    with backend() as server:
        text = labels(f"external_route=http://{_HOST},internal_port=1", endpoints=[server.address])

        def start(port: int) -> Running:
            return gateways.serve("--workers", "1", "--http", f"127.0.0.1:{port}", services=text)

        running = [start(port) for port in ports]
        variables = {"FRONT": f"127.0.0.1:{front}"} | {
            f"GATEWAY_{number}": f"127.0.0.1:{port}" for number, port in enumerate(ports, 1)
        }
        haproxy = subprocess.Popen(
            ["haproxy", "-q", "-db", "-f", str(file)], env={**os.environ, **variables}
        )
        try:
            wait_for_port(front)
            load = _Load(front)
            for one, port in zip(running, ports, strict=True):
                one.process.send_signal(signal.SIGTERM)
                assert one.process.wait(PATIENCE) == 0
                if port != ports[-1]:  # the end of the last one is all that matters
                    again = start(port)
                    # As an orchestrator waits for a health check: the proxy knows it is back.
                    wait_for(lambda one=again: served(one), again)  # type: ignore[misc]
            return load.end()
        finally:
            haproxy.kill()
            haproxy.wait(PATIENCE)


def served(running: Running) -> bool:
    """Whether a gateway has had a request."""
    host, port = running.addresses["admin"]
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=PATIENCE) as response:
        return b"\nmeshlib_http_requests_total{" in response.read()


def wait_for_port(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.skipif(
    shutil.which("haproxy") is None and not os.environ.get("CI"), reason="no haproxy"
)
def test_an_update_of_one_gateway_after_the_other_fails_no_request(gateways: Lab) -> None:
    configuration = (ROOT / "examples" / "gateway" / "haproxy.cfg").read_text(encoding="utf-8")
    seen = updated_under_load(gateways, configuration)
    assert set(seen) == {200}
    assert seen[200] > 50
