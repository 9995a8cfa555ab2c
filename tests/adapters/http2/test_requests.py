"""Requests and responses, and what becomes of their fields on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshlib.client_claims import ForwardingPolicy
from meshlib.discovery.files.services import resolve_document
from meshlib.http2.sections import Pair
from meshlib.labels.hrm import LABEL
from meshlib.model import RedirectRule
from meshlib.table import RoutingTable
from tests.support.backend import OK, Backend, Peer, beginning_sessions, responding
from tests.support.http2_client import PREFACE, interims, request
from tests.support.http2_fixtures import StartSite
from tests.support.networks import parse_networks
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]


def test_a_request_and_its_response_keep_their_fields(start: StartSite, backend: Make) -> None:
    fields = b"Server: x\r\nKeep-Alive: 5\r\nX-Y: 1\r\nConnection: X-Y\r\nContent-Length: 2"
    server = backend(responding(b"HTTP/1.1 200 Fine\r\n" + fields + b"\r\n\r\nok"))
    site = start(server)
    response = site.client().get(
        "/p?q", "shop.example", ("accept", "*/*"), ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")
    )
    assert response.heads == [{":status": "200", "server": "x", "content-length": "2"}]
    assert bytes(response.data) == b"ok"
    lines = server.requests[0].decode().split("\r\n")
    identifier = next(line for line in lines if line.startswith("X-Request-ID: "))
    port = site.address[1]
    assert lines == [
        "GET /p?q HTTP/1.1",
        "host: shop.example",
        "accept: */*",
        "cookie: a=1; b=2",
        "x: y",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: shop.example",
        f"X-Forwarded-Port: {port}",
        "Via: 2 meshlib",
        identifier,
        "",
        "",
    ]
    record = site.log(1)[0]
    assert record["protocol"] == "HTTP/2"
    assert (record["status"], record["host"], record["target"], record["tries"]) == (
        200,
        "shop.example",
        "/p?q",
        1,
    )
    assert record["bytes"] > 2
    assert record["termination"] == "--"


@pytest.mark.parametrize(
    ("port", "where"), [(443, "https://a.example/x?y"), (8443, "https://a.example:8443/x?y")]
)
def test_what_requires_tls_is_redirected_without_it(
    start: StartSite, backend: Make, port: int, where: str
) -> None:
    label = f"external_route=http://a.example,internal_port={backend().port},https=require"
    site = start(
        resolve_document(
            {"services": {"a": {"labels": {LABEL: label}, "endpoints": ["127.0.0.1"]}}}
        ),
        https_port=port,
    )
    response = site.client().get("/x?y", "a.example")
    assert (response.fields[":status"], response.fields["location"]) == ("308", where)


def test_many_after_another(start: StartSite, backend: Make) -> None:
    server = backend()
    client = start(server).client()
    for index in range(50):
        assert bytes(client.get(f"/{index % 3}", f"h{index % 2}").data) == b"ok"
    assert len(server.peers) == 1


def test_many_at_once(start: StartSite, backend: Make) -> None:
    """A hundred requests, whose responses come in whatever order."""
    server = backend()
    site = start(server)
    client = site.client()
    client.send(b"".join(client.head(request(f"/{index}")) for index in range(100)))
    for index in range(100):
        assert bytes(client.response(2 * index + 1).data) == b"ok"
    assert sorted(record["target"] for record in site.log(100)) == sorted(
        f"/{index}" for index in range(100)
    )


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_requests_may_be_cut_anywhere(start: StartSite, backend: Make, size: int) -> None:
    """However the bytes are cut into reads."""
    server = backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
    client = start(server).client(hello=False)
    wire = (
        PREFACE
        + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        + client.head(request("/x", method="POST"), end=False)
    )
    wire += b"\x00\x00\x03\x00\x01\x00\x00\x00\x01abc" + client.head(request("/y"))
    for at in range(0, len(wire), size):
        client.send(wire[at : at + size])
    assert bytes(client.response(1).data) == bytes(client.response(3).data) == b"hello"
    assert any(
        r.endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        for r in server.requests
    )


def test_bodies_with_a_length(start: StartSite, backend: Make) -> None:
    server = backend()
    client = start(server).client()
    number = client.ask(request("/", "a", ("content-length", "6"), method="PUT"), end=False)
    client.data(number, b"abc")
    client.data(number, b"def")
    client.data(number, b"", end=True)
    assert client.response(number).status == 200
    assert server.requests[0].endswith(b"\r\n\r\nabcdef")
    assert b"ransfer-" not in server.requests[0]


def test_no_body_at_all(start: StartSite, backend: Make) -> None:
    """HTTP/1 servers are told that there is none; where an empty frame says it, too."""
    server = backend()
    client = start(server).client()
    assert client.response(client.ask(request(method="POST"))).status == 200
    number = client.ask(request("/", "a", ("content-length", "0"), method="POST"), end=False)
    client.data(number, b"", end=True)
    assert client.response(number).status == 200
    assert [r.lower().count(b"content-length: 0\r\n") for r in server.requests] == [1, 1]


def test_trailers_of_the_request(start: StartSite, backend: Make) -> None:
    server = backend()
    client = start(server).client()
    number = client.ask(
        request("/", "a", ("te", "trailers"), ("trailer", "x-sum, content-type"), method="POST"),
        end=False,
    )
    client.data(number, b"abc")
    client.send(client.head([("x-sum", "1"), ("x-user", "admin"), ("content-type", "no")], number))
    assert client.response(number).status == 200
    assert server.requests[0].endswith(b"\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n")
    assert b"\r\nConnection: TE\r\nTE: trailers\r\n" in server.requests[0]
    number = client.ask(request("/", "a", ("content-length", "3"), method="POST"), end=False)
    client.data(number, b"abc")
    client.send(client.head([("x-sum", "1")], number))
    assert client.response(number).status == 200
    assert server.requests[1].endswith(b"\r\n\r\nabc")


def test_trailers_of_the_response(start: StartSite, backend: Make) -> None:
    """What gRPC needs, with a body and without."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTrailer: grpc-status\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    last = b"0\r\ngrpc-status: 0\r\nGrpc-Message: fine\r\nSet-Cookie: no\r\n\r\n"

    def in_parts(peer: Peer) -> None:
        peer.read_request()
        peer.send(head)
        peer.send(b"3\r\nabc\r\n")
        peer.send(last)
        peer.read_request()
        peer.send(head + last)
        peer.read_request()
        peer.send(head + b"1\r\nx\r\n0\r\n\r\n")

    client = start(backend(in_parts)).client()
    for body in (b"abc", b""):
        response = client.get()
        assert bytes(response.data) == body
        assert response.trailers == {"grpc-status": "0", "grpc-message": "fine"}
    response = client.get()
    assert bytes(response.data) == b"x"
    assert response.trailers == {}


