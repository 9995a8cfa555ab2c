"""What operations do to a gateway: it is told to end under load, its log is full or gone, its clock
jumps, descriptors run out.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlib_adapters.testing import FakeUpstream
from tests.support.commands import PATIENCE, Running
from tests.support.metrics_page import Page
from tests.support.worker_lab import (
    Lab,
    alive,
    ask,
    backend,
    exchange,
    lab,
    labels,
    status_of,
    wait_for,
)

APP = "external_route=http://app.example.com,internal_port=80"
FAKETIME = [
    Path(f"/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1")
    for machine in ("x86_64", "aarch64")
]


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


class Askers:
    """Threads that ask over kept connections until nobody takes them any more; each request has a
    path of its own.
    """

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.responded: set[str] = set()
        self._address = address
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)
        for turn in range(1_000_000):
            path = f"/{number}/{turn}"
            try:
                connection.request("GET", path, headers={"Host": "app.example.com"})
                response = connection.getresponse()
                if (response.status, response.read()) == (200, b"ok"):
                    self.responded.add(path)
            except ConnectionRefusedError:
                break
            except (
                OSError,
                http.client.HTTPException,
            ):  # an idle connection that was closed, or one nobody had accepted
                connection.close()
        connection.close()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_under_load_costs_no_request_under_way(gateways: Lab, workers: str) -> None:
    with FakeUpstream(body="ok") as upstream:
        upstream.slow(0.05)
        running = gateways.serve(
            "--workers",
            workers,
            services=labels(APP, endpoints=[upstream.address]),
        )
        askers = Askers(running.addresses["http"], 16)
        wait_for(lambda: len(askers.responded) > 100, running)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0
        askers.join()
        reached = [request.target for request in upstream.requests]
        assert len(reached) > 100
        # Whatever has reached the application got its response: nothing was done of which nobody
        # heard.
        assert [path for path in reached if path not in askers.responded] == []


def test_who_connects_while_no_worker_lives_waits_for_the_next(gateways: Lab) -> None:
    with backend() as one, contextlib.ExitStack() as held:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        pids = [worker["pid"] for worker in status_of(running)["workers"]]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in pids), running)
        waiting = [
            held.enter_context(
                socket.create_connection(running.addresses["http"], timeout=PATIENCE)
            )
            for _ in range(40)
        ]
        assert [exchange(sock).startswith(b"HTTP/1.1 200 ") for sock in waiting] == [True] * 40
        wait_for(lambda: Page(running).get("meshlib_worker_restarts_total") == 2, running)
        wait_for(
            lambda: Page(running).get("meshlib_http_requests_total", code="2xx") == 40, running
        )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_behind_stdout_stops_nobody(gateways: Lab, workers: str) -> None:
    with backend() as one, open("/dev/full", "w") as full:
        running = gateways.serve(
            "--workers",
            workers,
            services=labels(APP, endpoints=[one.address]),
            stdout=full.fileno(),
        )
        serves_on_and_counts(running)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_closed_pipe_behind_stdout_stops_nobody(gateways: Lab, workers: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with backend() as one:
            running = gateways.serve(
                "--workers", workers, services=labels(APP, endpoints=[one.address]), stdout=writer
            )
            serves_on_and_counts(running)
    finally:
        os.close(writer)


def serves_on_and_counts(running: Running) -> None:
    def lost() -> bool:
        assert ask(running.addresses["http"])[0] == 200
        return Page(running).get("meshlib_access_records_lost_total") > 0

    wait_for(lost, running)
    for _ in range(20):
        assert ask(running.addresses["http"])[0] == 200
    assert running.logged("access log: ")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(PATIENCE) == 0


def test_a_clock_that_jumps_times_nobody_out(gateways: Lab, tmp_path: Path) -> None:
    library = next((path for path in FAKETIME if path.exists()), None)
    if library is None:
        if os.environ.get("CI") == "true":
            pytest.fail("libfaketime is not installed (apt-get install faketime)")
        pytest.skip("needs libfaketime (apt-get install faketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    with backend() as one:
        running = gateways.serve(
            "--workers",
            "2",
            services=labels(APP, endpoints=[one.address]),
            LD_PRELOAD=str(library),
            FAKETIME_TIMESTAMP_FILE=str(clock),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            MESHLIB_LOG_ACCESS_FORMAT="json",
        )
        with contextlib.ExitStack() as held:
            kept = [
                held.enter_context(
                    socket.create_connection(running.addresses["http"], timeout=PATIENCE)
                )
                for _ in range(8)
            ]
            for jump in ("+3600", "-3600", "+0"):
                slow = held.enter_context(
                    socket.create_connection(running.addresses["http"], timeout=PATIENCE)
                )
                waiting = one.waiting
                one.release.clear()
                slow.sendall(b"GET /slow HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
                wait_for(lambda n=waiting: one.waiting == n + 1, running)  # type: ignore[misc]
                clock.write_text(jump)
                records = len((tmp_path / "access.log").read_text().splitlines())

                def jumped(before: int = records, hours: int = int(jump) // 3600) -> bool:
                    for sock in kept:
                        assert exchange(sock).startswith(b"HTTP/1.1 200 ")
                    now = time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() + 3600 * hours))
                    return any(
                        f'"time":"{now}' in line
                        for line in (tmp_path / "access.log").read_text().splitlines()[before:]
                    )

                wait_for(jumped, running)
                one.release.set()
                assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
        page = Page(running)
        assert page.get("meshlib_http_requests_total", code="2xx") == page.get(
            "meshlib_http_requests_total"
        )
        assert page.get("meshlib_worker_restarts_total") == 0


def test_a_server_without_descriptors_recovers(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve("--workers", "1", services=labels(APP, endpoints=[one.address]))
        open_now = len(os.listdir(f"/proc/{running.process.pid}/fd"))
        assert ask(running.addresses["http"])[0] == 200
        limit = open_now + 20
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        with contextlib.ExitStack() as held:
            for _ in range(60):
                sock = held.enter_context(
                    socket.create_connection(running.addresses["http"], timeout=PATIENCE)
                )
                sock.sendall(b"GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
            wait_for(
                lambda: len(os.listdir(f"/proc/{running.process.pid}/fd")) >= limit - 2, running
            )
            assert running.process.poll() is None
        assert len(running.log) < 100  # and it does not say so again and again

        def responds() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return ask(running.addresses["http"])[0] == 200
            return False

        wait_for(responds, running)
        assert Page(running).get("meshlib_ready") == 1
