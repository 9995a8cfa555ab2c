"""A gateway that has too few file descriptors for what clients want: it goes on with what it has,
and its operator gets responses.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlib_adapters.workers.descriptors import connections_that_fit, raise_limit
from tests.support.commands import PATIENCE, environment, free_port, ready, wait_for
from tests.support.worker_lab import backend, labels

_FILES = 100
_REQUEST = b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def responds(client: socket.socket) -> bool:
    try:
        client.sendall(_REQUEST)
        return client.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@contextlib.contextmanager
def connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            clients.append(
                stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            )
        yield clients


def served(port: int) -> bool:
    with connected(port, 1) as (client,):
        return responds(client)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_clients_cannot_take_what_the_operator_needs(tmp_path: Path, loop: str) -> None:
    assert shutil.which("prlimit"), "prlimit (package util-linux) is not installed"
    services, errors = tmp_path / "services.yml", tmp_path / "errors"
    http, https, admin = free_port(), free_port(), free_port()
    variables = environment()
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text('raise ImportError("this run is with asyncio")\n')
        variables["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{variables['PYTHONPATH']}"
    with backend() as server, errors.open("w") as sink:
        services.write_text(
            labels(
                f"external_route=http://a.example.com,internal_port={server.server_address[1]}",
                endpoints=[server.address],
            )
        )
        addresses = [
            f"--http=127.0.0.1:{http}",
            f"--https=127.0.0.1:{https}",
            f"--admin=127.0.0.1:{admin}",
        ]
        command = [
            "prlimit",
            f"--nofile={_FILES}",
            sys.executable,
            "-m",
            "meshlib_adapters.cli",
            "serve",
            "--services",
            str(services),
        ]
        process = subprocess.Popen(
            [*command, *addresses, "--log-format=json"],
            env=variables,
            stderr=sink,
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: ready(admin))
            for port in (http, https):
                with connected(port, 2 * _FILES) as clients:
                    # Nobody asks anything: most are sent away or wait, and nothing turns in
                    # circles.
                    before = cpu_seconds(process.pid)
                    time.sleep(1)
                    assert cpu_seconds(process.pid) - before < 0.5
                    assert ready(admin)
                    if port == http:
                        assert responds(clients[-1])
            wait_for(lambda: served(http))
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(PATIENCE)
    said = [
        json.loads(line)["message"]
        for line in errors.read_text().splitlines()
        if line.startswith("{")
    ]
    assert any("100 open files are enough for 36 HTTP connections" in message for message in said)
    assert any("100 open files are enough for 18 TLS connections" in message for message in said)


def test_there_is_room_for_what_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert connections_that_fit(10_000, 20_000, each=1, what="HTTP") == 10_000
        assert connections_that_fit(10_000, resource.RLIM_INFINITY, each=2, what="TLS") == 10_000
        assert not caplog.records
        assert connections_that_fit(10_000, 20_000, each=2, what="TLS") == 9_488
        assert connections_that_fit(5, 30, each=2, what="TLS") == 1
        assert len(caplog.records) == 2


def test_the_limit_is_as_high_as_it_may_be() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, before[1]), before[1]))
        assert raise_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert raise_limit() == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("sink", ["/dev/full", "closed pipe"])
def test_logs_that_cannot_be_written_cost_no_request(tmp_path: Path, sink: str) -> None:
    services = tmp_path / "services.yml"
    http, admin = free_port(), free_port()
    with backend() as server, contextlib.ExitStack() as stack:
        services.write_text(
            labels(
                f"external_route=http://a.example.com,internal_port={server.server_address[1]}",
                endpoints=[server.address],
            )
        )
        if sink == "closed pipe":
            reading, writing = os.pipe()
            os.close(reading)
            output = stack.enter_context(os.fdopen(writing, "wb"))
        else:
            output = stack.enter_context(open(sink, "wb"))
        command = [
            sys.executable,
            "-m",
            "meshlib_adapters.cli",
            "serve",
            "--services",
            str(services),
            "--https=off",
        ]
        addresses = [f"--http=127.0.0.1:{http}", f"--admin=127.0.0.1:{admin}", "--log-level=debug"]
        process = subprocess.Popen(
            [*command, *addresses], env=environment(), stdout=output, stderr=output
        )
        try:
            wait_for(lambda: ready(admin))
            before = cpu_seconds(process.pid)
            for _ in range(50):
                assert served(http)
            # The log is handed to its writer, fails, and that is told to a log that fails as well.
            time.sleep(1)
            assert served(http)
            assert ready(admin)
            assert cpu_seconds(process.pid) - before < 0.5
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait(PATIENCE)
