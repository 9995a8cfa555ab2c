"""Where requests of clients go, and what goes along, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest

import meshlib
from meshlib.client_claims import ForwardingPolicy
from meshlib.decision import Forward, Redirect, Respond
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import Snapshot
from meshlib.name_records import NameKind, NameRecord
from meshlib_adapters.httpx_transport import ExchangeFacts, MeshTransport
from tests.support.backend import Backend, beginning_sessions, responding, unused_port
from tests.support.httpx_clients import LIBRARIES, async_client, mesh_of, routes_of
from tests.support.running import quick

MakeBackend = Callable[..., Backend]

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=sorted(LIBRARIES))
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def facts(response: httpx.Response) -> ExchangeFacts:
    found: ExchangeFacts = response.extensions["meshlib"]
    return found


async def test_a_service_is_reached_by_its_name(backend: MakeBackend, library: str) -> None:
    orders = backend()
    mesh = mesh_of({"orders": [orders]})
    async with async_client(mesh, library) as client:
        response = await client.get(
            "http://orders/a%2Fb//c?x=%20",
            headers={"X-Request-ID": "mine", "X_Odd": "1", "X-Forwarded-For": "192.0.2.1"},
        )
    assert (response.status_code, response.text) == (200, "ok")
    assert response.extensions["http_version"] == b"HTTP/1.1"
    assert response.reason_phrase == "OK"
    found = facts(response)
    assert isinstance(found.decision, Forward)
    assert found.route is found.decision.route
    assert found.upstream is found.decision.upstream
    assert found.endpoint is not None
    assert (found.reason, found.endpoint.port, found.tries) == ("", orders.port, 1)
    lines = orders.requests[0].split(b"\r\n")
    assert lines[0] == b"GET /a%2Fb//c?x=%20 HTTP/1.1"
    # Its own fields, and none of a gateway's.
    names = [line.partition(b":")[0].lower() for line in lines[1:-2]]
    assert names == [
        b"host",
        b"accept",
        b"accept-encoding",
        b"user-agent",
        b"x-request-id",
        b"x_odd",
        b"x-forwarded-for",
    ]
    assert b"Host: orders" in lines
    assert b"X-Forwarded-For: 192.0.2.1" in lines


async def test_a_policy_may_say_more(backend: MakeBackend) -> None:
    orders = backend()
    policy = ForwardingPolicy(mode="set", via="shop", request_id=True)
    async with async_client(mesh_of({"orders": [orders]}), policy=policy) as client:
        await client.get("http://orders/")
    assert b"Via: 1.1 shop\r\n" in orders.requests[0]
    assert b"X-Request-ID: " in orders.requests[0]
    assert b"X-Forwarded-Host: orders\r\n" in orders.requests[0]
    assert b"X-Forwarded-For" not in orders.requests[0]  # there is nobody to name


async def test_a_routes_host_is_routed(backend: MakeBackend, library: str) -> None:
    orders = backend()
    async with async_client(mesh_of({"orders": [orders]}), library) as client:
        for url in ("http://orders.example.com/", "https://orders.example.com:8443/x"):
            assert (await client.get(url)).text == "ok"
    assert b"Host: orders.example.com:8443" in orders.requests[1]


async def test_redirects_and_errors_of_the_mesh_are_responses(
    backend: MakeBackend, library: str
) -> None:
    orders = backend()
    mesh = Mesh(
        {
            **routes_of({"orders": [orders], "idle": []}),
            "old.example.com": meshlib.redirect("http://orders.example.com"),
            "api.example.com/v1": [f"127.0.0.1:{orders.port}"],
        }
    )
    async with async_client(mesh, library) as client:
        moved = await client.get("http://old.example.com/x")
        assert (moved.status_code, moved.headers["location"]) == (
            301,
            "http://orders.example.com/x",
        )
        assert isinstance(facts(moved).decision, Redirect)
        assert (await client.get("http://old.example.com/", follow_redirects=True)).text == "ok"
        for url, status, reason in (
            ("http://idle.example.com/", 503, "no_endpoint"),
            ("http://idle/", 503, "no_endpoint"),
            ("http://api.example.com/v2", 404, "no_route"),
        ):
            response = await client.get(url)
            assert response.status_code == status
            assert response.headers["x-meshlib-reason"] == reason
            found = facts(response)
            assert isinstance(found.decision, Respond)
            assert (found.reason, found.endpoint, found.tries) == (reason, None, 0)
        assert (await client.get("http://idle/")).headers["retry-after"] == "1"
        assert (await client.head("http://idle/")).content == b""


async def test_a_route_that_wants_tls_redirects_plain_requests_alone(backend: MakeBackend) -> None:
    orders = backend()
    async with async_client(mesh_of({"orders": [orders]}, https_only=True)) as client:
        moved = await client.get("http://orders.example.com/x")
        assert moved.headers["location"] == "https://orders.example.com/x"
        assert (await client.get("https://orders.example.com/x")).text == "ok"
        assert (await client.get("http://orders/x")).text == "ok"  # the service itself


async def test_everything_else_goes_on(backend: MakeBackend, library: str) -> None:
    module = LIBRARIES[library][0]
    seen: list[str] = []

    def other(request: Any) -> Any:
        seen.append(str(request.url))
        return module.Response(202)

    # A route of any host is for what comes to a gateway.
    mesh = Mesh({"orders.example.com": [], "*": ["127.0.0.1:9"]})
    inner = module.MockTransport(other)
    async with async_client(mesh, library, otherwise=inner) as client:
        assert (await client.get("http://www.example.org/")).status_code == 202
        assert (await client.get("http://unknown/")).status_code == 202
        assert (await client.get("http://a..b/")).status_code == 202
        assert (await client.get("http://orders.example.com/")).status_code == 503
    assert seen == ["http://www.example.org/", "http://unknown/", "http://a..b/"]


async def test_without_another_transport_httpx_makes_its_own(
    backend: MakeBackend, library: str
) -> None:
    elsewhere = backend()
    async with async_client(Mesh(), library) as client:
        response = await client.get(f"http://127.0.0.1:{elsewhere.port}/")
        assert (response.text, "meshlib" in response.extensions) == ("ok", False)
        with pytest.raises(LIBRARIES[library][0].UnsupportedProtocol):
            await client.get("ftp://orders/")


async def test_the_url_says_where_to_and_the_host_field_goes_along(backend: MakeBackend) -> None:
    orders, pages = backend(), backend()
    mesh = mesh_of({"orders": [orders], "pages": [pages]})
    async with async_client(mesh) as client:
        for url in ("http://orders/", "http://orders.example.com/"):
            response = await client.get(url, headers={"Host": "pages.example.com"})
            assert response.text == "ok"
    assert [b"Host: pages.example.com\r\n" in one for one in orders.requests] == [True, True]
    assert pages.requests == []


async def test_the_next_request_sees_what_is_published(backend: MakeBackend) -> None:
    first = backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"))
    second = backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"))
    mesh = Mesh()

    def publish(one: Backend) -> None:
        records = [NameRecord("net", "orders", NameKind.TASKS, ("127.0.0.1",))]
        routes = meshlib.Mesh(routes_of({"pages": [one]})).snapshot.contributions
        mesh.publish("swarm", Snapshot.of(routes, records))

    async with async_client(mesh) as client:
        publish(first)
        assert (await client.get("http://pages/")).text == "first"
        # A name without a route, at the port of the URL.
        assert (await client.get(f"http://orders:{first.port}/")).text == "first"
        assert (await client.get(f"http://tasks.orders:{first.port}/")).text == "first"
        connections = len(first.peers)
        publish(second)
        assert (await client.get("http://pages/")).text == "second"
        await asyncio.to_thread(first.ended, 0)  # nobody will ask it again
        assert (await client.get(f"http://orders:{first.port}/")).text == "first"
        assert len(first.peers) == connections  # the name still leads there: its connection is kept


async def test_a_name_that_leads_nowhere_clear_is_no_connection() -> None:
    records = [
        NameRecord(network, "orders", NameKind.TASKS, (address,))
        for network, address in (("blue", "127.0.0.1"), ("green", "127.0.0.2"))
    ]
    async with async_client(Mesh(Snapshot.of([], records))) as client:
        with pytest.raises(httpx.ConnectError, match="several networks: blue, green"):
            await client.get("http://orders/")


async def test_the_network_of_a_transport(backend: MakeBackend) -> None:
    orders = backend()
    records = [
        NameRecord("blue", "orders", NameKind.TASKS, ("127.0.0.1",)),
        NameRecord("green", "orders", NameKind.TASKS, ("127.0.0.2",)),
        NameRecord("blue", "orders", NameKind.SERVICE, ("127.0.0.3",)),
    ]
    mesh = Mesh(Snapshot.of([], records))
    url = f"http://orders:{orders.port}/"
    async with async_client(mesh, network="blue") as client:
        assert (await client.get(url)).text == "ok"
    async with async_client(mesh, network="blue", vip=True) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)  # nobody listens at the virtual address
        assert (await client.get(f"http://tasks.orders:{orders.port}/")).text == "ok"


async def test_a_session_stays_with_its_endpoint(backend: MakeBackend, library: str) -> None:
    one, two = backend(beginning_sessions(b"one")), backend(beginning_sessions(b"two"))
    mesh = mesh_of({"orders": [one, two]}, sticky="SID")
    async with async_client(mesh, library) as client:
        bound = (await client.get("http://orders/login")).text
        assert {(await client.get("http://orders/")).text for _ in range(6)} == {bound}
        client.cookies.clear()
        assert {(await client.get("http://orders/")).text for _ in range(6)} == {"one", "two"}


async def test_the_strategy_of_the_service_is_used(backend: MakeBackend) -> None:
    one, two = backend(), backend()
    mesh = mesh_of({"orders": [one, two]}, weights=[3, 1])
    async with async_client(mesh) as client:
        for _ in range(8):
            await client.get("http://orders/")
    assert [len(one.requests), len(two.requests)] == [6, 2]


def last_port(
    candidates: Sequence[meshlib.Candidate], request: meshlib.StrategyRequest
) -> Sequence[meshlib.Candidate]:
    return sorted(candidates, key=lambda one: -one.endpoint.port)


async def test_a_strategy_of_the_program_is_used(backend: MakeBackend) -> None:
    backends = sorted([backend() for _ in range(3)], key=lambda one: one.port)
    mesh = mesh_of({"orders": backends}, strategy=last_port)
    async with async_client(mesh) as client:
        for _ in range(4):
            await client.get("http://orders/")
    assert [len(one.requests) for one in backends] == [0, 0, 4]


async def test_another_endpoint_is_tried(backend: MakeBackend, library: str) -> None:
    good = backend()
    with unused_port() as dead:
        async with async_client(mesh_of({"orders": [dead, good]}), library) as client:
            found = [facts(await client.get("http://orders/")) for _ in range(4)]
    assert {one.endpoint.port for one in found if one.endpoint} == {good.port}
    assert max(one.tries for one in found) == 2


async def test_what_may_be_sent_twice_is_retried(backend: MakeBackend) -> None:
    def vanishing(peer: Any) -> None:
        peer.read_request()
        peer.reset()

    bad, good = backend(vanishing), backend()
    async with async_client(mesh_of({"orders": [bad, good], "bad": [bad]})) as client:
        for _ in range(3):
            assert (await client.get("http://orders/")).text == "ok"
        assert bad.peers
        with pytest.raises(httpx.ReadError, match="bad did not give a response: upstream_reset"):
            await client.post("http://bad/", content=b"x")


async def test_connections_are_kept(backend: MakeBackend) -> None:
    orders = backend()
    async with async_client(mesh_of({"orders": [orders]})) as client:
        for _ in range(3):
            await client.get("http://orders/")
            await client.get("http://orders.example.com/")
        assert len(orders.peers) == 1  # the name and the host lead to one upstream
        await asyncio.gather(*[client.get("http://orders/") for _ in range(5)])


async def test_a_head_that_nobody_may_send() -> None:
    async with async_client(mesh_of({"orders": []})) as client:
        for headers in ({"Content-Length": "x"}, {"A b": "1"}):
            with pytest.raises(httpx.LocalProtocolError):
                await client.get("http://orders/", headers=headers)
        request = client.build_request("GET", "http://orders/")
        request.extensions["target"] = b"a b"
        with pytest.raises(httpx.LocalProtocolError):
            await client.send(request)


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for one in data:
        yield one


async def test_what_may_not_be_sent_to_a_service_may_go_elsewhere() -> None:
    inner = httpx.MockTransport(lambda request: httpx.Response(202))
    many = {f"X-{number}": "1" for number in range(200)}
    async with async_client(mesh_of({"orders": []}), otherwise=inner) as client:
        for url in ("http://orders/", "http://orders.example.com/"):
            with pytest.raises(httpx.LocalProtocolError):
                await client.get(url, headers=many)
        assert (await client.get("http://elsewhere/", headers=many)).status_code == 202
        assert (await client.request("CONNECT", "http://elsewhere/")).status_code == 202
        assert (await client.get("http://elsewhere/", headers={"A b": "1"})).status_code == 202


async def test_a_limit_on_bodies_holds(backend: MakeBackend) -> None:
    async with async_client(mesh_of({"orders": [backend()]}), settings=quick(max_body=4)) as client:
        response = await client.post("http://orders/", content=b"12345")
        streamed = await client.post("http://orders/", content=parts(b"123", b"45"))
    for one in (response, streamed):
        assert (one.status_code, facts(one).reason) == (413, "body_too_large")


def test_there_must_be_an_event_loop_of_asyncio() -> None:
    transport = MeshTransport(Mesh())
    asking = transport.handle_async_request(httpx.Request("GET", "http://orders/"))
    with pytest.raises(RuntimeError, match="needs an event loop of asyncio"):
        asking.send(None)


def test_providers_of_one_name_are_refused() -> None:
    class Named:
        name = "one"

    with pytest.raises(ConfigurationError, match="two providers have the name 'one'"):
        MeshTransport(Mesh(), providers=[Named(), Named()])  # type: ignore[list-item]
