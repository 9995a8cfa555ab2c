"""The filtering proxy before an engine's socket: what passes, what does not, and that nothing holds
it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlib.errors import ConfigurationError
from meshlib_adapters.providers.docker.address import EngineAddress
from meshlib_adapters.providers.docker.engine import PATHS, Engine
from meshlib_adapters.providers.docker.socket_proxy import SocketProxy, bind_socket, is_allowed
from meshlib_adapters.testing import FakeEngine
from tests.support.commands import PATIENCE, environment, meshlib_command


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine(tmp_path / "docker.sock") as made:
        yield made


@contextlib.contextmanager
def proxy(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`meshlib socket-proxy` before the engine of `tmp_path`."""
    path = str(tmp_path / "engine.sock")
    arguments = ["socket-proxy", "--listen", path, "--engine", str(tmp_path / "docker.sock")]
    command = [sys.executable, "-m", "meshlib_adapters.cli", *arguments]
    with (tmp_path / "proxy.log").open("a") as log:
        process = subprocess.Popen(command, env=environment(), stderr=log, text=True)
    try:
        end = time.monotonic() + PATIENCE
        while "ready: " not in (tmp_path / "proxy.log").read_text():
            assert time.monotonic() < end
            assert process.poll() is None, (tmp_path / "proxy.log").read_text()
            time.sleep(0.02)
        yield path, process
    finally:
        process.kill()
        process.wait()


def ask(path: str, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        data = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(request)
            while more := sock.recv(65536):
                data += more
        return data


def request(target: str, method: str = "GET", more: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: docker\r\n{more}\r\n".encode()


@pytest.mark.parametrize("path", sorted(PATHS))
def test_what_discovery_reads_is_allowed(path: str) -> None:
    for target in (path, f"/v1.24{path}", f"/v1.45{path}?filters=%7B%7D&status=true"):
        assert is_allowed(b"GET", target.encode())
        for method in (b"POST", b"PUT", b"DELETE", b"HEAD", b"PATCH", b"get", b"CONNECT"):
            assert not is_allowed(method, target.encode())


@pytest.mark.parametrize(
    "target",
    [
        "/", "", "*", "/info", "/secrets", "/configs", "/images/json", "/containers/abc/json",
        "/containers/json/", "//version", "/version/../secrets", "/version%2f..%2fsecrets",
        "/services/abc", "/v1.45/v1.45/version", "/v1/version", "/x/version",
        "/containers/abc/archive?path=/", "/version;x", "/versions", "/Version", "/events/x",
        "http://docker/version", "/swarm/unlockkey", "/session", "/grpc",
        "/containers/create?x=/version", "/v1.45", "/%76ersion", "/version#/",
        "/v1.45/exec/x/start?y=/services",
    ],
)  # fmt: skip
def test_nothing_else_is(target: str) -> None:
    assert not is_allowed(b"GET", target.encode())


def test_the_gateways_own_client_reads_through_it(engine: FakeEngine, tmp_path: Path) -> None:
    engine.services.append({"ID": "s1"})
    with proxy(tmp_path) as (path, process):
        client = Engine(EngineAddress(f"unix://{path}"))
        for _ in range(3):
            assert client.get_list("/services") == [{"ID": "s1"}]
        with client.events({"type": ["service"]}, silence=PATIENCE) as events:
            engine.emit("service", "remove", "s1")
            assert next(events)["Action"] == "remove"
        client.close()
        check = meshlib_command("socket-proxy", "--check", "--listen", path)
        assert (check.returncode, check.stdout, check.stderr) == (0, "ok\n", "")
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    check = meshlib_command("socket-proxy", "--check", "--listen", path)
    assert (check.returncode, check.stdout, len(check.stderr.splitlines())) == (1, "", 1)


def test_whatever_else_is_asked_never_reaches_the_engine(
    engine: FakeEngine, tmp_path: Path
) -> None:
    with proxy(tmp_path) as (path, _):
        for said, status in (
            (request("/containers/create", "POST", "Content-Length: 2\r\n") + b"{}", 400),
            (request("/containers/x/kill", "POST"), 403),
            (request("/secrets"), 403),
            (request("/version", "DELETE"), 403),
            (request("/version", more="Content-Length: 5\r\n") + b"hello", 400),
            (
                request("/version", more="Transfer-Encoding: chunked\r\n") + b"1\r\nx\r\n0\r\n\r\n",
                400,
            ),
            (b"nonsense\r\n\r\n", 400),
            (b"GET /version HTTP/1.1\r\nX: " + b"x" * 100_000, 400),
        ):
            response = ask(path, said)
            assert response.startswith(b"HTTP/1.1 %d " % status), said[:60]
            assert b'"message"' in response
        assert engine.calls == {}
        # What follows the first request does not pass, nor do fields that would make another
        # connection of it.
        ask(path, request("/version") + request("/containers/x/kill", "POST"))
        assert ask(
            path, request("/version", more="Connection: Upgrade\r\nUpgrade: tcp\r\n")
        ).startswith(b"HTTP/1.1 200")
        assert set(engine.calls) <= {"/version"}


def test_clients_that_say_nothing_are_bounded_and_the_next_is_served(
    engine: FakeEngine, tmp_path: Path
) -> None:
    with proxy(tmp_path) as (path, _), contextlib.ExitStack() as held:
        for _ in range(100):
            sock = held.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(path)
        end = time.monotonic() + PATIENCE
        while not ask(path, request("/version")).startswith(
            b"HTTP/1.1 200"
        ):  # at last when the silent ones have had their time
            assert time.monotonic() < end
            time.sleep(0.1)


def test_an_engine_that_is_away_is_told_and_comes_back(tmp_path: Path) -> None:
    with proxy(tmp_path) as (path, _):
        assert ask(path, request("/version")).startswith(b"HTTP/1.1 502")
        with FakeEngine(tmp_path / "docker.sock"):
            assert ask(path, request("/version")).startswith(b"HTTP/1.1 200")


def test_a_socket_that_was_left_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    bind_socket(path).close()
    with bind_socket(path) as sock:
        sock.listen()
        with pytest.raises(ConfigurationError, match="somebody listens there"):
            bind_socket(path)
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(ConfigurationError, match="not a socket"):
        bind_socket(str(file))
    assert file.read_text() == "kept"


def test_a_client_that_leaves_takes_its_events_with_it(engine: FakeEngine, tmp_path: Path) -> None:
    async def story() -> None:
        path = str(tmp_path / "engine.sock")
        with bind_socket(path) as sock:
            made = SocketProxy(str(engine.path))
            task = asyncio.create_task(made.serve(sock))
            await asyncio.sleep(0)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(request("/events"))
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            assert len(made._clients) == 1
            writer.close()
            async with asyncio.timeout(PATIENCE):
                while made._clients:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(story())
