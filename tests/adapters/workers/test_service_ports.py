"""`meshlib serve` with the ports of services: one process and several, what is refused, what is
told, the drain.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib.model import ListeningPort, Scheme
from meshlib_adapters.config.readers import PortRange, read_ip, read_ports
from meshlib_adapters.config.settings import Settings, resolve_options
from meshlib_adapters.config.sources import Layer, resolve_settings
from meshlib_adapters.observe.admin.explanation import parse_question
from tests.support.commands import PATIENCE, Running, free_port, meshlib_command
from tests.support.service_ports import ask, echoing, serve, services
from tests.support.worker_lab import Lab, lab, labels, status_of, wait_for


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


def warnings(running: Running, text: str) -> int:
    return sum(text in str(record["message"]) for record in running.log)


def test_a_proxy_in_front_names_the_clients_of_a_port(gateways: Lab) -> None:
    port = free_port()
    with echoing() as backend:
        running = gateways.serve(
            "--workers",
            "1",
            services=services(port, backend=backend),
            MESHLIB_PORTS_OPEN="labels",
            MESHLIB_PORTS_HOST="127.0.0.1",
            MESHLIB_PORTS_PROXY_PROTOCOL="true",
            MESHLIB_PROXY_PROTOCOL="accept",
            MESHLIB_PROXY_PROTOCOL_FROM="127.0.0.1",
        )
        assert (
            ask(socket.SOCK_STREAM, port, b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 5432\r\nhello")
            == b"hello"
        )
        access = gateways.path / "access.log"
        wait_for(lambda: " closed --\n" in access.read_text(), running)
        assert access.read_text().startswith("192.0.2.7 - - ")


def test_one_worker_opens_the_ports_of_services(gateways: Lab) -> None:
    port = free_port()
    with echoing() as backend:
        running = serve(gateways, "--workers", "1", services=services(port, backend=backend))
        assert [ask(kind, port) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)] == [
            b"hello"
        ] * 2
        wait_for(lambda: status_of(running)["ports"]["connections"] == 0, running)
        found: dict[str, Any] = status_of(running)["ports"]
        assert found["open"] == [f"tcp://:{port}", f"udp://:{port}"]
        assert (found["closed"], found["flows"]) == ({}, 1)
        assert (found["counters"]["tcp"]["tunnels"], found["counters"]["udp"]["sent"]) == (1, 1)
        access = gateways.path / "access.log"
        wait_for(lambda: " closed --\n" in access.read_text(), running)
        assert f' "TCP -" - 5 "-" "-" tcp://:{port} 127.0.0.1:{backend} 1 ' in access.read_text()
        # A change of the file closes one, and the other stays as it is.
        (gateways.path / "services.yml").write_text(
            labels(
                f"external_route=udp://:{port},internal_port=1", endpoints=[f"127.0.0.1:{backend}"]
            )
        )
        wait_for(lambda: status_of(running)["ports"]["open"] == [f"udp://:{port}"], running)
        assert ask(socket.SOCK_DGRAM, port) == b"hello"
        with pytest.raises(ConnectionRefusedError):
            ask(socket.SOCK_STREAM, port)


def test_several_processes_share_the_ports_and_are_counted(gateways: Lab) -> None:
    port = free_port()
    with echoing() as backend:
        running = serve(gateways, services=services(port, backend=backend))
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                assert ask(socket.SOCK_STREAM, port) == b"hello"
                # Kept open: the system might give the next client the same port, and then it would
                # be the same flow.
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                sock.settimeout(PATIENCE)
                sock.connect(("127.0.0.1", port))
                sock.send(b"hello")
                assert sock.recv(65536) == b"hello"

        def counted() -> bool:
            found = status_of(running)["total"]
            return (
                found["counters"]["tcp_tunnels"],
                found["counters"]["udp_flows"],
                found["flows"],
            ) == (30, 30, 30)

        wait_for(counted, running)
        status = status_of(running)
        assert [worker["ports"] for worker in status["workers"]] == [2, 2]
        assert all(worker["counters"]["tcp_accepted"] for worker in status["workers"])
        assert status["total"]["counters"]["udp_sent"] == 30


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_running_gateway_says_which_ports_it_could_not_open(gateways: Lab, workers: str) -> None:
    port = free_port()
    url = f"/-/explain?url=tcp://:{port}"
    with echoing() as backend, socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        running = serve(gateways, "--workers", workers, services=services(port, backend=backend))

        def routes() -> dict[str, str]:
            found: list[dict[str, str]] = running.ask("/-/routes")[1]["routes"]  # type: ignore[assignment]
            return {route["scheme"]: route["closed"] for route in found}

        wait_for(lambda: routes()["tcp"].endswith("the port is in use by another program"), running)
        assert routes()["udp"] == ""
        assert running.ask(url)[1]["decision"] == "closed"
        assert list(status_of(running)["ports"]["closed"]) == [f"tcp://:{port}"]
        other.close()
        wait_for(lambda: running.ask(url)[1]["decision"] == "carry", running)
        assert (routes()["tcp"], status_of(running)["ports"]["closed"]) == ("", {})
        assert ask(socket.SOCK_STREAM, port) == b"hello"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_drain_lets_a_connection_end(gateways: Lab, workers: str) -> None:
    port = free_port()
    with echoing() as backend:
        running = serve(gateways, "--workers", workers, services=services(port, backend=backend))
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            sock.sendall(b"1")
            assert sock.recv(1) == b"1"
            running.process.send_signal(signal.SIGTERM)
            wait_for(lambda: running.logged("stopping: not ready"), running)
            sock.sendall(b"2")
            assert sock.recv(1) == b"2"
        assert running.process.wait(PATIENCE) == 0
        assert not running.logged("still busy and were cut")


def test_what_is_off_is_off_and_said_once(gateways: Lab) -> None:
    port = free_port()
    with echoing() as backend:
        running = gateways.serve("--workers", "1", services=services(port, backend=backend))
        assert (
            warnings(
                running,
                (
                    f"app asks for tcp://:{port}, and no such port is opened here: "
                    "set ports.open to 'labels'"
                ),
            )
            == 1
        )
        assert "ports" not in status_of(running)
        with pytest.raises(ConnectionRefusedError):
            ask(socket.SOCK_STREAM, port)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ports_of_the_gateway_itself_are_no_services(gateways: Lab, workers: str) -> None:
    port, own = free_port(), free_port()
    with echoing() as backend:
        more = [f"external_route=tcp://:{number},internal_port=1" for number in (own, 22)]
        text = services(port, *more, backend=backend)
        running = serve(gateways, "--workers", workers, "--http", f"127.0.0.1:{own}", services=text)
        for number, reason in (
            (own, "it is the gateway's own"),
            (22, "it is not one of the allowed ports"),
        ):
            wait_for(
                lambda n=number, r=reason: running.logged(f"tcp://:{n} is not opened for app: {r}"),  # type: ignore[misc]
                running,
            )
        assert ask(socket.SOCK_STREAM, port) == b"hello"
        assert ask(socket.SOCK_STREAM, own, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 404 ")


def test_what_routes_and_explain_show(tmp_path: Path) -> None:
    file = tmp_path / "services.yml"
    file.write_text(services(5432, backend=9000))
    shown = meshlib_command("routes", "--services", str(file))
    assert "tcp://:5432" in shown.stdout
    assert "udp://:5432" in shown.stdout
    found = json.loads(meshlib_command("routes", "--json", "--services", str(file)).stdout)[
        "routes"
    ]
    assert [(route["scheme"], route["host"], route["port"]) for route in found] == [
        ("tcp", "", 5432),
        ("udp", "", 5432),
    ]
    assert {route["closed"] for route in found} == {
        "ports.open is off; set it to labels to have it opened"
    }
    assert shown.stdout.count("not open: ports.open is off") == 2
    off = meshlib_command("explain", "tcp://:5432", "--services", str(file))
    assert (off.returncode, off.stdout.splitlines()[0]) == (1, "closed")
    variables = {"MESHLIB_PORTS_OPEN": "labels"}
    assert "not open" not in meshlib_command("routes", "--services", str(file), **variables).stdout
    explained = meshlib_command("explain", "tcp://:5432", "--services", str(file), **variables)
    assert explained.returncode == 0
    assert "carry" in explained.stdout
    assert "tcp://:5432 belongs to it alone" in explained.stdout
    assert meshlib_command("explain", "udp://gateway:53/", "--services", str(file)).returncode == 1


@pytest.mark.parametrize("url", ["tcp://", "tcp://:0", "udp://:x", "tcp://h"])
def test_questions_that_are_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write (tcp|udp)://:PORT"):
        parse_question(url)


def test_a_question_is_a_port() -> None:
    assert parse_question("TCP://:5432") == ListeningPort(Scheme.TCP, 5432)
    assert parse_question("udp://gateway:53/") == ListeningPort(Scheme.UDP, 53)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (53, [(53, 53)]),
        ("5432", [(5432, 5432)]),
        ("53, 6000 - 6999", [(53, 53), (6000, 6999)]),
        (["53", 80, "1024-65535"], [(53, 53), (80, 80), (1024, 65535)]),
        ("off", []),
        ([], []),
    ],
)
def test_ports_are_read_from_what_is_written(
    value: object, expected: list[tuple[int, int]]
) -> None:
    assert [(found.first, found.last) for found in read_ports(value)] == expected
    assert read_ports([str(found) for found in read_ports(value)]) == read_ports(value)


@pytest.mark.parametrize("value", [0, 65536, "5-4", "http", "1-2-3", True, None, {"a": 1}, "-1"])
def test_what_is_no_port(value: object) -> None:
    with pytest.raises(ValueError, match="port"):
        read_ports(value)


def test_reading_an_address() -> None:
    assert [read_ip(text) for text in ("0.0.0.0", "[::]", "::1")] == ["0.0.0.0", "::", "::1"]
    with pytest.raises(ValueError, match="not an IP address"):
        read_ip("localhost")


def test_settings_of_the_listeners() -> None:
    def settings(**values: object) -> Settings:
        names = {key.replace("__", "."): value for key, value in values.items()}
        return resolve_settings([Layer(names, dict.fromkeys(names, "--test"))])[0]

    found = settings(
        ports__open="published", ports__allowed="53,8000-8001", ports__flow_timeout="90s", workers=2
    )
    assert resolve_options(found).published_ports
    assert not resolve_options(settings(ports__open="labels")).published_ports
    assert (found.ports.host, found.ports.udp.flow_timeout) == ("0.0.0.0", 90)
    assert found.ports.allowed == (PortRange(53, 53), PortRange(8000, 8001))
    assert settings().ports.allowed == (PortRange(1024, 65535),)
    assert settings().ports.open == "off"
    with pytest.raises(ConfigurationError, match="--test: flow_timeout must be more than 0"):
        settings(ports__flow_timeout=0)
