"""Endpoints that speak HTTP/2 without TLS, as gRPC servers do: to clients of HTTP/2 and of
HTTP/1.1, which see no difference.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from meshlib.discovery.files.services import resolve_document
from meshlib.labels.hrm import LABEL
from tests.support.backend import Backend, Peer
from tests.support.client import get
from tests.support.http2_backend import Server, over, serving
from tests.support.http2_client import request
from tests.support.http2_fixtures import StartSite
from tests.support.running import quick

Make = Callable[..., Backend]
MIB = 1024 * 1024


def message(text: bytes) -> bytes:
    """A message of gRPC."""
    return struct.pack(">BI", 0, len(text)) + text


def grpc(server: Server, number: int) -> None:
    """Responds to every message with itself; to a method that is unknown with trailers alone."""
    head = dict(server.heads[number])
    if head[":path"] != "/echo.Echo/Say":
        unknown = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "12")]
        server.frames.send_headers(number, unknown, end_stream=True)
        return
    server.frames.send_headers(
        number,
        [(":status", "200"), ("content-type", "application/grpc"), ("te-was", head.get("te", ""))],
    )
    server.send(number, server.bodies[number])
    server.frames.send_headers(
        number, [("grpc-status", "0"), ("grpc-message", "fine")], end_stream=True
    )


def test_a_call_of_grpc(start: StartSite, backend: Make) -> None:
    """What a gRPC client and a gRPC server say to each other, message by message and to the
    trailers.
    """
    seen: list[Server] = []
    server = backend(serving(grpc, keep=seen))
    client = start(over(server)).client()
    for text in (b"hello", b"again"):
        more = (("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "1S"))
        number = client.ask(request("/echo.Echo/Say", "a", *more, method="POST"), end=False)
        client.data(number, message(text)[:3])
        client.data(number, message(text)[3:], end=True)
        response = client.response(number)
        assert response.fields["te-was"] == "trailers"
        assert bytes(response.data) == message(text)
        assert response.trailers == {"grpc-status": "0", "grpc-message": "fine"}
    unknown = client.response(
        client.ask(request("/echo.Echo/Nothing", "a", ("te", "trailers"), method="POST"))
    )
    assert unknown.fields["grpc-status"] == "12"
    assert not unknown.data
    assert len(server.peers) == 1
    head = dict(seen[0].heads[1])
    assert (head[":method"], head[":scheme"], head[":authority"], head["grpc-timeout"]) == (
        "POST",
        "http",
        "a",
        "1S",
    )
    assert head["via"] == "2 meshlib"
    assert "transfer-encoding" not in head


def test_a_label_says_that_endpoints_speak_http2(start: StartSite, backend: Make) -> None:
    """A call of gRPC over a route that a label has made."""
    server = backend(serving(grpc))
    label = f"external_route=http://rpc.example,internal_port={server.port},upstream_protocol=h2c"
    service = {"labels": {LABEL: label}, "endpoints": ["127.0.0.1"]}
    snapshot = resolve_document({"services": {"echo": service}})
    assert not snapshot.diagnostics
    client = start(snapshot).client()
    more = (("content-type", "application/grpc"), ("te", "trailers"))
    number = client.ask(request("/echo.Echo/Say", "rpc.example", *more, method="POST"), end=False)
    client.data(number, message(b"hello"), end=True)
    response = client.response(number)
    assert bytes(response.data) == message(b"hello")
    assert response.trailers["grpc-status"] == "0"


def test_both_directions_at_once(start: StartSite, backend: Make) -> None:
    """A stream of messages each way: a response goes out while the request goes on."""

    def script(peer: Peer) -> None:
        server = Server(
            peer,
            lambda server, number: server.frames.send_headers(
                number, [("grpc-status", "0")], end_stream=True
            ),
        )
        echoed = 0
        while server.pump():
            for number, body in list(server.bodies.items()):
                if body and not echoed:
                    server.frames.send_headers(number, [(":status", "200")])
                if (
                    len(body) > echoed
                    and number not in server.trailers
                    and server.frames.streams[number].open
                ):
                    server.send(number, body[echoed:])
                    echoed = len(body)

    client = start(over(backend(script))).client()
    number = client.ask(request(method="POST"), end=False)
    for index in range(5):
        client.data(number, b"%d" % index)
        while len(client.responses[number].data) <= index:
            assert client.pump()
    client.data(number, b"", end=True)
    response = client.response(number)
    assert bytes(response.data) == b"01234"
    assert response.trailers == {"grpc-status": "0"}


def test_clients_of_http_1(start: StartSite, backend: Make) -> None:
    def respond(server: Server, number: int) -> None:
        path = dict(server.heads[number])[":path"]
        if path == "/none":
            server.frames.send_headers(number, [(":status", "404")], end_stream=True)
        elif path == "/length":
            server.frames.send_headers(number, [(":status", "200"), ("content-length", "5")])
            server.send(number, b"12345", end=True)
        else:
            server.frames.send_headers(number, [(":status", "103"), ("link", "</x>")])
            server.frames.send_headers(
                number, [(":status", "200"), ("server", "x"), ("trailer", "x-sum")]
            )
            server.send(number, server.bodies[number] or b"body")
            server.frames.send_headers(
                number, [("x-sum", "1"), ("x-user", "admin")], end_stream=True
            )

    site = start(over(backend(serving(respond))))
    client = site.running.client()
    first = client.ask(get("/"))
    assert (first.status, first.body, first.trailers.lower()) == (200, b"body", b"x-sum: 1\r\n")
    assert len(first.interim) == 1
    assert first.one("server") == "x"
    assert client.ask(get("/none")).one("content-length") == "0"
    assert client.ask(get("/length")).body == b"12345"
    sent = client.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n"
        b"de\r\n0\r\nx-t: 1\r\n\r\n"
    )
    assert sent.body == b"abcde"
    assert (
        client.ask(b"HEAD /length HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD").one("content-length")
        is not None
    )
    assert client.ask(get("/length")).body == b"12345"


def test_megabytes_pass_through_smaller_windows(start: StartSite, backend: Make) -> None:
    """Up and down through windows that are smaller."""

    def respond(server: Server, number: int) -> None:
        server.frames.send_headers(
            number, [(":status", "200"), ("x-size", str(len(server.bodies[number])))]
        )
        server.send(number, b"z" * (8 * MIB), end=True)

    site = start(over(backend(serving(respond))))
    client = site.client(window=MIB)
    number = client.ask(request("/", "a", ("content-length", "200000"), method="PUT"), end=False)
    for index in range(10):
        for part in range(2):
            client.data(number, b"u" * 10_000, end=index == 9 and part == 1)
    response = client.response(number)
    assert response.fields["x-size"] == "200000"
    assert len(response.data) == 8 * MIB


def test_what_goes_wrong(start: StartSite, backend: Make) -> None:
    """A reset before the response is a 502, in it a reset; a server of HTTP/1 is no response; a
    client that leaves is heard of.
    """

    def respond(server: Server, number: int) -> None:
        path = dict(server.heads[number])[":path"]
        if path == "/reset":
            server.frames.reset_stream(number, 2)
        elif path == "/cut":
            server.frames.send_headers(number, [(":status", "200")])
            server.send(number, b"abc")
            server.frames.reset_stream(number, 2)
        elif path != "/silent":
            server.frames.send_headers(number, [(":status", "204")], end_stream=True)

    server = backend(serving(respond))
    client = start(over(server)).client()
    assert client.response(client.ask(request("/reset", method="POST"))).status == 502
    cut = client.get("/cut")
    assert cut.reset == 2
    assert client.get("/fine").status == 204
    number = client.ask(request("/silent"))
    server.wait(lambda: len(server.peers) >= 3)
    client.ping()
    client.cancel(number)
    server.wait(lambda: all(peer.ended for peer in server.peers))
    assert client.get("/fine").status == 204


def test_a_server_of_http_1(start: StartSite, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.more()
        peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        peer.read_rest()

    assert start(over(backend(script))).client().get().status == 502


def test_an_endpoint_that_says_goaway_gets_no_more_requests(
    start: StartSite, backend: Make
) -> None:
    """Who says that it takes no more requests gets none; what it still responds is passed on."""

    def respond(server: Server, number: int) -> None:
        server.peer.send(
            b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + number.to_bytes(4, "big") + bytes(4)
        )
        server.frames.send_headers(number, [(":status", "204")], end_stream=True)

    server = backend(serving(respond))
    client = start(over(server)).client()
    assert [client.get().status for _ in range(3)] == [204, 204, 204]
    assert len(server.peers) == 3


@pytest.mark.parametrize("value", ["x\r\ny: z", "x\ny", "\0"])
def test_responses_that_could_be_misread(start: StartSite, backend: Make, value: str) -> None:
    def respond(server: Server, number: int) -> None:
        server.frames.send_headers(number, [(":status", "200"), ("x", value)], end_stream=True)

    def script(peer: Peer) -> None:
        server = Server(peer, respond)
        server.frames.config.validate_outbound_headers = False
        while server.pump():
            pass

    assert start(over(backend(script))).client().get().status == 502


@pytest.mark.parametrize("status", ["abc", "", "20", "2000", "+20", "2_0", "099", "-20", "1x0"])
def test_a_status_that_is_none(start: StartSite, backend: Make, status: str) -> None:
    """502, as for an endpoint of HTTP/1 with such a status line; and the next request is served."""

    def respond(server: Server, number: int) -> None:
        wrong = dict(server.heads[number])[":path"] == "/wrong"
        server.frames.send_headers(
            number,
            [(":status", status if wrong else "204"), ("x", "y")],
            end_stream=status != "1x0" or not wrong,
        )

    def script(peer: Peer) -> None:
        server = Server(peer, respond)
        server.frames.config.validate_outbound_headers = False
        while server.pump():
            pass

    client = start(over(backend(script))).client()
    assert [client.get(path).status for path in ("/wrong", "/right")] == [502, 204]


def test_an_endpoint_that_is_silent_is_a_504(start: StartSite, backend: Make) -> None:
    assert (
        start(over(backend(serving(lambda server, number: None))), quick(response_head=0.3))
        .client()
        .get()
        .status
        == 504
    )


@pytest.mark.parametrize(("status", "sent"), [("204", 204), ("304", 304), ("101", 502)])
def test_what_would_be_read_as_another_response_is_not_passed_on(
    start: StartSite, backend: Make, status: str, sent: int
) -> None:
    """DATA behind the head of a response that has no body, and 101, which HTTP/2 does not know."""

    def wrong(server: Server, number: int) -> None:
        server.frames.send_headers(number, [(":status", status), ("x", "y")])
        if status == "101":
            server.frames.send_headers(number, [(":status", "200"), ("x", "z")])
        server.send(number, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", end=True)

    client = start(over(backend(*[serving(wrong)] * 2))).running.client()
    for _ in range(2):
        response = client.ask(get("/up", "a", "Connection: Upgrade", "Upgrade: x"))
        assert (response.status, response.interim) == (sent, [])
