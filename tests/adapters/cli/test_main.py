"""The command as people run it: a process, its output, its exit status."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import meshlib
from meshlib_adapters.observe.build_info import VERSION
from tests.support.commands import (
    PATIENCE,
    SERVICES,
    Running,
    environment,
    free_port,
    meshlib_command,
)


@pytest.fixture
def services(tmp_path: Path) -> Path:
    path = tmp_path / "services.yml"
    path.write_text(SERVICES, encoding="utf-8")
    return path


def until(condition: Callable[[], bool], running: Running) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, running.log_file.read_text(encoding="utf-8")
        time.sleep(0.02)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*arguments: str, wait: str = "ready: ") -> Running:
        admin = free_port()
        ports = [
            "--http",
            "127.0.0.1:0",
            "--https",
            "127.0.0.1:0",
            "--admin",
            f"127.0.0.1:{admin}",
            "--log-format",
            "json",
        ]
        log_file = tmp_path / f"serve-{len(started)}.log"
        with log_file.open("w") as log:
            command = [sys.executable, "-m", "meshlib_adapters.cli", "serve", *ports, *arguments]
            process = subprocess.Popen(command, env=environment(), stderr=log, text=True)
        running = Running(process, log_file, {"admin": ("127.0.0.1", admin)})
        started.append(running)
        until(lambda: running.logged(wait) or process.poll() is not None, running)
        assert process.poll() is None, log_file.read_text(encoding="utf-8")
        for record in running.log:
            for part in str(record.get("addresses") or "").split(", "):
                name, _, address = part.partition(" ")
                if address:
                    host, _, port = address.rpartition(":")
                    running.addresses[name] = (host, int(port))
        return running

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait(PATIENCE)


def test_version_and_help() -> None:
    for arguments in (["version"], ["--version"]):
        done = meshlib_command(*arguments)
        assert (done.returncode, done.stdout) == (0, f"meshlib {VERSION}\n")
        assert VERSION.startswith(meshlib.__version__)
    done = meshlib_command("--help")
    assert done.returncode == 0
    for name in ("serve", "routes", "explain", "config", "healthcheck", "version"):
        assert f"  {name} " in done.stdout
        assert meshlib_command(name, "--help").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["serve"],
            (
                "there is no provider of routes (name at least one: --services FILE, "
                "--docker [URL], --swarm [URL])"
            ),
        ),
        (["routes"], "there is no provider of routes"),
        (["serv"], "No such command 'serv'"),
        (["serve", "--htp", ":80"], "No such option '--htp'"),
        (["serve", "--http", "eighty"], "--http: 'eighty' is not HOST:PORT"),
        (
            ["serve", "--log-level", "loud"],
            "--log-level: expected debug, info, warning or error, not 'loud'",
        ),
        (["serve", "--docker", "docker.sock"], "--docker: 'docker.sock' is not an engine's URL"),
        (
            ["config", "--config", "/nonexistent.toml"],
            "/nonexistent.toml: cannot be read: No such file or directory",
        ),
        (
            ["routes", "--services", "/nonexistent.yml"],
            "/nonexistent.yml cannot be read: No such file or directory",
        ),
        (["explain", "--docker", "http://shop/"], "put the URL first"),
        (["explain", "shop", "--docker"], "'shop' is not a URL that can be explained"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments: list[str], said: str) -> None:
    done = meshlib_command(*arguments)
    assert said in done.stderr
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_nobody_to_ask_is_one_line_and_status_2() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = meshlib_command("routes", "--admin", url)
    assert f"--admin {url}: no admin listener responded" in done.stderr
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_config_prints_what_is_in_effect(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('swarm = "tcp://me:secret@manager:2376"\n[timeouts]\nidle = "2m"\n')
    done = meshlib_command(
        "config",
        "--http",
        ":8080",
        "--docker",
        MESHLIB_CONFIG=str(file),
        MESHLIB_LOG_LEVEL="debug",
        MESHLIB_ADMON="x",
    )
    data = tomllib.loads(done.stdout)
    assert (data["http"], data["docker"], data["timeouts"]["idle"], data["log"]["level"]) == (
        [":8080"],
        True,
        120.0,
        "debug",
    )
    assert data["swarm"] == "tcp://me:***@manager:2376"
    assert done.stderr == (
        "meshlib: warning: MESHLIB_ADMON: there is no such setting; did you mean MESHLIB_ADMIN?\n"
    )
    as_json = meshlib_command("config", "--http", ":8080", "--json", MESHLIB_CONFIG=str(file))
    assert json.loads(as_json.stdout)["http"] == [":8080"]


def test_routes_as_json_has_the_documented_shape(services: Path) -> None:
    done = meshlib_command("routes", "--services", str(services), "--json")
    data = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert list(data) == ["routes", "diagnostics"]
    routes = {f"{route['scheme']}://{route['host']}": route for route in data["routes"]}
    shop = routes["http://shop.example.com"]
    assert {k: v for k, v in shop.items() if k != "endpoints"} == {
        "scheme": "http",
        "host": "shop.example.com",
        "path": "/",
        "port": None,
        "service": "shop",
        "owner": f"file {services}",
        "internal_port": 8080,
        "redirect": None,
        "sticky_cookie": "SESSION",
        "degraded": False,
        "closed": "",
    }
    assert [(e["address"], e["state"]) for e in shop["endpoints"]] == [
        ("10.0.0.5:8080", "ready"),
        ("127.0.0.1:9001", "ready"),
    ]
    assert all(list(e) == ["address", "id", "state"] for e in shop["endpoints"])
    moved = routes["http://old.example.com"]
    assert (moved["redirect"], moved["internal_port"], moved["endpoints"]) == (
        "https://shop.example.com",
        None,
        [],
    )
    assert [e["address"] for e in routes["sni://shop.example.com"]["endpoints"]] == [
        "10.0.0.5:8443",
        "127.0.0.1:9001",
    ]
    assert "http://broken.example.com" not in routes
    (wrong,) = (item for item in data["diagnostics"] if item["service"] == "broken")
    assert list(wrong) == ["code", "severity", "service", "label", "message", "hint"]
    assert wrong["severity"] == "error"


def test_routes_for_people_and_strict(services: Path) -> None:
    done = meshlib_command("routes", "--services", str(services), "--strict")
    assert done.returncode == 1
    for text in (
        "http://shop.example.com",
        "10.0.0.5:8080",
        "redirect to https://shop.example.com",
        "Diagnostics",
        "broken",
    ):
        assert text in done.stdout


def test_a_host_whose_label_failed_is_explained_by_its_service_and_diagnostic(
    services: Path,
) -> None:
    url = "http://broken.example.com/"
    done = meshlib_command("explain", url, "--services", str(services), "--json")
    (told,) = (reason for reason in json.loads(done.stdout)["reasons"] if "HRM010" in reason)
    assert told.startswith("'broken' asks for broken.example.com, but its label is wrong: ")
    assert "internal_port is 'eighty'" in told


def test_what_no_listener_accepts_is_not_called_served(services: Path) -> None:
    sources = ("--services", str(services))
    for variable, url, host in (
        ("MESHLIB_HTTP", "http://shop.example.com/", "HTTP"),
        ("MESHLIB_HTTPS", "https://shop.example.com/", "TLS"),
    ):
        off = {variable: "off"}
        done = meshlib_command("explain", url, *sources, **off)
        assert (done.returncode, done.stdout.splitlines()[0]) == (1, "closed")
        shown = meshlib_command("routes", *sources, **off).stdout
        assert f"not open: there is no listener for {host}" in shown


@pytest.mark.parametrize(
    ("url", "decision", "status"),
    [
        ("http://shop.example.com/a", "forward", 0),
        ("http://old.example.com/a?b=c", "redirect", 0),
        ("https://shop.example.com/", "passthrough", 0),
        ("sni://shop.example.com", "passthrough", 0),
        ("http://nobody.example.com/", "respond", 1),
        ("sni://nobody.example.com", "reject", 1),
    ],
)
def test_explain_tells_the_decision_and_its_status(
    services: Path, url: str, decision: str, status: int
) -> None:
    done = meshlib_command("explain", url, "--services", str(services), "--json")
    data = json.loads(done.stdout)
    assert (data["decision"], done.returncode) == (decision, status)
    assert list(data) == [
        "decision",
        "route",
        "service",
        "owner",
        "degraded",
        "endpoints",
        "status",
        "location",
        "reasons",
    ]
    assert data["reasons"]
    assert all(isinstance(reason, str) for reason in data["reasons"])
    if decision == "redirect":
        assert (data["status"], data["location"], data["service"]) == (
            301,
            "https://shop.example.com/a?b=c",
            "moved",
        )
    if decision == "respond":
        assert (data["status"], data["route"], data["endpoints"]) == (404, None, [])
    if decision in ("forward", "passthrough"):
        assert data["service"] == "shop"
        assert len(data["endpoints"]) == 2
    people = meshlib_command("explain", url, "--services", str(services))
    assert people.returncode == status
    assert decision in people.stdout


def test_serve_responds_reloads_and_stops(
    serve: Callable[..., Running], services: Path, tmp_path: Path
) -> None:
    running = serve("--services", str(services))
    assert running.logged("broken: com.docker.ucp.mesh.http")
    assert running.ask("/-/live") == (200, {"live": True})
    assert running.ask("/-/ready") == (200, {"ready": True, "reason": ""})
    url = f"http://127.0.0.1:{running.addresses['admin'][1]}"
    file, remote = (
        meshlib_command("routes", *source, "--json").stdout
        for source in (["--services", str(services)], ["--admin", url])
    )
    assert json.loads(file) == json.loads(remote)
    explained = meshlib_command("explain", "http://old.example.com/x", "--admin", url, "--json")
    assert json.loads(explained.stdout)["location"] == "https://shop.example.com/x"
    assert meshlib_command("healthcheck", "--admin", url).returncode == 0

    services.write_text(SERVICES.replace("eighty", "80"), encoding="utf-8")
    until(lambda: running.logged("settled: "), running)
    services.write_text("services: [", encoding="utf-8")
    until(lambda: running.logged("degraded, the last snapshot stands: "), running)
    assert running.ask("/-/ready")[0] == 200
    status = running.ask("/-/status")[1]
    assert isinstance(status["providers"], list)
    assert status["providers"][0]["state"] == "degraded"
    assert f"{services}:1:" in status["providers"][0]["reason"]
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.logged("SIGHUP"), running)

    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(PATIENCE) == 0
    assert running.log[-1]["message"] == "stopped"
    assert meshlib_command("healthcheck", "--admin", url).returncode == 1


def test_serve_is_not_ready_before_the_first_snapshot(
    serve: Callable[..., Running], tmp_path: Path
) -> None:
    path = tmp_path / "late.yml"
    running = serve("--services", str(path), wait="degraded")
    until(lambda: running.ask("/-/live")[0] == 200, running)
    status, data = running.ask("/-/ready")
    assert (status, data["ready"]) == (503, False)
    assert "waiting for the first snapshot of static:" in str(data["reason"])
    path.write_text(SERVICES, encoding="utf-8")
    until(lambda: running.ask("/-/ready")[0] == 200, running)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(PATIENCE) == 0


def slow_service(path: Path, backend: socket.socket) -> Path:
    port = backend.getsockname()[1]
    label = "external_route=http://slow.example.com,internal_port=80"
    path.write_text(
        f'services: {{slow: {{labels: {{com.docker.ucp.mesh.http: "{label}"}}, endpoints: '
        f'["127.0.0.1:{port}"]}}}}'
    )
    return path


def test_sigterm_lets_a_request_end_and_takes_no_other(
    serve: Callable[..., Running], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        backend.settimeout(PATIENCE)
        running = serve("--services", str(slow_service(tmp_path / "slow.yml", backend)))
        with socket.create_connection(running.addresses["http"], timeout=PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: slow.example.com\r\n\r\n")
            upstream, _ = backend.accept()
            with upstream:
                assert upstream.recv(65536).startswith(b"GET / HTTP/1.1\r\n")
                running.process.send_signal(signal.SIGTERM)
                until(lambda: running.logged("stopping: "), running)
                assert running.ask("/-/ready") == (503, {"ready": False, "reason": "stopping"})
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(running.addresses["http"], timeout=PATIENCE)
                upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
                response = b""
                while data := client.recv(65536):
                    response += data
        assert response.endswith(b"done")
        assert running.process.wait(PATIENCE) == 0


def test_a_second_signal_ends_at_once(serve: Callable[..., Running], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        backend.settimeout(PATIENCE)
        running = serve("--services", str(slow_service(tmp_path / "slow.yml", backend)))
        with socket.create_connection(running.addresses["http"], timeout=PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: slow.example.com\r\n\r\n")
            upstream, _ = backend.accept()
            with upstream:
                running.process.send_signal(signal.SIGTERM)
                until(lambda: running.logged("stopping: "), running)
                running.process.send_signal(signal.SIGINT)
                assert running.process.wait(PATIENCE) == 128 + signal.SIGINT


def test_a_port_in_use_is_one_line(services: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        http = f"127.0.0.1:{other.getsockname()[1]}"
        done = meshlib_command(
            "serve", "--services", str(services), "--http", http, "--https", "off", "--admin", "off"
        )
    assert done.returncode == 2
    assert "the port is in use by another program" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_test_leaves_a_port_to_the_defaults(services: Path) -> None:
    """They are taken, see conftest.py."""
    done = meshlib_command(
        "serve", "--services", str(services), "--http", "127.0.0.1:0", "--https", "off"
    )
    assert done.returncode == 2
    assert "admin 127.0.0.1:8081: the port is in use by another program" in done.stderr
