"""The addresses of a client connection are the socket's, or those that a trusted proxy says."""

from __future__ import annotations

import asyncio

import pytest

from meshlib.proxy_protocol import ProxyAddress, ProxyHeader
from meshlib_adapters.proxy.client import connection_addresses


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("192.0.2.1", 80), ProxyAddress("192.0.2.1", 80)),
        (("::ffff:192.0.2.1", 80, 0, 0), ProxyAddress("192.0.2.1", 80)),
        (("2001:db8::1", 80, 0, 0), ProxyAddress("2001:db8::1", 80)),
        ("/run/gateway.sock", None),
        (None, None),
    ],
)
def test_those_of_the_socket(name: object, address: ProxyAddress | None) -> None:
    transport = asyncio.BaseTransport({"peername": name, "sockname": ("192.0.2.2", 443)})
    assert connection_addresses(transport, None) == (address, ProxyAddress("192.0.2.2", 443))


def test_those_of_the_client_that_a_proxy_names() -> None:
    source, destination = ProxyAddress("192.0.2.7", 1), ProxyAddress("192.0.2.8", 2)
    claimed = ProxyHeader(1, source, destination)
    assert connection_addresses(asyncio.BaseTransport(), claimed) == (source, destination)
