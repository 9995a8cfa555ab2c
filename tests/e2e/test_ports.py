"""TCP and UDP ports of services on a real Swarm: by label, and published; every replica is reached,
none that is gone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import Gateway
from tests.lab.lab import Lab
from tests.lab.node import wait_until

_LABEL = "com.docker.ucp.mesh.http"
_IMAGE = "meshlib/python:lab"

_ECHO = """
import signal, socket
signal.signal(signal.SIGTERM, signal.SIG_DFL)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 5300))
while True:
    data, client = sock.recvfrom(65536)
    sock.sendto(socket.gethostname().encode() + b" " + data, client)
"""

# Each reply to a client of its own; two questions of one client must come to one replica.
_ASK = """
import json, socket
seen, there = [], set()
while len(there) < 2:  # both tasks have begun to listen
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.connect(("127.0.0.1", 15300))
        try:
            sock.send(b"there?")
            there.add(sock.recv(65536).split()[0])
        except OSError:
            pass
for n in range(12):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", 15300))
        replies = []
        for question in (b"one", b"two"):
            sock.send(question)
            replies.append(sock.recv(65536).decode().split())
        seen.append(replies)
print(json.dumps(seen))
"""


def status(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gateway.fetch("http://127.0.0.1:8081/-/status"))["ports"]
    return found


@pytest.mark.timeout(300)
def test_ports_of_services(lab: Lab, tmp_path: Path) -> None:
    lab.network_create("ucp-hrm")
    lab.python_image(_IMAGE)
    config = tmp_path / "gateway.toml"
    config.write_text('[ports]\nopen = "published"\nhost = "127.0.0.1"\n')
    gateway = Gateway(lab, ["ucp-hrm"], "--config", str(config))
    web = {f"{_LABEL}.1": "external_route=tcp://:15000,internal_port=8080"}
    lab.service_create("web", labels=web, networks=["ucp-hrm"], replicas=3)
    lab.service_create("published", networks=["ucp-hrm"], replicas=2, publish=["15001:8080"])
    dns = {f"{_LABEL}.1": "external_route=udp://:15300,internal_port=5300"}
    lab.service_create(
        "dns",
        labels=dns,
        networks=["ucp-hrm"],
        replicas=2,
        image=_IMAGE,
        command=["python3", "-c", _ECHO],
    )
    wanted = ["tcp://:15000", "tcp://:15001", "udp://:15300"]
    wait_until(lambda: status(gateway)["open"] == wanted, timeout=20, what="the ports are open")
    assert status(gateway)["closed"] == {}

    def replicas(port: int, count: int) -> set[str]:
        return {gateway.fetch(f"http://127.0.0.1:{port}/") for _ in range(count)} - {""}

    wait_until(lambda: len(replicas(15000, 9)) == 3, timeout=30, what="three replicas respond")
    wait_until(lambda: len(replicas(15001, 6)) == 2, timeout=30, what="two replicas respond")

    client = lab.start(gateway.inside, [sys.executable, "-c", _ASK], stdout=subprocess.PIPE)
    seen = json.loads(client.communicate(timeout=60)[0])
    assert all(one[0] == two[0] for one, two in seen)
    assert all([one[1], two[1]] == ["one", "two"] for one, two in seen)
    assert len({one[0] for one, _ in seen}) == 2

    # Scaled down, whoever is left replies every time; removed, the port is closed.
    lab.service_scale("web", 1)
    wait_until(lambda: len(replicas(15000, 6)) == 1, timeout=20, what="one replica is left")
    assert all(gateway.fetch("http://127.0.0.1:15000/") for _ in range(10))
    lab.service_remove("web")
    wait_until(lambda: status(gateway)["open"] == wanted[1:], timeout=20, what="the port is closed")
    assert gateway.fetch("http://127.0.0.1:15000/") == ""
