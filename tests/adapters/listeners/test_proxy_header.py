"""PROXY protocol headers of proxies in front of the TLS listener: believed from those that are
named, and from nobody else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Literal

import pytest

from meshlib.client_claims import Network
from meshlib.errors import ConfigurationError, LimitExceeded
from meshlib.proxy_protocol import (
    ProxyAddress,
    ProxyHeader,
    ProxyProtocolReader,
    build_v1,
    build_v2,
)
from meshlib_adapters.config.transport import ProxyHeaderPolicy
from meshlib_adapters.listeners.proxy_header import ProxyHeaderReader, proxy_header_for
from meshlib_adapters.listeners.tls import TLSListener
from tests.support.hellos import hello_for, plain_echo, reply_to
from tests.support.proxy_headers import US
from tests.support.tcp_lab import LOOPBACK, Lab, MakeLab, Run, quick, until

OTHERS: tuple[Network, ...] = (ipaddress.ip_network("10.0.0.0/8"),)
CLIENT, FRONT = ProxyAddress("192.0.2.7", 4711), ProxyAddress("198.51.100.1", 443)
PROXY_HEADERS = {
    "v1": build_v1(CLIENT, FRONT),
    "v2": build_v2(CLIENT, FRONT),
    "mapped": build_v2(
        ProxyAddress("::ffff:192.0.2.7", 4711), ProxyAddress("::ffff:198.51.100.1", 443)
    ),
}


async def listening(
    env: Lab, mode: Literal["off", "accept", "require"], sources: tuple[Network, ...]
) -> tuple[TLSListener, int]:
    listener = TLSListener(
        env.table,
        quick(head_read=1.0),
        on_end=env.records.append,
        proxy_protocol=ProxyHeaderPolicy(mode, sources),
    )
    env.stack.callback(listener.close)
    _, port = await listener.listen(LOOPBACK, 0)
    return listener, port


@pytest.mark.parametrize("mode", ["accept", "require"])
@pytest.mark.parametrize("proxy_header", PROXY_HEADERS.values(), ids=PROXY_HEADERS)
@pytest.mark.parametrize("size", [1, 20, 10_000])
def test_the_client_is_whom_the_proxy_names(
    run: Run, lab: MakeLab, mode: Literal["accept", "require"], proxy_header: bytes, size: int
) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await listening(env, mode, US)
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = proxy_header + hello_for("a.example") + b"ping"
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                await asyncio.sleep(0)
            assert await reader.readexactly(4) == b"ping"
            writer.close()
            await until(lambda: env.records)
            assert [
                (r.client, r.outcome in ("closed", "reset"), r.received) for r in env.records
            ] == [("192.0.2.7", True, len(data) - len(proxy_header))]
            assert listener.held_bytes == 0
            assert not len(listener)

    run(main())


def test_the_named_client_is_told_on(run: Run, lab: MakeLab) -> None:
    read = ProxyHeaderReader(required=True)
    assert read.receive_data(PROXY_HEADERS["v1"] + b"rest") == b"rest"
    with socket.socket() as sock:
        reader = ProxyProtocolReader()
        told = reader.receive_data(proxy_header_for(sock, "v2", read.claimed))
        assert isinstance(told, ProxyHeader)
        assert (told.source, told.destination) == (CLIENT, FRONT)
        assert proxy_header_for(sock, "v1") == b"PROXY UNKNOWN\r\n"  # a client that is gone already


def test_a_proxys_own_connection_speaks_for_itself(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            _, port = await listening(env, "require", US)
            for proxy_header in (build_v1(None, None), build_v2(None, None)):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(proxy_header + hello_for("a.example") + b"ping")
                assert await reader.readexactly(4) == b"ping"
                writer.close()
            await until(lambda: len(env.records) == 2)
            assert [r.client for r in env.records] == [LOOPBACK] * 2

    run(main())


@pytest.mark.parametrize(
    ("mode", "sources", "data", "reason"),
    [
        ("accept", OTHERS, PROXY_HEADERS["v1"] + hello_for("a.example"), "not_tls_proxy_v1"),
        ("accept", OTHERS, PROXY_HEADERS["v2"] + hello_for("a.example"), "not_tls_proxy_v2"),
        ("require", OTHERS, PROXY_HEADERS["v1"] + hello_for("a.example"), "proxy_untrusted"),
        ("require", US, hello_for("a.example"), "proxy_missing"),
        ("require", US, PROXY_HEADERS["v1"][:20], "hello_timeout"),
        ("accept", US, PROXY_HEADERS["v1"], "hello_timeout"),
        ("accept", US, PROXY_HEADERS["v1"] * 2, "not_tls_proxy_v1"),
        (
            "accept",
            US,
            b"PROXY TCP4 1.2.3.4 1.2.3 1 1\r\n" + hello_for("a.example"),
            "proxy_address",
        ),
        (
            "accept",
            US,
            PROXY_HEADERS["v2"][:13] + b"\x12" + PROXY_HEADERS["v2"][14:],
            "proxy_family",
        ),
    ],
)
def test_who_is_not_believed_is_closed_and_counted(
    run: Run,
    lab: MakeLab,
    mode: Literal["accept", "require"],
    sources: tuple[Network, ...],
    data: bytes,
    reason: str,
) -> None:
    async def main() -> None:
        async with lab() as env:
            env.table.ports["a.example"] = []
            listener, port = await listening(env, mode, sources)
            assert await reply_to(port, data) == b""
            await until(lambda: env.records)
            assert listener.refusals == {reason: 1}
            assert not len(listener)
            assert listener.held_bytes == 0

    run(main())


def test_those_who_need_none_are_served_without_one(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            for mode, sources in (("off", ()), ("accept", US), ("accept", OTHERS)):
                _, port = await listening(env, mode, sources)  # type: ignore[arg-type]
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(hello_for("a.example") + b"ping")
                assert await reader.readexactly(4) == b"ping"
                writer.close()

    run(main())


@pytest.mark.parametrize(("max_size", "reason"), [(536, "proxy_too_long"), (5000, None)])
def test_a_long_header_is_taken_where_the_rule_says_so(max_size: int, reason: str | None) -> None:
    short = PROXY_HEADERS["v2"]
    value = bytes(4000)
    size = len(short) - 16 + 3 + len(value)
    data = short[:14] + size.to_bytes(2) + short[16:] + b"\xe0" + len(value).to_bytes(2) + value
    rule = ProxyHeaderPolicy("accept", US, max_size)
    reader = ProxyHeaderReader.of(rule, LOOPBACK)
    assert reader is not None
    if reason is not None:
        with pytest.raises(LimitExceeded) as caught:
            reader.receive_data(data)
        assert caught.value.reason == reason
        return
    assert reader.receive_data(data + b"rest") == b"rest"
    assert reader.claimed is not None
    assert (reader.claimed.source, reader.begun) == (CLIENT, True)


@pytest.mark.parametrize("size", [0, 215, 65536])
def test_a_size_that_no_header_has(size: int) -> None:
    with pytest.raises(ConfigurationError, match="216 to 65535"):
        ProxyHeaderPolicy("accept", US, size)
