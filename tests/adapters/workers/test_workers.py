"""`meshlib serve --workers`: real processes, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlib_adapters.testing import FakeEngine
from tests.support.commands import PATIENCE, Running, environment, meshlib_command
from tests.support.worker_lab import (
    Clients,
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
STICKY = f"{APP},sticky_sessions=SESSION"

as_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="only root can become somebody else"
)


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


def workers(running: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = status_of(running)["workers"]
    return found


def pids(running: Running) -> list[int]:
    return [worker["pid"] for worker in workers(running)]


def metrics(running: Running) -> str:
    host, port = running.addresses["admin"]
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=PATIENCE) as response:
        text: str = response.read().decode()
        return text


def descriptors(pid: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(entry))
    return found


def test_requests_are_spread_and_counted(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        assert running.ask("/-/ready") == (200, {"ready": True, "reason": ""})
        for _ in range(40):
            assert ask(running.addresses["http"])[:2] == (200, "one")
        assert ask(running.addresses["http"], host="nobody.example.com")[0] == 404
        wait_for(lambda: status_of(running)["total"]["counters"]["requests"] == 41, running)
        data = status_of(running)
        assert all(worker["counters"]["requests"] for worker in data["workers"])
        assert (
            data["total"]["counters"]["status_2xx"],
            data["total"]["counters"]["status_4xx"],
        ) == (40, 1)
        assert [worker["state"] for worker in data["workers"]] == ["ready", "ready"]
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0
    lines = (gateways.path / "access.log").read_text().splitlines()
    assert len(lines) == 41


def test_access_records_of_several_workers_stay_whole_in_a_pipe(gateways: Lab) -> None:
    with backend() as one:
        reader, writer = os.pipe()
        with open(reader, encoding="utf-8") as records:
            try:
                services = labels(APP, endpoints=[one.address])
                running = gateways.serve(
                    services=services, stdout=writer, MESHLIB_LOG_ACCESS_FORMAT="json"
                )
            finally:
                os.close(writer)
            target = "/" + "x" * 1000
            threads = [
                threading.Thread(
                    target=ask, args=(running.addresses["http"], "app.example.com", target)
                )
                for _ in range(40)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            running.process.send_signal(signal.SIGTERM)
            written = [json.loads(line) for line in records]
    assert [record["target"] for record in written] == [target] * 40


def test_a_killed_worker_costs_its_own_requests_and_is_replaced(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        first, second = pids(running)
        with Clients(running.addresses["http"]) as clients:
            wait_for(lambda: clients.responded > 200, running)
            os.kill(first, signal.SIGKILL)
            wait_for(lambda: [w["restarts"] for w in workers(running)] == [1, 0], running)
            wait_for(lambda: all(w["state"] == "ready" for w in workers(running)), running)
            failed = len(clients.failures)
            responded = clients.responded
            wait_for(lambda: clients.responded > responded + 200, running)
        assert len(clients.failures) == failed <= 8, clients.failures
        assert pids(running)[1] == second
        assert first not in pids(running)
        assert running.logged(f"worker 1 (pid {first}) was ended by SIGKILL: another one at once")
        total = status_of(running)["total"]["counters"]["requests"]
        assert total >= status_of(running)["workers"][1]["counters"]["requests"]


def test_one_that_dies_again_and_again_is_started_again_and_again(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        before = len(descriptors(running.process.pid))
        for restart in range(1, 4):
            os.kill(pids(running)[0], signal.SIGKILL)
            wait_for(
                lambda n=restart: (  # type: ignore[misc]
                    workers(running)[0]["restarts"] == n and workers(running)[0]["state"] == "ready"
                ),
                running,
            )
        pauses = [
            re.search(r"another one (?:in ([\d.]+) s|at once)", str(record["message"]))
            for record in running.log
        ]
        assert [found[1] for found in pauses if found is not None] == [None, "0.2", "0.4"]
        # The admin connections of our own questions come and go.
        wait_for(lambda: len(descriptors(running.process.pid)) <= before + 1, running)
        assert ask(running.addresses["http"])[0] == 200


def test_sigterm_lets_what_is_under_way_end(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        their = pids(running)
        slow = [
            socket.create_connection(running.addresses["http"], timeout=PATIENCE) for _ in range(12)
        ]
        with contextlib.ExitStack() as held:
            for sock in slow:
                held.enter_context(sock)
                sock.sendall(b"GET /slow HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
            wait_for(lambda: one.waiting == 12, running)
            running.process.send_signal(signal.SIGTERM)
            wait_for(
                lambda: [w["state"] for w in workers(running)] == ["draining", "draining"], running
            )
            assert running.ask("/-/ready") == (503, {"ready": False, "reason": "stopping"})
            wait_for(lambda: refused(running.addresses["http"]), running)
            one.release.set()
            responses = []
            for sock in slow:
                response = b""
                while data := sock.recv(65536):
                    response += data
                responses.append(response)
        assert all(a.startswith(b"HTTP/1.1 200 ") and a.endswith(b"one") for a in responses)
        assert running.process.wait(PATIENCE) == 0
        assert not any(alive(pid) for pid in their)
        assert running.log[-1]["message"] == "stopped"


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_second_signal_ends_all_at_once(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        their = pids(running)
        with socket.create_connection(running.addresses["http"], timeout=PATIENCE) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
            wait_for(lambda: one.waiting == 1, running)
            running.process.send_signal(signal.SIGTERM)
            wait_for(lambda: running.logged("stopping: "), running)
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(PATIENCE) == 128 + signal.SIGTERM
        assert not any(alive(pid) for pid in their)


def test_workers_end_with_their_supervisor(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        their = pids(running)
        running.process.kill()
        running.process.wait(PATIENCE)
        wait_for(lambda: not any(alive(pid) for pid in their), running)
        assert refused(running.addresses["http"])


def test_a_change_reaches_all_workers_and_no_connection(gateways: Lab) -> None:
    with backend("one") as one, backend("two") as two:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        kept = [
            socket.create_connection(running.addresses["http"], timeout=PATIENCE) for _ in range(12)
        ]
        with contextlib.ExitStack() as held:
            for sock in kept:
                held.enter_context(sock)
                assert exchange(sock).endswith(b"one")
            (gateways.path / "services.yml").write_text(labels(APP, endpoints=[two.address]))
            wait_for(lambda: status_of(running)["snapshot"]["version"] == 2, running)
            wait_for(lambda: [w["snapshot_version"] for w in workers(running)] == [2, 2], running)
            for sock in kept:
                assert exchange(sock).endswith(b"two")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: running.logged("SIGHUP"), running)


def test_a_worker_that_stands_still_holds_up_nobody(gateways: Lab) -> None:
    # Large enough to fill a stopped worker's socket many times over.
    many = [
        f"external_route=http://host{number}.example.com,internal_port=80" for number in range(3000)
    ]
    with backend("one") as one, backend("two") as two:
        running = gateways.serve(services=labels(APP, *many, endpoints=[one.address]))
        stopped, other = pids(running)
        os.kill(stopped, signal.SIGSTOP)
        try:
            for change in range(4):
                address = (two if change % 2 == 0 else one).address
                (gateways.path / "services.yml").write_text(labels(APP, *many, endpoints=[address]))
                wait_for(lambda n=change: workers(running)[1]["snapshot_version"] == n + 2, running)  # type: ignore[misc]
            assert running.ask("/-/live")[0] == 200
            assert workers(running)[0]["snapshot_version"] == 1
        finally:
            os.kill(stopped, signal.SIGCONT)
        wait_for(lambda: [w["snapshot_version"] for w in workers(running)] == [5, 5], running)
        assert pids(running) == [stopped, other]


def test_a_worker_killed_in_mid_change_is_followed_by_one_that_has_it(gateways: Lab) -> None:
    many = [
        f"external_route=http://host{number}.example.com,internal_port=80" for number in range(3000)
    ]
    with backend("one") as one, backend("two") as two:
        running = gateways.serve(services=labels(APP, *many, endpoints=[one.address]))
        stopped, other = pids(running)
        os.kill(stopped, signal.SIGSTOP)
        # So large that the socket of the stopped one holds only the beginning.
        for change, chosen in enumerate([two, one, two], 2):
            text = labels(APP, *many, endpoints=[chosen.address])
            (gateways.path / "services.yml").write_text(text)
            wait_for(lambda n=change: workers(running)[1]["snapshot_version"] == n, running)  # type: ignore[misc]
        assert workers(running)[0]["snapshot_version"] == 1
        os.kill(stopped, signal.SIGKILL)
        wait_for(lambda: [w["snapshot_version"] for w in workers(running)] == [4, 4], running)
        assert [w["restarts"] for w in workers(running)] == [1, 0]
        assert pids(running)[1] == other
        wait_for(lambda: all(w["state"] == "ready" for w in workers(running)), running)
        assert {ask(running.addresses["http"])[1] for _ in range(20)} == {"two"}
        # The successor goes on from there, and a reload of what is the same changes nothing.
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: running.logged("SIGHUP"), running)
        text = labels(APP, endpoints=[one.address])
        (gateways.path / "services.yml").write_text(text)
        wait_for(lambda: [w["snapshot_version"] for w in workers(running)] == [5, 5], running)
        assert {ask(running.addresses["http"])[1] for _ in range(20)} == {"one"}
        assert ask(running.addresses["http"], host="host7.example.com")[0] == 404
        assert not running.logged("it is sent everything")


def test_a_session_is_kept_whichever_worker_it_meets(gateways: Lab) -> None:
    with backend("one") as one, backend("two") as two:
        running = gateways.serve(services=labels(STICKY, endpoints=[one.address, two.address]))
        sessions: dict[str, str] = {}
        for _ in range(10):
            code, name, session = ask(running.addresses["http"], path="/login")
            assert code == 200
            sessions[session] = name
        assert set(sessions.values()) == {"one", "two"}
        wait_for(
            lambda: all(
                ask(running.addresses["http"], cookie=s)[1] == name for s, name in sessions.items()
            ),
            running,
        )
        for session, name in sessions.items():
            assert {ask(running.addresses["http"], cookie=session)[1] for _ in range(8)} == {name}
        for pid in pids(running):  # those who come after them know the sessions too
            restarts = sum(w["restarts"] for w in workers(running))
            os.kill(pid, signal.SIGKILL)

            def restarted(before: int = restarts) -> bool:
                return bool(sum(w["restarts"] for w in workers(running)) == before + 1)

            wait_for(restarted, running)
            wait_for(lambda: all(w["state"] == "ready" for w in workers(running)), running)
        for session, name in sessions.items():
            assert {ask(running.addresses["http"], cookie=session)[1] for _ in range(8)} == {name}


def test_workers_have_no_descriptor_of_the_engine(gateways: Lab) -> None:
    """Neither those that begin with the gateway nor one that comes later, when there are
    connections to the engine to be inherited.
    """
    socket_path = gateways.path / "engine.sock"
    with FakeEngine(socket_path) as fake:
        running = gateways.serve("--docker", f"unix://{socket_path}")
        wait_for(lambda: fake.subscribers > 0, running)
        first = pids(running)[0]
        os.kill(first, signal.SIGKILL)
        wait_for(
            lambda: (
                first not in pids(running) and all(w["state"] == "ready" for w in workers(running))
            ),
            running,
        )
        engine = {link for link in descriptors(running.process.pid) if link.startswith("socket:")}
        assert engine & unix_sockets()
        listening = listening_sockets(running)
        assert len(pids(running)) == 2
        for pid in pids(running):
            assert {link for link in descriptors(pid) if link in engine} <= listening
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert not [v for v in variables if v.startswith((b"DOCKER_", b"MESHLIB_"))]


def unix_sockets() -> set[str]:
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {f"socket:[{line.split()[6]}]" for line in lines}


def listening_sockets(running: Running) -> set[str]:
    ports = {f"{port:04X}" for _, port in running.addresses.values()}
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return {
        f"socket:[{row[9]}]"
        for row in rows
        if row[1].rpartition(":")[2] in ports and row[3] == "0A"
    }


@as_root
def test_workers_become_the_user_and_lose_the_engines_socket(gateways: Lab) -> None:
    socket_path = gateways.path / "engine.sock"
    with FakeEngine(socket_path):
        socket_path.chmod(0o660)
        running = gateways.serve(
            "--docker", f"unix://{socket_path}", MESHLIB_USER="nobody", MESHLIB_GROUP="65534"
        )
        for pid in pids(running):
            process = Path(f"/proc/{pid}/status").read_text()
            for name in ("Uid", "Gid"):
                assert re.search(
                    rf"^{name}:\s+65534\s+65534\s+65534\s+65534$", process, re.MULTILINE
                )
            assert re.search(r"^Groups:\s+65534\s*$", process, re.MULTILINE)
            assert re.search(r"^CapEff:\s+0+$", process, re.MULTILINE)
            assert re.search(r"^NoNewPrivs:\s+1$", process, re.MULTILINE)
        # The very steps of a worker, in a process of our own.
        program = f"""
