"""One TLS session stays on one endpoint: real handshakes, real sessions, several endpoints that do
not know each other's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from meshlib.decision import Passthrough, TLSDecision
from meshlib.messages import ClientHello
from meshlib.model import Endpoint, ForwardTo, Route, ServerName, Upstream
from meshlib.proxy_protocol import ProxyHeader, ProxyProtocolReader
from meshlib.upstream_key import Transport, UpstreamKey
from meshlib_adapters.config.transport import TLSSettings
from meshlib_adapters.listeners.tls import TLSListener
from tests.support.hellos import hello_for, saying
from tests.support.tcp_lab import LOOPBACK, Lab, MakeLab, Run, quick, until

REPLICAS = 4


def client_settings(
    trusting: ssl.SSLContext, version: ssl.TLSVersion, options: int
) -> ssl.SSLContext:
    trusting.minimum_version = trusting.maximum_version = version
    trusting.options |= options
    return trusting


def ask(
    port: int,
    context: ssl.SSLContext,
    address: str = LOOPBACK,
    session: ssl.SSLSession | None = None,
) -> tuple[bytes, bool, ssl.SSLSession | None]:
    """Who responds, whether it took up `session`, and the session to come back with. Blocks."""
    with (
        socket.create_connection((LOOPBACK, port), timeout=30, source_address=(address, 0)) as sock,
        context.wrap_socket(sock, server_hostname="a.example", session=session) as tls,
    ):
        tls.sendall(b"who\n")
        reply = tls.recv(100)
        while tls.recv(100):  # to the end: OpenSSL forgets the session of an end that just vanishes
            pass
        return reply, bool(tls.session_reused), tls.session


async def replicas(env: Lab) -> None:
    for number in range(REPLICAS):
        await env.backend("a.example", saying(b"%d" % number))


@pytest.mark.parametrize("options", [0, ssl.OP_NO_TICKET], ids=["ticket", "id"])
def test_a_session_of_tls12_is_found_again_from_anywhere(
    run: Run, lab: MakeLab, client_context: ssl.SSLContext, options: int
) -> None:
    context = client_settings(client_context, ssl.TLSVersion.TLSv1_2, options)

    async def main() -> None:
        async with lab() as env:
            await replicas(env)
            _, port = await env.listener()
            homes = set()
            for client in range(12):
                home, reused, session = await asyncio.to_thread(
                    ask, port, context, f"127.0.1.{client}"
                )
                assert not reused
                homes.add(home)
                for move in range(3):
                    assert (
                        await asyncio.to_thread(
                            ask, port, context, f"127.0.2.{client * 3 + move}", session
                        )
                    )[:2] == (home, True)
            assert len(homes) > 1

    run(main())


def test_a_session_of_tls13_is_found_again_by_its_clients_address_in_every_process(
    run: Run, lab: MakeLab, client_context: ssl.SSLContext
) -> None:
    context = client_settings(client_context, ssl.TLSVersion.TLSv1_3, 0)

    async def main() -> None:
        async with lab() as env:
            await replicas(env)
            _, one = await env.listener()
            _, other = await env.listener()
            homes = set()
            for client in range(12):
                home, _, session = await asyncio.to_thread(ask, one, context, f"127.0.1.{client}")
                homes.add(home)
                assert (await asyncio.to_thread(ask, other, context, f"127.0.1.{client}", session))[
                    :2
                ] == (home, True)
            assert len(homes) > 1

    run(main())


def test_least_connections_go_before_the_clients_address_and_not_before_sessions(
    run: Run, lab: MakeLab, client_context: ssl.SSLContext
) -> None:
    context = client_settings(client_context, ssl.TLSVersion.TLSv1_2, 0)

    async def main() -> None:
        async with lab() as env:
            env.table.strategy = "least_connections"
            await replicas(env)
            listener, port = await env.listener()
            sessions = {}
            for client in range(REPLICAS):
                home, _, session = await asyncio.to_thread(
                    ask, port, context, f"127.0.1.{client + 1}"
                )
                sessions[home] = session
                await until(lambda: not len(listener))
            assert len(sessions) == REPLICAS  # in turn, whatever the addresses
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example"))
            await until(lambda: listener.counters["tunnels"] == REPLICAS + 1)
            homes = []
            for client in range(2 * (REPLICAS - 1)):
                homes.append(
                    (await asyncio.to_thread(ask, port, context, f"127.0.2.{client + 1}"))[0]
                )
                await until(lambda: len(listener) == 1)
            (busy,) = set(sessions) - set(homes)
            assert sorted(homes) == sorted([home for home in sessions if home != busy] * 2)
            assert (await asyncio.to_thread(ask, port, context, LOOPBACK, sessions[busy]))[:2] == (
                busy,
                True,
            )
            writer.close()

    run(main())


def test_without_it_sessions_go_astray(
    run: Run, lab: MakeLab, client_context: ssl.SSLContext
) -> None:
    context = client_settings(client_context, ssl.TLSVersion.TLSv1_2, 0)

    async def main() -> None:
        async with lab() as env:
            await replicas(env)
            _, port = await env.listener(quick(stickiness="none"))
            _, _, session = await asyncio.to_thread(ask, port, context)
            replies = [
                await asyncio.to_thread(ask, port, context, LOOPBACK, session)
                for _ in range(REPLICAS)
            ]
            assert len({home for home, _, _ in replies}) == REPLICAS
            assert [reused for _, reused, _ in replies].count(True) == 1

    run(main())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_endpoint_that_wants_it_gets_a_proxy_header_before_the_hello(
    run: Run, lab: MakeLab, version: str
) -> None:
    async def main() -> None:
        async with lab() as env:
            seen: list[ProxyHeader] = []

            async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                proxy_headers, data = ProxyProtocolReader(), b""
                while not isinstance(
                    found := proxy_headers.receive_data(await reader.read(10_000)), ProxyHeader
                ):
                    assert found
                seen.append(found)
                data = proxy_headers.rest
                while len(data) < len(hello_for("a.example")) + 4:
                    data += await reader.read(10_000)
                writer.write(data)
                await writer.drain()

            port = await env.backend(None, respond)
            transport = Transport(proxy_protocol=version)  # type: ignore[arg-type]
            upstream = Upstream(
                UpstreamKey("a", 443, transport=transport), (Endpoint("a.1", LOOPBACK, port),)
            )

            class Table:
                @property
                def table(self) -> Table:
                    return self

                def route_tls(self, hello: ClientHello, covered: object = None) -> TLSDecision:
                    return Passthrough(
                        Route(
                            ServerName("a.example"),
                            ForwardTo(upstream),
                            service="a",
                            label="",
                            schema="test",
                        ),
                        upstream,
                    )

            listener = TLSListener(Table(), TLSSettings(), on_end=env.records.append)
            env.stack.callback(listener.close)
            _, entry = await listener.listen(LOOPBACK, 0)
            reader, writer = await asyncio.open_connection(LOOPBACK, entry)
            sent = hello_for("a.example") + b"more"
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent
            mine = writer.get_extra_info("sockname")
            assert [(p.source, p.destination) for p in seen] == [(mine, (LOOPBACK, entry))]
            writer.close()
            await until(lambda: env.records)
            assert env.records[0].received == len(sent)

    run(main())
