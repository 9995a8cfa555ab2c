"""The examples of WSGI under gunicorn."""

from __future__ import annotations

from pathlib import Path

from tests.architecture.tree import ROOT
from tests.support.backend import Backend
from tests.support.client import get
from tests.support.wsgi_servers import gunicorn

__all__ = ["check_example"]


def check_example(app: str, folder: Path) -> None:
    """Ask the example `app` ("MODULE:NAME") for a host of a service, and for its own page."""
    upstream = Backend()
    (folder / "services.yaml").write_text(
        "services:\n"
        "  shop:\n"
        "    labels: {com.docker.ucp.mesh.http.80:"
        f' "external_route=http://shop.test,internal_port={upstream.port}"}}\n'
        '    endpoints: ["127.0.0.1"]\n'
    )
    options = ("--chdir", str(folder), "--pythonpath", str(ROOT / "examples"))
    with gunicorn(*options, app=app) as site:
        for host, body in [
            ("shop.test", b"ok"),
            ("own.test", b"the application's own page, beside 1 routes\n"),
        ]:
            client = site.client()
            assert client.ask(get("/", host)).body == body
            client.close()
    upstream.stop()