def test_interim_responses_come_before_the_final_one(start: StartSite, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n")
        peer.read_until(b"0\r\n\r\n")
        peer.send(OK)

    client = start(backend(script)).client()
    number = client.ask(request("/", "a", ("expect", "100-continue"), method="POST"), end=False)
    while len(client.responses[number].heads) < 2:
        client.pump()
    client.data(number, b"abc", end=True)
    response = client.response(number)
    assert interims([response]) == ["100", "103"]
    assert response.heads[1]["link"] == "</s>"
    assert response.status == 200


def test_responses_without_a_body(start: StartSite, backend: Make) -> None:
    server = backend(
        responding(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        )
    )
    client = start(server).client()
    responses = [
        client.response(client.ask(request(method=method)))
        for method in ("HEAD", "GET", "GET", "GET")
    ]
    assert [response.status for response in responses] == [200, 204, 304, 200]
    assert [response.fields.get("content-length") for response in responses] == [
        "5",
        None,
        "5",
        "0",
    ]
    assert not any(response.data for response in responses)


def test_response_that_ends_with_its_connection(start: StartSite, backend: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nall there is")

    response = start(backend(script)).client().get()
    assert bytes(response.data) == b"all there is"
    assert response.reset is None


def test_responses_of_our_own(start: StartSite, backend: Make) -> None:
    rule = RedirectRule("https://new.example", 301, keep_path=True)
    site = start(snapshot_of({"a": [backend()]}, redirects={"old": rule}))
    client = site.client()
    assert client.get("/x", "old").fields["location"] == "https://new.example/x"
    missing = client.get("/", "nobody")
    assert missing.status == 404
    assert b"404" in missing.data
    assert missing.fields["content-length"] == str(len(missing.data))
    assert not client.response(client.ask(request("/", "nobody", method="HEAD"))).data
    assert client.response(client.ask(request(method="TRACE"))).status == 405
    assert (
        client.response(client.ask([(":method", "CONNECT"), (":authority", "a:443")])).status == 405
    )
    number = client.ask([(":method", "CONNECT"), (":protocol", "websocket"), *request()[1:]])
    assert client.response(number).reset == 1
    assert client.get("/", "a").status == 200
    reasons = [record.get("reason") for record in site.log(7)]
    assert reasons == [
        "redirect",
        "no_route",
        "no_route",
        "method_refused",
        "method_refused",
        "bad_pseudo_field",
        None,
    ]


def test_an_early_response_stops_the_upload(start: StartSite, backend: Make) -> None:
    """One that comes before the body is complete: the client is told that it may stop sending."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        peer.read_rest()

    site = start(backend(script))
    client = site.client()
    number = client.ask(request(method="POST"), end=False)
    client.data(number, b"abc")
    response = client.response(number)
    assert response.status == 413
    while response.reset is None:
        assert client.pump()
    assert response.reset == 0
    client.data(number, b"too late")
    client.ping()
    assert client.get("/", "a").status == 413


def test_requests_over_a_limit_are_refused(start: StartSite, backend: Make) -> None:
    site = start(backend(), quick(max_body=10, head_size=2048, field_count=20))
    client = site.client()
    assert (
        client.response(
            client.ask(request("/", "a", ("content-length", "11"), method="POST"), end=False)
        ).status
        == 413
    )
    number = client.ask(request(method="POST"), end=False)
    client.data(number, b"x" * 11)
    assert client.response(number).status == 413
    assert client.get("/", "a", ("x", "y" * 2500)).status == 431
    assert client.get("/", "a", *[(f"x{i}", "y") for i in range(25)]).status == 431
    assert client.get().status == 200
    reasons = [record.get("reason") for record in site.log(5)]
    assert reasons == [
        "body_too_large",
        "body_too_large",
        "head_too_large",
        "too_many_fields",
        None,
    ]


def test_hosts_of_another_connection(start: StartSite, backend: Make) -> None:
    """421 for what this connection's certificate does not cover, whoever would have responded."""

    class Proven:
        asks_clients = True

        def allows(self, authority: bytes, table: RoutingTable) -> bool:
            return authority.endswith(b"example")

        def proven_lines(self, lines: bytes) -> bytes:
            raise AssertionError(lines)

        def proven_pairs(self, pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
            return pairs, [(b"X-Client", b"1")]

    upstream = backend()
    site = start(upstream, tls=Proven())
    client = site.client()
    assert client.get("/", "a.example").status == 200
    assert client.get("/", "elsewhere").status == 421
    assert b"X-Client: 1\r\n" in upstream.requests[0]
    assert [record.get("reason") for record in site.log(2)] == [None, "misdirected"]


def test_a_request_that_runs_in_a_circle_is_a_508(start: StartSite, backend: Make) -> None:
    assert (
        start(backend()).client().get("/", "a", ("via", ", ".join(["2 meshlib"] * 8))).status == 508
    )


def test_a_session_stays_at_its_endpoint(start: StartSite, backend: Make) -> None:
    servers = [
        backend(
            responding(
                b"HTTP/1.1 200 OK\r\nSet-Cookie: s=%d\r\nContent-Length: 1\r\n\r\n%d" % (i, i)
            )
        )
        for i in range(3)
    ]
    client = start(snapshot_of({"": servers}, sticky="s")).client()
    first = bytes(client.get().data).decode()
    for _ in range(6):
        assert (
            bytes(client.get("/", "a", ("cookie", "x=1"), ("cookie", f"s={first}")).data).decode()
            == first
        )


def test_forged_sessions_move_no_session(start: StartSite, backend: Make) -> None:
    servers = [backend(beginning_sessions(b"%d" % number)) for number in range(3)]
    client = start(snapshot_of({"": servers}, sticky="SID"), quick(sticky_sessions=20)).client()
    sessions = {}
    for _ in range(6):
        response = client.get("/login")
        sessions[response.fields["set-cookie"].split(";")[0]] = bytes(response.data)
    for number in range(100):
        client.get("/", "a", ("cookie", "x=1"), ("cookie", f"SID=forged-{number}"))
    for session, name in sessions.items():
        assert (
            bytes(
                client.get(
                    "/", "a", ("cookie", "SID=unknown"), ("cookie", "x=1"), ("cookie", session)
                ).data
            )
            == name
        )


def test_a_trusted_proxy_is_believed(start: StartSite, backend: Make) -> None:
    server = backend()
    client = start(
        server, policy=ForwardingPolicy(trusted_proxies=parse_networks(["127.0.0.1"]))
    ).client()
    client.get("/", "a", ("x-forwarded-for", "192.0.2.9"), ("x-request-id", "mine"))
    assert b"X-Forwarded-For: 192.0.2.9, 127.0.0.1\r\n" in server.requests[0]
    assert b"x-request-id: mine\r\n" in server.requests[0]
