"""Packets of an endpoint that vanish, for connections that are passed through by their server
names.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.lab.apart import Apart, apart, missing_for_apart
from tests.support.hellos import hello_for, plain_echo
from tests.support.tcp_lab import LOOPBACK, MakeLab, Run, quick


@pytest.fixture(autouse=True)
def network() -> Iterator[Apart]:
    """Before all else: what a test makes is in there."""
    if lack := missing_for_apart():
        if os.environ.get("CI"):
            pytest.fail(lack)
        pytest.skip(lack)
    with apart() as made:
        yield made


def test_the_next_endpoint_is_used_and_the_silent_one_soon_left_out(
    network: Apart, run: Run, lab: MakeLab
) -> None:
    async def main() -> None:
        async with lab() as env:
            gone = await env.backend(None, plain_echo, into="a.example")
            await env.backend(None, plain_echo, into="a.example")
            await env.backend(None, plain_echo, into="b.example")
            network.drop(gone, only_new=True)
            _, port = await env.listener(quick(connect=0.2))

            async def served(name: str) -> bool:
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(hello_for(name) + b"ping")
                reply = await reader.readexactly(4)
                writer.close()
                await writer.wait_closed()
                return reply == b"ping"

            for _ in range(20):
                assert await served("a.example")
                assert await served("b.example")
            tried = network.dropped()
            assert tried > 0
            for _ in range(8):
                assert await served("a.example")
            assert network.dropped() == tried  # left out

    run(main())


def test_a_tunnel_whose_endpoint_vanishes_ends_when_it_is_idle_too_long(
    network: Apart, run: Run, lab: MakeLab
) -> None:
    async def main() -> None:
        async with lab() as env:
            gone = await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick(connect=0.2, tunnel_idle=1.0))
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example") + b"ping")
            assert await reader.readexactly(4) == b"ping"
            network.drop(gone)
            writer.write(b"into the void")
            async with asyncio.timeout(15):
                try:
                    assert await reader.read() == b""
                except ConnectionResetError:
                    pass  # cut: that is an end as well
                while len(listener):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            writer.close()
            network.let_through(gone)

    run(main())


def test_a_tunnel_whose_endpoint_vanishes_ends_long_before_it_is_idle(
    network: Apart, run: Run, lab: MakeLab
) -> None:
    async def main() -> None:
        async with lab() as env:
            gone = await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(
                quick(connect=0.2, unacknowledged=0.5, sweep_interval=0.1)
            )
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example") + b"ping")
            assert await reader.readexactly(4) == b"ping"
            network.drop(gone)
            writer.write(b"into the void")
            async with asyncio.timeout(10):
                try:
                    assert await reader.read() == b""
                except ConnectionResetError:
                    pass  # cut: that is an end as well
                while len(listener):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            writer.close()
            network.let_through(gone)
            assert [record.outcome for record in env.records] == ["vanished"]

    run(main())


def test_three_endpoints_that_hang_do_not_hold_up_a_client(
    network: Apart, run: Run, lab: MakeLab
) -> None:
    async def main() -> None:
        async with lab() as env:
            for _ in range(3):
                network.drop(await env.backend(None, plain_echo, into="a.example"), only_new=True)
            await env.backend(None, plain_echo, into="a.example")
            _, port = await env.listener(quick(connect=0.8))
            for patience in (0.75, 0.2, 0.2, 0.2):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                async with asyncio.timeout(patience):
                    writer.write(hello_for("a.example") + b"ping")
                    assert await reader.readexactly(4) == b"ping"
                writer.close()
                await writer.wait_closed()

    run(main())
