"""Clients of a mesh in a test: everything that a gateway does, in one process, with and without a
loop of the test's own.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

import meshlib
from meshlib.client_claims import ForwardingPolicy
from meshlib_adapters import FileProvider, Gateway, Settings, SwarmProvider
from meshlib_adapters.asgi import MeshMiddleware
from meshlib_adapters.asgi.types import Receive, Scope, Send
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.testing import (
    FakeClock,
    FakeEngine,
    FakeUpstream,
    InProcess,
    async_mesh_client,
    mesh_client,
)

LABELS = {
    "com.docker.ucp.mesh.http.80": "external_route=http://shop.example.com,internal_port=8080"
}
SHOP = "http://shop.example.com/"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that returns what it got: its path, a field and its body."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            LIFE.append(phase)
            await send({"type": f"lifespan.{phase}.complete"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    forwarded = dict(scope["headers"]).get(b"x-forwarded-for", b"")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-from", forwarded)]})
    for part in (scope["path"].encode(), b" ", body):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


LIFE: list[str] = []


@pytest.fixture(autouse=True)
def life() -> None:
    LIFE.clear()


def mesh() -> meshlib.Mesh:
    return meshlib.Mesh(
        {
            "shop.example.com": ["10.0.0.5:8080"],
            "safe.example.com": meshlib.Service(["10.0.0.5:8080"], name="safe", https_only=True),
        }
    )


def test_a_request_to_a_route_host_is_one_line() -> None:
    with mesh_client(mesh(), endpoints={"10.0.0.5:8080": echo}) as client:
        response = client.post("http://shop.example.com/a%20b", content=b"body")
        assert (response.status_code, response.text) == (200, "/a b body")
        assert response.headers["x-from"] == "192.0.2.10"
        assert client.get("http://safe.example.com/x").headers["location"] == (
            "https://safe.example.com/x"
        )
        assert client.get("https://safe.example.com/x").status_code == 200
        assert client.get("http://nobody.example.com/").status_code == 404
        assert client.post(SHOP, content=iter([b"a", b"b"])).text == "/ ab"
    assert LIFE == ["startup", "shutdown"]


def test_a_client_that_nobody_entered_starts_with_its_first_request() -> None:
    client = mesh_client(mesh(), endpoints={"10.0.0.5:8080": echo}, client=("198.51.100.7", 1))
    assert LIFE == []
    assert client.get(SHOP).headers["x-from"] == "198.51.100.7"
    client.close()
    client.close()
    assert LIFE == ["startup", "shutdown"]


def test_a_response_may_be_streamed_and_left() -> None:
    with mesh_client(mesh(), endpoints={"10.0.0.5:8080": echo}) as client:
        with client.stream("GET", SHOP) as response:
            assert b"".join(response.iter_raw()) == b"/ "
        with client.stream("GET", SHOP) as response:
            pass
        assert client.get(SHOP).text == "/ "


def test_a_mesh_may_be_changed_between_requests() -> None:
    routed = mesh()
    with mesh_client(routed, endpoints={"10.0.0.5:8080": echo}) as client:
        assert client.get("http://new.example.com/").status_code == 404
        routed.replace({"new.example.com": ["10.0.0.5:8080"]})
        assert client.get("http://new.example.com/").status_code == 200
        assert client.get(SHOP).status_code == 404


def test_settings_and_policy_are_the_gateways() -> None:
    settings, policy = HTTPSettings(max_body=1), ForwardingPolicy(via="edge")
    with FakeUpstream() as upstream:
        routed = meshlib.Mesh({"shop.example.com": [upstream.address]})
        with mesh_client(routed, settings=settings, policy=policy) as client:
            assert client.post(SHOP, content=b"too long").status_code == 413
            client.get(SHOP)
            assert upstream.last.header("via") == "1.1 edge"


def test_a_dial_of_ones_own_stays() -> None:
    settings = HTTPSettings(dial=InProcess({"10.0.0.5:8080": echo}))
    with mesh_client(mesh(), settings=settings) as client:
        assert client.get(SHOP).status_code == 200


def test_endpoints_that_fail_are_retried_as_ever() -> None:
    with FakeUpstream("a") as bad, FakeUpstream("b") as good:
        routed = meshlib.Mesh({"shop.example.com": [bad.address, good.address]})
        with mesh_client(routed) as client:
            bad.refuse()
            assert {client.get(SHOP).text for _ in range(4)} == {"b"}
            good.cut(0)
            with pytest.raises(httpx.RemoteProtocolError, match="cut"):
                client.get(SHOP)


def test_an_endpoint_that_nobody_named_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with mesh_client(mesh()) as client:
        assert client.get(SHOP).status_code == 502
    assert "10.0.0.5:8080 is no endpoint of this test" in caplog.text


def test_time_goes_by_with_the_clock() -> None:
    clock = FakeClock()
    with FakeUpstream("a") as bad, FakeUpstream("b") as good:
        routed = meshlib.Mesh({"shop.example.com": [bad.address, good.address]})
        with mesh_client(routed, clock=clock) as client:
            bad.refuse()
            for _ in range(8):
                client.get(SHOP)
            bad.listen()
            assert {client.get(SHOP).text for _ in range(4)} == {"b"}  # ejected
            clock.advance(600)
            assert {client.get(SHOP).text for _ in range(8)} == {"a", "b"}


def test_a_slow_endpoint_times_out_without_waiting() -> None:
    clock = FakeClock()
    with FakeUpstream() as upstream:
        upstream.hang()
        routed = meshlib.Mesh({"shop.example.com": [upstream.address]})
        with mesh_client(routed, clock=clock) as client:

            async def late() -> int:
                asked = asyncio.ensure_future(asyncio.to_thread(upstream.wait_for, 1))
                asked.add_done_callback(lambda _: clock.advance(61))
                response = client.transport.handle_async_request(httpx.Request("GET", SHOP))
                return (await response).status_code

            assert client.call(late) == 504


def test_providers_are_followed_while_the_client_runs() -> None:
    with (
        FakeUpstream("one", port=8080) as one,
        FakeUpstream("two", port=8080) as two,
        FakeUpstream("three", port=8080) as three,
        FakeEngine() as engine,
    ):
        engine.service("shop", labels=LABELS, tasks=[one])
        routed = meshlib.Mesh()
        provider = SwarmProvider(engine.url, allow_loopback_for_tests=True)
        with mesh_client(routed, providers=[provider]) as client:
            assert client.get(SHOP).text == "one"
            engine.scale("shop", 2, tasks=[two])
            client.wait(lambda: len(routed.endpoints("shop")) == 2)
            assert {client.get(SHOP).text for _ in range(4)} == {"one", "two"}
            with pytest.raises(AssertionError, match=r"not come true within 0.01 s"):
                client.wait(lambda: False, seconds=0.01)
            engine.scale("shop", 1)
            for step in engine.rolling_update("shop", [three]):
                assert client.get(SHOP).status_code in (200, 503), step
            client.wait(lambda: [e.host for e in routed.endpoints("shop")] == [three.host])
            assert client.get(SHOP).text == "three"


def test_a_provider_of_files(tmp_path: Path) -> None:
    path = tmp_path / "services.yaml"
    path.write_text(
        "services:\n  shop:\n    endpoints: [10.0.0.5]\n    labels:\n"
        f"      com.docker.ucp.mesh.http.80: {LABELS['com.docker.ucp.mesh.http.80']}\n"
    )
    routed = meshlib.Mesh()
    endpoints = {"10.0.0.5:8080": echo}
    with mesh_client(routed, endpoints=endpoints, providers=[FileProvider(path)]) as client:
        assert client.get(SHOP).status_code == 200


def test_an_application_of_ones_own_with_its_lifespan() -> None:
    settings = HTTPSettings(dial=InProcess({"10.0.0.5:8080": echo}))
    app = MeshMiddleware(echo, mesh=mesh(), settings=settings)
    with mesh_client(app) as client:
        assert client.get("http://other.example.com/own").text == "/own "
        assert client.get("http://safe.example.com/").status_code == 308
    assert LIFE == ["startup", "shutdown"]
    with pytest.raises(TypeError, match="an application or a listener has its own"):
        mesh_client(app, endpoints={"10.0.0.5:8080": echo})


def test_coroutines_have_a_client_in_their_own_loop() -> None:
    async def main() -> None:
        routed = mesh()
        async with async_mesh_client(routed, endpoints={"10.0.0.5:8080": echo}) as client:
            assert (await client.post(SHOP, content=b"x")).text == "/ x"
            both = await asyncio.gather(client.get(SHOP), client.get("http://nobody.example.com"))
            assert [one.status_code for one in both] == [200, 404]
            asyncio.get_running_loop().call_later(0.01, routed.replace, {})
            await client.wait(lambda: not routed.routes)
        alone = async_mesh_client(routed, endpoints={"10.0.0.5:8080": echo})
        assert (await alone.get(SHOP)).status_code == 404
        await alone.aclose()
        assert LIFE == ["startup", "shutdown"] * 2

    asyncio.run(main())


def test_a_gateway_that_listens_is_asked_for_any_host() -> None:
    async def main() -> None:
        settings = HTTPSettings(dial=InProcess({"10.0.0.5:8080": echo}))
        parts = Settings(requests=settings, https=(), admin=())
        async with Gateway(mesh(), http="127.0.0.1:0", settings=parts) as gateway:
            address = str(gateway.addresses["http"][0])
            async with async_mesh_client(address) as client:
                assert (await client.post(SHOP + "a?b", content=b"c")).text == "/a c"
                assert (await client.get("http://nobody.example.com/")).status_code == 404
                with pytest.raises(httpx.UnsupportedProtocol, match="http alone"):
                    await client.get("https://shop.example.com/")

    asyncio.run(main())
    with FakeUpstream("a") as upstream, mesh_client(upstream.address) as client:
        assert client.post("http://any.example.com:8080/", content=iter([b"a", b"b"])).text == "a"
        assert (upstream.last.host, upstream.last.body) == ("any.example.com:8080", b"ab")
    with pytest.raises(TypeError, match="a listener has its own"):
        mesh_client("127.0.0.1:80", settings=HTTPSettings())
    with pytest.raises(meshlib.ConfigurationError, match="not an address"):
        mesh_client("127.0.0.1")
