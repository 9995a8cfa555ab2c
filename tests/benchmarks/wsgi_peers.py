"""A gateway as WSGI application in a gunicorn of its own (one worker, eight threads), and an
application that responds itself: what any of them costs at least.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from tests.benchmarks.configurations import Site
from tests.benchmarks.peers import Launch, Peer
from tests.benchmarks.scenarios import SCENARIOS, Scenario, keepalive, register

__all__ = ["WSGI_PEERS", "register_wsgi"]

_ROOT = Path(__file__).resolve().parents[2]
_OPTIONS = (
    "--worker-class=gthread",
    "--threads=8",
    "--keep-alive=600",
    "--no-control-socket",
    "--log-level=warning",
    "--backlog=2048",
)


def _peer(name: str, application: str) -> Peer:
    def find() -> str | None:
        return sys.executable if importlib.util.find_spec("gunicorn") else None

    def configure(program: str, site: Site) -> Launch:
        environment = {
            "MESHLIB_BENCH_UPSTREAM": str(site.fixed),
            "PYTHONPATH": os.pathsep.join(
                [str(_ROOT), str(_ROOT / "adapters"), os.environ.get("PYTHONPATH", "")]
            ),
        }
        app = f"tests.benchmarks.wsgi_apps:{application}"
        command = (program, "-m", "gunicorn", f"--bind=127.0.0.1:{site.port}", *_OPTIONS, app)
        return Launch(command, environment)

    return Peer(name, find, configure, "pip install gunicorn")


WSGI_PEERS: dict[str, Peer] = {
    peer.name: peer for peer in (_peer("bare", "bare"), _peer("meshlib", "by_meshlib()"))
}


def register_wsgi() -> None:
    """Make the scenario known; again does nothing."""
    if "wsgi" not in SCENARIOS:
        about = "keepalive through gunicorn, as WSGI applications"
        register(Scenario("wsgi", about, keepalive, kind="wsgi", peers=tuple(WSGI_PEERS)))
