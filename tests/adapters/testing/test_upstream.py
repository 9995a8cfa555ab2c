"""The scripted endpoint on loopback: many at one port, its ends, and applications as endpoints."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import ssl

import pytest
import trustme

import meshlib
from meshlib_adapters.asgi.types import Message, Receive, Scope, Send
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.testing import FakeUpstream, mesh_client


def get(
    upstream: FakeUpstream, target: str = "/", *, method: str = "GET", body: bytes | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=10)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_it_responds_with_its_name_and_records_what_came() -> None:
    with FakeUpstream("shop-1") as upstream:
        assert get(upstream, "/cart?id=7", method="POST", body=b"two") == (200, b"shop-1")
        request = upstream.last
    assert (request.method, request.target, request.body) == ("POST", "/cart?id=7", b"two")
    assert request.host == upstream.address
    assert request.head.startswith(b"POST /cart?id=7 HTTP/1.1\r\n")
    assert request.header("content-length") == "3"
    assert request.header("x-none") is None
    assert (upstream.count, upstream.connections, request.connection) == (1, 1, 0)
    assert upstream.url == f"http://{upstream.address}"
    assert "shop-1" in repr(upstream)
    upstream.clear()
    assert upstream.count == 0
    with pytest.raises(LookupError, match="shop-1 has got no request"):
        _ = upstream.last


def test_several_have_one_port_each_at_an_address_of_its_own() -> None:
    with FakeUpstream("a") as a, FakeUpstream("b", port=a.port) as b:
        assert a.port == b.port
        assert a.host != b.host
        assert all(ipaddress.ip_address(one.host).is_loopback for one in (a, b))
        assert [get(one)[1] for one in (a, b)] == [b"a", b"b"]


def test_an_address_of_another_is_not_taken() -> None:
    with FakeUpstream() as a, pytest.raises(OSError), FakeUpstream(host=a.host, port=a.port):
        raise AssertionError


def test_only_root_has_low_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_server", refuse)
    with (
        pytest.raises(PermissionError, match="only root may listen on port 80; choose"),
        FakeUpstream(port=80),
    ):
        raise AssertionError


def test_an_endpoint_that_is_gone_and_comes_back() -> None:
    with FakeUpstream() as upstream:
        assert get(upstream)[0] == 200
        upstream.refuse()
        with pytest.raises(ConnectionRefusedError):
            get(upstream)
        upstream.listen()
        upstream.listen()  # harmless
        assert get(upstream)[0] == 200


def test_nothing_is_left_of_it_behind_its_end() -> None:
    upstream = FakeUpstream()
    upstream.start()
    upstream.start()  # harmless
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=10)
    connection.request("GET", "/")
    connection.getresponse().read()
    upstream.stop()
    upstream.stop()  # harmless
    assert connection.sock.recv(1) == b"" if not _is_reset(connection) else True
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        get(upstream)
    with pytest.raises(RuntimeError, match="does not run; write: with FakeUpstream"):
        upstream.refuse()


def _is_reset(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.sock.recv(1)
    except ConnectionResetError:
        return True
    return False


def test_asynchronous_use_and_waiting_for_requests() -> None:
    async def main() -> None:
        async with FakeUpstream() as upstream:
            asked = asyncio.create_task(asyncio.to_thread(get, upstream))
            await asyncio.to_thread(upstream.wait_for, 1)
            assert (await asked)[0] == 200
            with pytest.raises(AssertionError, match="was to get 2 requests, and has got 1"):
                upstream.wait_for(2, seconds=0.01)

    asyncio.run(main())


def test_a_kept_connection_counts_once() -> None:
    with FakeUpstream() as upstream:
        connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=10)
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read() == upstream.name.encode()
        connection.request("GET", "/", headers={"Connection": "close"})
        assert connection.getresponse().read() == upstream.name.encode()
        connection.close()
        assert (upstream.count, upstream.connections) == (4, 1)


def test_an_application_responds_where_no_script_does() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                seen.append(phase)
                await send({"type": f"lifespan.{phase}.complete"})
            return
        message: Message = await receive()
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"app:" + message["body"]})

    with FakeUpstream("a", app=app) as upstream:
        assert get(upstream, method="PUT", body=b"x") == (201, b"app:x")
        upstream.fail(times=1)
        assert get(upstream) == (503, b"a fails")
        assert get(upstream) == (201, b"app:")
        assert [request.body for request in upstream.requests] == [b"", b"", b""]
    assert seen == ["startup", "shutdown"]


def test_an_application_that_cannot_start() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with (
        pytest.raises(RuntimeError, match="has not started: no database"),
        FakeUpstream(app=app),
    ):
        raise AssertionError


def test_an_endpoint_that_speaks_tls() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.internal").configure_cert(context)
    settings = HTTPSettings(upstream_authorities=authority.cert_pem.bytes().decode())
    with FakeUpstream("safe", tls=context) as upstream:
        assert upstream.url == f"https://{upstream.address}"
        service = meshlib.Service([upstream.address], tls="shop.internal")
        mesh = meshlib.Mesh({"shop.example.com": service})
        with mesh_client(mesh, settings=settings) as client:
            assert client.get("http://shop.example.com/").text == "safe"


def test_echo() -> None:
    with FakeUpstream("e") as upstream:
        upstream.echo()
        told = json.loads(get(upstream, "/a?b", method="POST", body=b"c")[1])
    assert (told["name"], told["method"], told["target"], told["body"]) == (
        "e",
        "POST",
        "/a?b",
        "c",
    )
    assert ["Host", upstream.address] in told["headers"]
