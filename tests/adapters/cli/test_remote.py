"""Asking an admin listener, and what is said when no gateway responds."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from meshlib.errors import ConfigurationError
from meshlib_adapters.cli.remote import admin_url, ask_admin
from meshlib_adapters.config.readers import Address


class _Responder(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = {
            "/-/routes?a=b+c": (200, b'{"routes": []}'),
            "/-/ready": (503, b'{"reason": "starting"}'),
            "/-/list": (200, b"[]"),
        }.get(self.path, (200, b"<html>"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Responder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_responses_and_errors_with_a_body(url: str) -> None:
    assert ask_admin(url, "/-/routes", [("a", "b c")]) == (200, {"routes": []})
    assert ask_admin(f"http://{url}/", "/-/ready") == (503, {"reason": "starting"})


@pytest.mark.parametrize("path", ["/-/list", "/other"])
def test_somebody_else_responds(url: str, path: str) -> None:
    with pytest.raises(ConfigurationError, match="no admin listener responded"):
        ask_admin(url, path)


def test_a_port_where_nobody_listens_asks_whether_the_gateway_runs() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigurationError, match=r"Connection refused.*is the gateway running"):
            ask_admin(f"http://127.0.0.1:{held.getsockname()[1]}", "/-/ready")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "file:///etc/passwd"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a URL"):
        ask_admin(url, "/-/ready")


def test_the_url_of_our_own_admin_listener() -> None:
    assert admin_url([Address("0.0.0.0", 1)]) == "http://127.0.0.1:1"
    assert admin_url([Address("::", 1)]) == "http://[::1]:1"
    assert admin_url([Address("", 1)]) == "http://127.0.0.1:1"
    assert admin_url([Address("10.0.0.1", 1), Address("", 2)]) == "http://10.0.0.1:1"
    with pytest.raises(ConfigurationError, match="off"):
        admin_url([])
