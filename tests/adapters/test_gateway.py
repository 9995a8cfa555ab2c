"""`Gateway`, the front door: a mesh served with one line, what can be asked of it by keyword, and
its mistakes.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import httpx
import pytest

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    ForwardTo,
    HostPath,
    Route,
    Severity,
    Snapshot,
    Upstream,
)
from meshlib.routes import Service
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters import Gateway
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.providers.provider import ProviderStatus
from tests.support.backend import Backend, responding

HOST = "shop.example.com"


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    yield made
    made.stop()


def snapshot(port: int, host: str = HOST, key: str = "shop", *diagnostics: Diagnostic) -> Snapshot:
    upstream = Upstream(UpstreamKey(key, 80), (Endpoint("a", "127.0.0.1", port),))
    route = Route(HostPath(host), ForwardTo(upstream), service=key, label="in code", schema="code")
    return Snapshot.of([Contribution(key, key, routes=(route,), diagnostics=diagnostics)])


async def ask(
    gateway: Gateway, host: str = HOST, listener: str = "http", path: str = "/"
) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(
            f"http://{gateway.addresses[listener][0]}{path}", headers={"Host": host}
        )


class Told:
    """A provider that says what it is told, and how it fares."""

    name = "told"

    def __init__(self) -> None:
        self.status = ProviderStatus("starting", None, "")
        self.next: list[Snapshot] = []

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        while True:
            while self.next:
                yield self.next.pop(0)
            await anyio.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mesh_is_served_while_the_block_runs(backend: Backend, workers: int) -> None:
    async def main() -> None:
        async with Gateway(
            Mesh(snapshot(backend.port)), http="127.0.0.1:0", workers=workers
        ) as gateway:
            assert (await ask(gateway)).text == "ok"
            assert (await ask(gateway, "other.example.com")).status_code == 404
        with pytest.raises(httpx.ConnectError):
            await ask(gateway)

    anyio.run(main)


def test_what_the_block_raises_leaves_it_as_it_is(backend: Backend) -> None:
    async def main() -> None:
        with pytest.raises(KeyError, match="mine"):
            async with Gateway(Mesh(snapshot(backend.port)), http="127.0.0.1:0"):
                raise KeyError("mine")

    anyio.run(main)


@pytest.mark.parametrize("where", ["entering", "inside"])
def test_who_is_cancelled_leaves_nothing_behind(backend: Backend, where: str) -> None:
    async def main() -> None:
        mesh, providers = (
            (Mesh(), [Told()]) if where == "entering" else (Mesh(snapshot(backend.port)), [])
        )
        gateway = Gateway(mesh, providers=providers, http="127.0.0.1:0")
        with anyio.move_on_after(0.3) as scope:
            async with gateway:
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(httpx.ConnectError):
            await ask(gateway)

    anyio.run(main)


def test_a_gateway_serves_once(backend: Backend) -> None:
    async def main() -> None:
        gateway = Gateway(Mesh(snapshot(backend.port)), http="127.0.0.1:0")
        async with gateway:
            pass
        with pytest.raises(RuntimeError, match="serves once"):
            async with gateway:
                pass
        with pytest.raises(RuntimeError, match="serves once"):
            await gateway.serve()
        async with Gateway(gateway.mesh, http="127.0.0.1:0") as again:
            assert (await ask(again)).text == "ok"

    anyio.run(main)


def test_nothing_is_opened_that_is_not_named(backend: Backend) -> None:
    async def main() -> None:
        async with Gateway(Mesh(snapshot(backend.port)), http="127.0.0.1:0") as gateway:
            assert {name: len(addresses) for name, addresses in gateway.addresses.items()} == {
                "http": 1,
                "https": 0,
                "admin": 0,
            }
            assert not gateway.settings.log.access
            assert gateway.settings.state == "off"

    anyio.run(main)


def test_providers_and_code_share_the_mesh(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "meshlib")

    async def main() -> None:
        mesh, told = Mesh(snapshot(backend.port)), Told()
        wrong = Diagnostic(
            "HRM003", Severity.ERROR, "late", "label", "it is wrong", "write it right"
        )
        told.next.append(snapshot(backend.port, "late.example.com", "late", wrong))
        async with Gateway(
            mesh, providers=[told], http="127.0.0.1:0", admin="127.0.0.1:0"
        ) as gateway:
            assert (await ask(gateway)).text == "ok"
            assert (await ask(gateway, "late.example.com")).text == "ok"
            told.status = ProviderStatus("degraded", None, "the engine is gone")
            await until(lambda: "degraded" in caplog.text)
            mesh.publish("", Snapshot())
            assert (await ask(gateway)).status_code == 404
            assert (await ask(gateway, "localhost", "admin", "/-/status")).status_code == 200

    async def until(happened: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not happened():  # noqa: ASYNC110
                await anyio.sleep(0.01)

    anyio.run(main)
    assert {
        record.name.partition(".")[0]
        for record in caplog.records
        if record.name.startswith("meshlib")
    } == {"meshlib"}
    assert "2 routes (1 added: http://late.example.com; 0 removed)" in caplog.text
    assert "1 routes (0 added; 1 removed: http://" in caplog.text
    assert "HRM003" in caplog.text
    assert "the engine is gone" in caplog.text


@pytest.mark.parametrize("patience", ["0.1s", "0"])
def test_a_gateway_whose_engine_is_cut_off_is_not_ready_if_it_is_told_so(
    backend: Backend, patience: str
) -> None:
    async def main() -> None:
        told = Told()
        told.next.append(snapshot(backend.port))
        settings = {"discovery.ready_without_engine": patience}
        async with Gateway(
            providers=[told], http="127.0.0.1:0", admin="127.0.0.1:0", settings=settings
        ) as gateway:

            async def ready() -> tuple[int, str]:
                response = await ask(gateway, "localhost", "admin", "/-/ready")
                return response.status_code, response.json()["reason"]

            assert await ready() == (200, "")
            # A wrong file is no reason: all gateways would read it, and none would be ready.
            told.status = ProviderStatus("degraded", None, "line 3 is wrong")
            await anyio.sleep(0.7)
            assert await ready() == (200, "")
            told.status = ProviderStatus("degraded", None, "no such socket", cut_off=True)
            with anyio.move_on_after(20 if patience != "0" else 0.7):
                while await ready() == (200, ""):  # noqa: ASYNC110
                    await anyio.sleep(0.02)
            status, reason = await ready()
            assert (await ask(gateway)).text == "ok"
            if patience == "0":
                assert status == 200
                return
            assert (status, reason[:19], reason[-16:]) == (
                503,
                "told is cut off for",
                ": no such socket",
            )
            told.status = ProviderStatus("ok", None, "")
            with anyio.fail_after(20):
                while await ready() != (200, ""):  # noqa: ASYNC110
                    await anyio.sleep(0.02)

    anyio.run(main)


def test_a_silent_provider_holds_up_the_routes_in_code_only_for_a_while(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        settings = {"timeouts.first_snapshot": "0.2s"}
        async with Gateway(
            Mesh(snapshot(backend.port)), providers=[Told()], http="127.0.0.1:0", settings=settings
        ) as gateway:
            assert (await ask(gateway)).text == "ok"

    anyio.run(main)
    assert "starting without the routes of told: no snapshot yet" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "there is nothing to listen on"),
        ({"http": "nonsense:x"}, "Gateway(http=): 'nonsense:x' is not HOST:PORT"),
        ({"tls": "nonsense:x"}, "Gateway(tls=): "),
        ({"http": ":0", "workers": -1}, "Gateway(workers=): "),
        ({"http": ":0", "ports": "all"}, "Gateway(ports=): "),
        ({"http": ":0", "providers": 3}, "Gateway(providers=): a list of providers is wanted"),
        ({"http": ":0", "providers": "swarm"}, "Gateway(providers=): a list of providers"),
        ({"http": ":0", "providers": ["swarm"]}, "providers[0]: 'swarm' is not a provider"),
        ({"http": ":0", "providers": [Told(), Told()]}, "two providers have the name 'told'"),
        (
            {"http": ":0", "settings": {"timeouts.drian": "1s"}},
            "settings['timeouts.drian']: there is no such setting",
        ),
        ({"http": ":0", "settings": {"timeouts.drain": "soon"}}, "settings['timeouts.drain']: "),
        ({"http": ":0", "settings": "gateway.toml"}, "Gateway(settings=): "),
    ],
)
def test_mistakes_are_named_when_it_is_made(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Gateway(Mesh(), **arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_gateway_needs_a_mesh_or_a_provider() -> None:
    with pytest.raises(ConfigurationError, match="a Mesh is wanted"):
        Gateway({"shop.example.com": ["10.0.0.5:80"]}, http=":0")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="there is no provider"):
        Gateway(http=":0")


def test_an_address_that_cannot_be_had_is_raised_by_the_block() -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match="this machine does not have that address"):
            async with Gateway(Mesh(), http="192.0.2.1:8080"):
                pass

    anyio.run(main)


def test_keywords_stand_over_settings(backend: Backend) -> None:
    async def main() -> None:
        settings = {"timeouts.drain": "1s", "http": "127.0.0.1:1"}
        gateway = Gateway(Mesh(snapshot(backend.port)), http=0, settings=settings)
        assert gateway.settings.http[0].port == 0
        assert gateway.settings.drain == 1
        again = Gateway(Mesh(), http="127.0.0.1:0", settings=Settings(admin=()))
        assert again.settings.http[0].port == 0
        assert again.settings.https == Settings().https

    anyio.run(main)


def test_run_serves_until_sigterm(backend: Backend) -> None:
    program = textwrap.dedent(
        f"""
        import logging, sys
        from meshlib.mesh import Mesh
        from meshlib.model import Contribution, Endpoint, ForwardTo, HostPath, Route
        from meshlib.model import Snapshot, Upstream
        from meshlib.upstream_key import UpstreamKey
        from meshlib_adapters import Gateway

        upstream = Upstream(UpstreamKey("shop", 80), (Endpoint("a", "127.0.0.1", {backend.port}),))
        route = Route(HostPath("{HOST}"), ForwardTo(upstream), service="shop")
        logging.basicConfig(level=logging.INFO, stream=sys.stdout)
        mesh = Mesh(Snapshot.of([Contribution("shop", "shop", routes=(route,))]))
        status = Gateway(mesh, http="127.0.0.1:0").run()
        print("status", status)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=_environment()
    ) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "ready" in line)
        address = line.rpartition("http ")[2].strip()
        assert httpx.get(f"http://{address}/", headers={"Host": HOST}, trust_env=False).text == "ok"
        process.send_signal(signal.SIGTERM)
        assert "status 0" in process.stdout.read()
        assert process.wait(20) == 0


