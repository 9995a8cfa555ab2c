"""The first bytes of a client of a TLS port are told apart, and held until they go on."""

from __future__ import annotations

import ipaddress
from typing import Any, cast

import pytest

from meshlib.errors import ClientHelloError, ProtocolError, ProxyProtocolError
from meshlib.messages import ClientHello
from meshlib.proxy_protocol import ProxyAddress
from meshlib.tls import ForeignProtocol, HelloCache, NotTLS
from meshlib_adapters.config.transport import ProxyHeaderPolicy, TLSSettings
from meshlib_adapters.listeners.tls_opening import TLSOpening
from meshlib_adapters.listeners.tls_shared import TLSShared
from tests.support.hellos import hello_for

HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n"
PROXY = "10.0.0.1"
HELLO = hello_for("a.example")


def shared_by(rule: ProxyHeaderPolicy | None = None, **settings: int) -> TLSShared:
    nobody = cast("Any", None)
    return TLSShared(
        nobody,
        TLSSettings(**settings),  # type: ignore[arg-type]
        nobody,
        nobody,
        HelloCache(),
        None,
        None,
        rule,
        None,
    )


def policy(mode: Any) -> ProxyHeaderPolicy:
    return ProxyHeaderPolicy(mode, (ipaddress.ip_network("10.0.0.0/8"),))


def test_a_hello_in_two_pieces() -> None:
    shared = shared_by()
    opening = TLSOpening(shared)
    opening.expect_header(PROXY)
    assert opening.header is None
    for piece, done in ((HELLO[:50], False), (HELLO[50:], True)):
        assert opening.hold(piece)
        result = opening.sniff(piece)
        assert isinstance(result, ClientHello) is done
    assert isinstance(result, ClientHello)
    assert result.server_name == "a.example"
    assert opening.received() == HELLO
    assert opening.held == shared.held_bytes == len(HELLO)


def test_what_was_read_at_once_is_passed_on_as_it_is() -> None:
    opening = TLSOpening(shared_by())
    opening.hold(HELLO)
    assert opening.received() is HELLO


def test_what_is_no_hello() -> None:
    opening = TLSOpening(shared_by())
    data = b"GET / HTTP/1.1\r\n"
    opening.hold(data)
    assert opening.sniff(data) == NotTLS(ForeignProtocol.HTTP)
    opening = TLSOpening(shared_by(max_hello=100))
    with pytest.raises(ClientHelloError):
        opening.sniff(HELLO)


def test_all_clients_together_hold_so_much() -> None:
    shared = shared_by(max_held_bytes=100)
    one, other = TLSOpening(shared), TLSOpening(shared)
    assert one.hold(bytes(60))
    assert not other.hold(bytes(60))
    one.release()
    one.release()
    assert shared.held_bytes == 60
    assert one.received() == b""
    assert one.held == 0
    assert repr(other) == "<TLSOpening 60 bytes held>"


@pytest.mark.parametrize("mode", ["accept", "require"])
def test_a_header_in_two_pieces(mode: str) -> None:
    opening = TLSOpening(shared_by(policy(mode)))
    opening.expect_header(PROXY)
    assert opening.read_header(HEADER[:20]) == b""
    assert opening.claimed is None
    assert opening.read_header(HEADER[20:] + b"rest") == b"rest"
    assert opening.header is None
    assert opening.claimed is not None
    assert opening.claimed.source == ProxyAddress("192.0.2.7", 1234)


def test_a_trusted_proxy_that_says_nothing() -> None:
    opening = TLSOpening(shared_by(policy("accept")))
    opening.expect_header(PROXY)
    assert opening.read_header(HELLO) == HELLO
    assert opening.claimed is None
    opening = TLSOpening(shared_by(policy("require")))
    opening.expect_header(PROXY)
    with pytest.raises(ProtocolError) as caught:
        opening.read_header(HELLO)
    assert caught.value.reason == "proxy_missing"


def test_a_header_is_required_of_proxies_alone() -> None:
    opening = TLSOpening(shared_by(policy("accept")))
    opening.expect_header("192.0.2.1")
    assert opening.header is None
    opening = TLSOpening(shared_by(policy("require")))
    with pytest.raises(ProxyProtocolError) as caught:
        opening.expect_header("192.0.2.1")
    assert caught.value.reason == "proxy_untrusted"
