"""Which engine is meant: an address, the environment, a context; and engines that are not on a
local socket.
"""

from __future__ import annotations

import hashlib
import json
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import docker.tls
import pytest
import trustme

from meshlib.errors import ConfigurationError
from meshlib_adapters.providers.docker.address import EngineAddress, find_engine
from meshlib_adapters.providers.docker.engine import Engine, EngineError
from meshlib_adapters.testing import FakeEngine, Fault


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "cli"))


def _write_context(directory: Path, name: str, host: str, *, current: bool = False) -> None:
    meta = directory / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": False}
    (meta / "meta.json").write_text(
        json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}})
    )
    (directory / "config.json").write_text(json.dumps({"currentContext": name} if current else {}))


def test_without_anything_it_is_the_local_socket() -> None:
    assert find_engine().base_url in {None, "unix:///var/run/docker.sock"}
    assert find_engine().tls is None


def test_docker_host_comes_before_contexts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _write_context(tmp_path / "cli", "remote", "tcp://192.0.2.7:2375", current=True)
    assert find_engine().base_url == "tcp://192.0.2.7:2375"
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/other.sock")
    assert find_engine().base_url == "unix:///run/other.sock"
    assert find_engine("context://remote").base_url == "tcp://192.0.2.7:2375"
    assert find_engine("ssh://admin@192.0.2.9").base_url == "ssh://admin@192.0.2.9"


def test_a_named_context_comes_before_the_current_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _write_context(tmp_path / "cli", "one", "tcp://192.0.2.1:2375", current=True)
    _write_context(tmp_path / "cli", "two", "tcp://192.0.2.2:2375")
    monkeypatch.setenv("DOCKER_CONTEXT", "two")
    assert find_engine().base_url == "tcp://192.0.2.2:2375"


@pytest.mark.parametrize(
    "url", ["gopher://x", "tcp://", "unix", "context://nowhere", "tcp://h:port"]
)
def test_what_cannot_be_an_engine_is_said_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError):
        find_engine(url)


def test_a_broken_context_names_itself(tmp_path: Path) -> None:
    _write_context(tmp_path / "cli", "broken", "tcp://192.0.2.1:2375")
    meta = tmp_path / "cli/contexts/meta" / hashlib.sha256(b"broken").hexdigest() / "meta.json"
    meta.write_text("{")
    with pytest.raises(ConfigurationError, match="docker context broken"):
        find_engine("context://broken")


class _TLSFront:
    """TLS on a TCP port in front of a unix socket, as a remote engine has it; client certificates
    are demanded.
    """

    def __init__(self, target: Path, authority: trustme.CA) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        authority.configure_trust(self._context)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._relay, args=(client,)))
            self._threads[-1].start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as target:
            try:
                tls = self._context.wrap_socket(client, server_side=True)
            except OSError:
                return
            target.connect(self._target)
            with tls:
                while True:
                    for ready in select.select([tls, target], [], [])[0]:
                        try:
                            data = ready.recv(65536)
                        except OSError:
                            data = b""
                        if not data:
                            return
                        (target if ready is tls else tls).sendall(data)


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[trustme.CA, Path]:
    authority = trustme.CA()
    directory = tmp_path / "certs"
    directory.mkdir()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    client = authority.issue_cert("client@example.com")
    client.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    client.private_key_pem.write_to_path(str(directory / "key.pem"))
    return authority, directory


@pytest.fixture
def remote(
    tmp_path: Path, certificates: tuple[trustme.CA, Path]
) -> Iterator[tuple[FakeEngine, str]]:
    with FakeEngine(tmp_path / "docker.sock") as fake:
        front = _TLSFront(fake.path, certificates[0])
        try:
            yield fake, f"tcp://127.0.0.1:{front.port}"
        finally:
            fake.stop()
            front.close()


def test_an_engine_behind_tls_is_read_and_a_hanging_call_to_it_ended(
    remote: tuple[FakeEngine, str],
    certificates: tuple[trustme.CA, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake, url = remote
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates[1]))
    engine = Engine(find_engine(url), timeout=60)
    assert engine.get_list("/services") == []
    fake.fault("/tasks", Fault(hang=True))
    failed: list[str] = []

    def read() -> None:
        try:
            engine.get_list("/tasks")
        except EngineError as error:
            failed.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    while not fake.count("/tasks"):
        threading.Event().wait(0.01)
    engine.abort()
    thread.join(10)
    assert not thread.is_alive()
    assert len(failed) == 1


def test_an_engine_with_a_foreign_certificate_is_not_believed(
    remote: tuple[FakeEngine, str], certificates: tuple[trustme.CA, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    directory = certificates[1]
    tls = docker.tls.TLSConfig(
        client_cert=(str(directory / "cert.pem"), str(directory / "key.pem")),
        ca_cert=str(other),
        verify=True,
    )
    address = EngineAddress(remote[1].replace("tcp://", "https://"), tls)
    engine = Engine(address, timeout=5)
    with pytest.raises(EngineError, match=r"(?i)certificate"):
        engine.get_list("/services")
    engine.abort()