def test_a_missing_extra_is_named() -> None:
    program = textwrap.dedent(
        """
        import sys

        sys.modules["docker"] = None
        import meshlib_adapters

        try:
            meshlib_adapters.SwarmProvider
        except ModuleNotFoundError as error:
            print(error)
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    assert (
        "SwarmProvider needs docker, which is not installed; write: "
        "pip install 'meshlib-gateway[docker]'"
    ) in result.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_mistakes_of_an_embedded_gateway_are_shown_as_they_were_written() -> None:
    with pytest.raises(ConfigurationError, match=r"^Gateway\(mesh=, providers=\): there is no pro"):
        Gateway(http=0)
    gateway = Gateway(Mesh(), tls="192.0.2.1:80")
    with pytest.raises(ConfigurationError, match=r"^Gateway\(tls=\) 192\.0\.2\.1:80: this machine"):
        gateway.run()


def test_a_strategy_of_the_program_is_not_one_of_its_workers() -> None:
    def mine(candidates: object, request: object) -> None:
        """A strategy."""

    mesh = Mesh({"a": Service(["127.0.0.1:1"], strategy=mine)})
    with pytest.raises(ConfigurationError, match="mine of this program, which worker") as caught:
        Gateway(mesh, http="127.0.0.1:0", workers=2)
    assert caught.value.hint.startswith("serve in this process: workers=1, without user and group")
