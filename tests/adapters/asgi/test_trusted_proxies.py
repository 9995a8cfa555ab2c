"""`TrustedProxies`: whose claims change a scope, and what they change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import meshlib
from meshlib_adapters.asgi import TrustedProxies
from meshlib_adapters.asgi.types import Scope
from tests.support.asgi_calls import call, recording, saying

XFF, XFP = b"X-Forwarded-For", b"x-forwarded-proto"


def seen(
    *headers: tuple[bytes, bytes],
    trusted: list[str] | None = None,
    forwarded: bool = False,
    **scope: Any,
) -> Scope:
    scopes: list[Scope] = []
    trusted = ["192.0.2.0/24"] if trusted is None else trusted
    app = TrustedProxies(recording(scopes), trusted, forwarded=forwarded)
    asyncio.run(call(app, headers=headers, **scope))
    return scopes[0]


@pytest.mark.parametrize(
    ("headers", "client", "scheme"),
    [
        ([], ("192.0.2.1", 5000), "http"),
        ([(XFF, b"203.0.113.7")], ("203.0.113.7", 0), "http"),
        ([(XFF, b"203.0.113.7"), (XFP, b"https")], ("203.0.113.7", 0), "https"),
        ([(XFF, b"6.6.6.6, 203.0.113.7, 192.0.2.8")], ("203.0.113.7", 0), "http"),
        ([(XFF, b"6.6.6.6"), (XFF, b"203.0.113.7")], ("203.0.113.7", 0), "http"),
        ([(XFF, b"6.6.6.6:1234")], ("6.6.6.6", 0), "http"),
        ([(XFF, b"[2001:db8::1]:4711")], ("2001:db8::1", 0), "http"),
        ([(XFF, b"192.0.2.7, 192.0.2.8")], ("192.0.2.7", 0), "http"),
        ([(XFF, b"2001:db8::1")], ("2001:db8::1", 0), "http"),
        ([(XFP, b"https, http")], ("192.0.2.1", 5000), "http"),
        ([(b"Forwarded", b"for=6.6.6.6;proto=https")], ("192.0.2.1", 5000), "http"),
        # No claim can be read, or there is none: not a proxy's address.
        ([(XFF, b"a\nb")], None, "http"),
        ([(XFF, b"203.0.113.7"), (XFF, b"odd"), (XFP, b"https")], None, "https"),
        ([(XFF, b"6.6.6.6, unknown, 192.0.2.8")], None, "http"),
    ],
)
def test_the_claims_of_a_trusted_proxy(
    headers: list[tuple[bytes, bytes]], client: tuple[str, int] | None, scheme: str
) -> None:
    scope = seen(*headers)
    assert (scope["client"], scope["scheme"]) == (client, scheme)
    assert scope["headers"][1:] == headers  # they stay as they came


@pytest.mark.parametrize(
    "before",
    [
        [(XFF, b"1.1.1.1")] * 100,
        [(XFF, b"a\x01")],
        [(XFF, b"")],
        [(XFF, b"1.1.1.1,,"), (XFP, b"\x00")],
    ],
)
def test_what_a_client_sends_before_does_not_hide_it(before: list[tuple[bytes, bytes]]) -> None:
    scope = seen(*before, (XFF, b"203.0.113.7"), (XFP, b"https"))
    assert (scope["client"], scope["scheme"]) == (("203.0.113.7", 0), "https")


@pytest.mark.parametrize("before", [b"", b",", b'for="', b"for=[", b"a\x01", b"for=1.1.1.1;"])
def test_nor_does_what_it_sends_before_in_forwarded(before: bytes) -> None:
    lines = ((b"forwarded", before), (b"forwarded", b"for=203.0.113.7;proto=https"))
    scope = seen(*lines, forwarded=True)
    assert (scope["client"], scope["scheme"]) == (("203.0.113.7", 0), "https")


def test_the_claims_of_others_are_not_read() -> None:
    claims = ((XFF, b"203.0.113.7"), (XFP, b"https"))
    for scope in (
        seen(*claims, trusted=["10.0.0.0/8"]),
        seen(*claims, trusted=[]),
        seen(*claims, trusted=["unix:"]),
    ):
        assert (scope["client"], scope["scheme"]) == (("192.0.2.1", 5000), "http")


@pytest.mark.parametrize(
    ("value", "client", "scheme"),
    [
        (b"for=203.0.113.7;proto=https", ("203.0.113.7", 0), "https"),
        (
            b'for=6.6.6.6, for="203.0.113.7:99", for=192.0.2.8;proto=http',
            ("203.0.113.7", 0),
            "http",
        ),
        (b"", ("192.0.2.1", 5000), "http"),
        (b'for="6.6.6.6', None, "http"),
        (b'for=", for=203.0.113.7', None, "http"),
        (b"for=_hidden;proto=https", None, "https"),
        (b"for=6.6.6.6, proto=https", None, "https"),
    ],
)
def test_forwarded_is_read_where_that_is_what_the_proxy_writes(
    value: bytes, client: tuple[str, int] | None, scheme: str
) -> None:
    scope = seen((b"forwarded", value), (XFF, b"6.6.6.6"), (XFP, b"https"), forwarded=True)
    assert (scope["client"], scope["scheme"]) == (client, scheme)


def test_a_websocket_over_tls() -> None:
    scope = seen((XFF, b"203.0.113.7"), (XFP, b"https"), kind="websocket")
    assert (scope["client"], scope["scheme"]) == (("203.0.113.7", 0), "wss")
    assert seen((XFP, b"http"), kind="websocket", scheme="wss")["scheme"] == "ws"


def test_the_other_end_of_a_unix_socket() -> None:
    unix: dict[str, Any] = {"client": None, "server": ("/run/app.sock", None)}
    scope = seen((XFF, b"203.0.113.7"), trusted=["unix:"], **unix)
    assert scope["client"] == ("203.0.113.7", 0)
    assert seen((XFF, b"203.0.113.7"), **unix)["client"] is None


def test_a_lifespan_passes() -> None:
    with pytest.raises(RuntimeError, match="it has none"):
        asyncio.run(call(TrustedProxies(saying(""), ["10.0.0.1"]), kind="lifespan"))


def test_a_mistake_is_told_at_once() -> None:
    with pytest.raises(meshlib.ConfigurationError, match="TrustedProxies"):
        TrustedProxies(saying(""), ["10.0.0.1/8"])