import socket
from meshlib_adapters.workers.privileges import become, resolve_identity
become(resolve_identity("nobody", "65534"))
socket.socket(socket.AF_UNIX).connect({str(socket_path)!r})
"""
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment(), capture_output=True, check=False
        )
        assert b"PermissionError" in done.stderr


@as_root
def test_one_worker_with_another_user_is_a_worker(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve(
            "--workers", "1", services=labels(APP, endpoints=[one.address]), MESHLIB_USER="nobody"
        )
        (pid,) = pids(running)
        assert Path(f"/proc/{pid}").stat().st_uid == 65534
        assert ask(running.addresses["http"])[:2] == (200, "one")


@as_root
@pytest.mark.parametrize(
    ("user", "group", "said"),
    [
        ("nobody-of-that-name", "", "user: there is no user 'nobody-of-that-name' on this machine"),
        ("nobody", "no-such-group", "group: there is no group 'no-such-group' on this machine"),
        (
            "54321",
            "",
            "user: the user '54321' has no entry, so its group is not known (set group as well)",
        ),
        ("root", "", "user: root is what workers are to lose"),
        ("", "nogroup", "group: is of no use without user"),
    ],
)
def test_a_wrong_user_is_one_line(tmp_path: Path, user: str, group: str, said: str) -> None:
    file = tmp_path / "services.yml"
    file.write_text("services: {}")
    where = ["--http", "127.0.0.1:0", "--https", "off", "--admin", "off"]
    done = meshlib_command(
        "serve", "--services", str(file), *where, MESHLIB_USER=user, MESHLIB_GROUP=group
    )
    assert said in done.stderr
    assert done.returncode == 2


def test_a_port_in_use_is_said(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        host, port = running.addresses["http"]
        where = ["--http", f"{host}:{port}", "--https", "off", "--admin", "off"]
        done = meshlib_command(
            "serve", "--services", str(gateways.path / "services.yml"), "--workers", "2", *where
        )
        assert "the port is in use by another program" in done.stderr
        assert done.returncode == 2


def test_no_name_of_services_ends_a_worker(gateways: Lab) -> None:
    """One path as long as a label can have, and one host that 40 services share: their names are
    told, and nobody is killed.
    """
    path = "/" + "p" * 3000
    with backend() as one:
        services: dict[str, object] = {
            f"a-service-with-a-name-{number}": {
                "labels": {
                    "com.docker.ucp.mesh.http.1": f"{STICKY}",
                    "com.docker.ucp.mesh.http.2": f"external_route=http://app.example.com{path},internal_port=80",
                },
                "endpoints": [one.address],
            }
            for number in range(40)
        }
        running = gateways.serve(services=json.dumps({"services": services}))
        before = pids(running)
        for _ in range(20):
            assert ask(running.addresses["http"])[:2] == (200, "one")
            assert ask(running.addresses["http"], path=path)[:2] == (200, "one")
            session = ask(running.addresses["http"], path="/login")[2]
            assert ask(running.addresses["http"], cookie=session)[:2] == (200, "one")
        # Numbers are told once a second, and then again what is new.
        wait_for(lambda: status_of(running)["total"]["counters"]["requests"] == 80, running)
        wait_for(
            lambda: (
                "http://app.example.com/ppp" in metrics(running) and " more (" in metrics(running)
            ),
            running,
        )
        assert [worker["restarts"] for worker in workers(running)] == [0, 0]
        assert pids(running) == before
        assert "meshlib_worker_dropped_total{" not in metrics(running)
