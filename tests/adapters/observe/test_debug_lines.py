"""What the level "debug" tells: everything that was decided, and no secret."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from meshlib.decision import (
    Carry,
    Forward,
    Passthrough,
    Redirect,
    RedirectToTLS,
    Refuse,
    Reject,
    Respond,
    Terminate,
)
from meshlib.messages import FieldSection, RequestHead
from meshlib.model import Endpoint, ForwardTo, HostPath, RedirectRule, Route, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.observe.debug_lines import decision_text, request_text
from meshlib_adapters.observe.repeats import RepeatLimit
from tests.support.commands import PATIENCE, Running, free_port
from tests.support.service_ports import ask, echoing
from tests.support.worker_lab import Lab, backend, lab, labels, wait_for

_UPSTREAM = Upstream(UpstreamKey("shop", 80), (Endpoint("shop.1", "10.0.0.5", 80),))
_ROUTE = Route(HostPath("shop.example"), ForwardTo(_UPSTREAM), service="shop")
_BY = " by http://shop.example of shop"


def head(target: bytes) -> RequestHead:
    fields = FieldSection(b"Cookie: a=secret\r\n", (), None, None, False, frozenset(), None, False)
    return RequestHead(b"GET", target, b"shop.example", 1, fields)


def test_of_a_request_its_query_and_fields_are_left_out() -> None:
    assert request_text(head(b"/cart?token=secret")) == "GET shop.example/cart?..."
    assert request_text(head(b"/cart")) == "GET shop.example/cart"
    assert len(request_text(head(b"/" + b"a" * 10_000))) == 200


def test_every_decision_has_words() -> None:
    rule = RedirectRule("https://shop.example", 308)
    forward, redirect = Forward(_ROUTE, _UPSTREAM), Redirect(_ROUTE, rule)
    for decision, text in (
        (forward, f"to upstream shop:80{_BY}"),
        (Passthrough(_ROUTE, _UPSTREAM), f"to upstream shop:80{_BY}"),
        (Carry(_ROUTE, _UPSTREAM), f"to upstream shop:80{_BY}"),
        (redirect, f"redirect 308{_BY}"),
        (
            RedirectToTLS(_ROUTE, redirect, forward),
            f"redirect to https, over TLS to upstream shop:80{_BY}",
        ),
        (
            RedirectToTLS(_ROUTE, redirect),
            f"redirect to https, unless it came over TLS{_BY}",
        ),
        (Respond(404, "no_route"), "response 404 (no_route)"),
        (Reject(112, "no_route"), "TLS alert 112 (no_route)"),
        (Refuse("no_endpoint", _ROUTE), f"refused (no_endpoint){_BY}"),
        (Terminate("shop.example", _ROUTE), f"TLS is terminated here{_BY}"),
        (
            Forward(replace(_ROUTE, degraded=True), _UPSTREAM),
            f"to upstream shop:80{_BY}, kept as its label had it before",
        ),
    ):
        assert decision_text(decision) == text


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


def _request(running: Running, target: str, host: str) -> int:
    connection = http.client.HTTPConnection(*running.addresses["http"], timeout=PATIENCE)
    with contextlib.closing(connection):
        fields = {"Host": host, "Cookie": "id=s3cret", "Authorization": "Bearer s3cret"}
        connection.request("GET", target, headers=fields)
        response = connection.getresponse()
        response.read()
        return response.status


def _hello(running: Running) -> None:
    context = ssl.create_default_context()
    with (
        socket.create_connection(running.addresses["https"], timeout=PATIENCE) as sock,
        pytest.raises(OSError),
    ):
        context.wrap_socket(sock, server_hostname="unknown.example")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_a_gateway_decides_is_told_without_secrets(gateways: Lab, workers: str) -> None:
    port, dead = free_port(), free_port()
    with backend() as server, echoing() as echo:
        label = "com.docker.ucp.mesh.http"
        shop = {label: "external_route=http://shop.example,internal_port=1,sticky_sessions=id"}
        ports = {
            f"{label}.{scheme}": f"external_route={scheme}://:{port},internal_port=1"
            for scheme in ("tcp", "udp")
        }
        shops = [f"127.0.0.1:{dead}", server.address]
        services = {
            "shop": {"labels": shop, "endpoints": shops},
            "sql": {"labels": ports, "endpoints": [f"127.0.0.1:{echo}"]},
        }
        running = gateways.serve(
            "--workers",
            workers,
            "--log-level",
            "debug",
            services=json.dumps({"services": services}),
            MESHLIB_PORTS_OPEN="labels",
            MESHLIB_PORTS_HOST="127.0.0.1",
        )
        assert {_request(running, "/cart?token=s3cret", "shop.example") for _ in range(8)} == {200}
        assert _request(running, "/", "unknown.example") == 404
        _hello(running)
        assert ask(socket.SOCK_STREAM, port) == b"hello"
        assert ask(socket.SOCK_DGRAM, port) == b"hello"
        for text in (
            f"127.0.0.1: GET shop.example/cart?...: to upstream shop:1{_BY}",
            f"shop:1: to 127.0.0.1:{dead} (shop.1): chosen by round_robin",
            f"127.0.0.1:{dead}: no connection: connect_refused",
            "(shop.2): try 2",
            "127.0.0.1: GET unknown.example/: response 404 (no_route)",
            "hello for unknown.example: TLS alert 112 (no_route)",
            f"tcp://:{port}: connection of 127.0.0.1, to sql:1",
            f"tcp://:{port}: connection of 127.0.0.1 is over: closed",
            f"udp://:{port}: flow of 127.0.0.1 begins, to sql:1",
            f"sql:1: to 127.0.0.1:{echo} (sql.1)",
            "snapshot of 2 contributions taken: version 1",
            "now: shop:1: 127.0.0.1:",
            ": accepting",
        ):
            wait_for(lambda t=text: running.logged(t), running)  # type: ignore[misc]
        if workers == "2":
            assert running.logged("version 1 of the routes is served")
        assert "s3cret" not in running.log_file.read_text()


def test_debug_lines_are_limited_too_and_by_more() -> None:
    def admitted(level: int) -> int:
        limit = RepeatLimit(2, 60)
        record = logging.LogRecord("meshlib.proxy", level, "", 0, "%s", ("a",), None)
        return sum(limit.admit(record, 0.0) for _ in range(1000))

    assert (admitted(logging.INFO), admitted(logging.DEBUG)) == (2, 100)


def test_other_levels_tell_none_of_it(gateways: Lab) -> None:
    with backend() as server:
        text = labels(
            "external_route=http://shop.example,internal_port=1", endpoints=[server.address]
        )
        running = gateways.serve("--workers", "1", services=text)
        assert _request(running, "/cart", "shop.example") == 200
        assert all(record["level"] != "debug" for record in running.log)
