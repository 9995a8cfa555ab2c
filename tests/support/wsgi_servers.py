"""Servers of WSGI with a site of `wsgi_site`, each in its own way."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import waitress.server

from meshlib_adapters.wsgi import WSGIGateway
from tests.architecture.tree import ROOT, source_environment
from tests.support.backend import Backend
from tests.support.client import Client
from tests.support.wsgi_site import Site

__all__ = ["RunningSite", "gunicorn", "run_waitress"]


class RunningSite:
    """A site at `address`, of a server that a test calls by `name`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.name = ""

    def client(self, *, receive_buffer: int = 0) -> Client:
        """A connection to it."""
        return Client(self.address, receive_buffer=receive_buffer)

    @contextlib.contextmanager
    def routing(self, *backends: Backend, host: str = "a", **options: Any) -> Iterator[RunningSite]:
        """Have `host` routed to the backends meanwhile, with `options` of `Service`."""
        endpoints = [f"127.0.0.1:{backend.port}" for backend in backends]
        self.ask("/routes", {host: {"endpoints": endpoints, **options}})
        try:
            yield self
        finally:
            self.ask("/routes", {})

    def ask(self, path: str, body: object = None) -> str:
        """Ask the site's own application."""
        data = json.dumps(body).encode() if body is not None else b""
        method = b"POST" if data else b"GET"
        client = self.client()
        try:
            response = client.ask(
                b"%s %s HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (method, path.encode(), len(data), data)
            )
        finally:
            client.close()
        assert response.status == 200, response
        return response.body.decode()

    def facts(self) -> dict[str, Any]:
        """What goes on in the process that responds."""
        facts: dict[str, Any] = json.loads(self.ask("/facts"))
        return facts


@contextlib.contextmanager
def gunicorn(
    *options: str,
    variables: Mapping[str, str] | None = None,
    app: str = "tests.support.wsgi_site:application()",
    log: list[str] | None = None,
) -> Iterator[RunningSite]:
    """gunicorn with these options; `log` gets the lines that it wrote."""
    command = [sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:0", "--no-control-socket"]
    environment = {**source_environment(ROOT), **(variables or {})}
    process = subprocess.Popen(
        [*command, *options, app], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = [] if log is None else log
    try:
        for line in process.stderr:
            lines.append(line)
            if match := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            raise AssertionError("".join(lines))
        # Read on, so that it never waits for us.
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
        reader.start()
        yield RunningSite(("127.0.0.1", int(match[1])))
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(20)
        reader.join(10)
        process.stderr.close()
    assert status == 0, "".join(lines)


@contextlib.contextmanager
def run_waitress(app: WSGIGateway | None = None, **options: Any) -> Iterator[RunningSite]:
    """waitress in threads of this process, with the gateway `app` or that of a site; it is closed
    at the end.
    """
    if app is None:
        site = Site()
        site.of_neither()
        app = site.gateway
    assert app is not None
    server = waitress.server.create_server(app, host="127.0.0.1", port=0, **options)
    assert isinstance(server, waitress.server.TcpWSGIServer)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield RunningSite(("127.0.0.1", int(server.getsockname()[1])))
    finally:
        server.task_dispatcher.shutdown()
        server.close()
        thread.join(10)
        app.close()
    assert not thread.is_alive()
