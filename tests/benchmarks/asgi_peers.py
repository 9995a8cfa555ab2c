"""Proxies as ASGI applications, each in an uvicorn of its own (httptools, uvloop, no access log),
and an application that responds itself: what any of them costs at least.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.configurations import Site
from tests.benchmarks.peers import Launch, Peer
from tests.benchmarks.scenarios import (
    SCENARIOS,
    Goal,
    Scenario,
    keepalive,
    register,
    varied,
)

__all__ = ["ASGI_PEERS", "register_asgi"]

_ROOT = Path(__file__).resolve().parents[2]
_OPTIONS = (
    "--host=127.0.0.1",
    "--http=httptools",
    "--loop=uvloop",
    "--lifespan=on",
    "--no-access-log",
    "--no-proxy-headers",
    "--log-level=warning",
    "--backlog=4096",
    "--timeout-keep-alive=600",
)
_PYPI = "pip install -r tests/benchmarks/requirements.txt"


def _peer(name: str, application: str, *modules: str, factory: bool = True) -> Peer:
    def find() -> str | None:
        needed = ("uvicorn", "httptools", "uvloop", *modules)
        present = all(importlib.util.find_spec(module) for module in needed)
        return sys.executable if present else None

    def configure(program: str, site: Site) -> Launch:
        command = (program, "-m", "uvicorn", f"tests.benchmarks.asgi_apps:{application}", *_OPTIONS)
        more = (f"--port={site.port}", *(("--factory",) if factory else ()))
        lifespan = () if name == "meshlib" else ("--lifespan=off",)
        environment = {
            "MESHLIB_BENCH_UPSTREAM": str(site.fixed),
            "PYTHONPATH": os.pathsep.join(
                [str(_ROOT), str(_ROOT / "adapters"), os.environ.get("PYTHONPATH", "")]
            ),
        }
        return Launch((*command, *more, *lifespan), environment)

    return Peer(name, find, configure, _PYPI)


ASGI_PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        _peer("bare", "bare", factory=False),
        _peer("asgiproxy", "by_asgiproxy", "asgiproxy", "aiohttp"),
        _peer("starlette-httpx", "by_starlette_and_httpx", "starlette", "httpx"),
        _peer("meshlib", "by_meshlib"),
    )
}

_GOALS = (Goal("cpu_us", 0.7, "asgiproxy"), Goal("cpu_us", 1.8, "bare"))


def register_asgi() -> None:
    """Make the scenarios known; again does nothing."""
    if "asgi" in SCENARIOS:
        return
    load: dict[str, tuple[str, Callable[..., dict[str, float]]]] = {
        "asgi": ("keepalive through uvicorn, as ASGI applications", keepalive),
        "asgi-varied": ("the same, one field differs in each request", varied),
    }
    for name, (about, run) in load.items():
        register(Scenario(name, about, run, goals=_GOALS, kind="asgi", peers=tuple(ASGI_PEERS)))
