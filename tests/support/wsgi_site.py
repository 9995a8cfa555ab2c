"""A site of WSGI for any server: hosts that the mesh routes are proxied, and the application behind
it, of Flask, of Django, or of neither, says what goes on in its process and changes the routes.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from meshlib import Mesh, Service
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.wsgi import WSGIGateway, mesh_wsgi

__all__ = ["Site", "application"]


class Site:
    """The mesh, the gateway in front of `own`, and what `own` does when it is asked."""

    def __init__(self) -> None:
        self.mesh = Mesh(json.loads(os.environ.get("ROUTES", "{}")))
        self.gateway: WSGIGateway | None = None

    def respond(self, path: str, body: bytes) -> str:
        """What the page at `path` says."""
        if path == "/routes":
            assert self.gateway is not None
            routes = {
                host: Service(service.pop("endpoints"), **service)
                for host, service in json.loads(body).items()
            }
            self.gateway.change(self.mesh.replace, routes)
            # What is closed is closed in the loop's next round.
            self.gateway.change(lambda: None)
            return "changed"
        if path == "/size":
            return f"{len(body)}"
        return json.dumps(
            {
                "pid": os.getpid(),
                "threads": [thread.name for thread in threading.enumerate()],
                "peak": _peak(),
            }
        )

    def plain(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The application without a framework."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        text = self.respond(environ["PATH_INFO"], body).encode()
        start_response("200 OK", [("Content-Length", f"{len(text)}")])
        return [text]

    def of_flask(self) -> WSGIApplication:
        """The same as an application of Flask, with the gateway in it."""
        import flask

        app = flask.Flask(__name__)

        @app.route("/<path:path>", methods=["GET", "POST"])
        def page(path: str) -> str:
            return self.respond(f"/{path}", flask.request.get_data())

        self.gateway = mesh_wsgi(app.wsgi_app, mesh=self.mesh, settings=settings())
        app.wsgi_app = self.gateway  # type: ignore[method-assign]
        return app

    def of_django(self) -> WSGIApplication:
        """The same as an application of Django."""
        import django.conf
        import django.core.wsgi
        import django.http
        import django.urls

        def page(request: django.http.HttpRequest, path: str) -> django.http.HttpResponse:
            return django.http.HttpResponse(self.respond(f"/{path}", request.body))

        django.conf.settings.configure(
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=(django.urls.path("<path:path>", page),),
            SECRET_KEY="of a test",
        )
        self.gateway = mesh_wsgi(
            django.core.wsgi.get_wsgi_application(), mesh=self.mesh, settings=settings()
        )
        return self.gateway

    def alone(self) -> WSGIApplication:
        """A gateway without an application, which has every host but the site's own."""
        gateway = self.gateway = mesh_wsgi(mesh=self.mesh, settings=settings())

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            own = environ.get("HTTP_HOST") == "own.test"
            return (self.plain if own else gateway)(environ, start_response)

        return app

    def of_neither(self) -> WSGIApplication:
        """The same without a framework."""
        self.gateway = mesh_wsgi(self.plain, mesh=self.mesh, settings=settings())
        return self.gateway


def settings() -> HTTPSettings:
    """Time-outs that a test does not have to wait for."""
    return HTTPSettings(connect=5.0, response_head=10.0, between_bytes=10.0)


def application() -> WSGIApplication:
    """The site's application, with the framework that the variable SITE names, and the routes that
    ROUTES has. With EARLY the gateway is started at once.
    """
    site = Site()
    inner = {
        "flask": site.of_flask,
        "django": site.of_django,
        "neither": site.of_neither,
        "alone": site.alone,
    }
    app = inner[os.environ.get("SITE", "neither")]()
    if os.environ.get("EARLY"):
        assert site.gateway is not None
        site.gateway.start()
    return app


def _peak() -> int:
    # The most memory that the process has had, in bytes.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells no VmHWM")
