from __future__ import annotations

import httpx
import pytest

from meshlib.errors import LimitExceeded, ProtocolError
from meshlib_adapters.httpx_transport.requests import (
    KnownFields,
    RequestFailure,
    TimeOuts,
    failure_of,
    host_of_url,
    request_of,
)
from meshlib_adapters.httpx_transport.service_names import URLHost


def test_the_host_of_a_url() -> None:
    assert host_of_url(httpx.URL("http://Orders./x")) == URLHost("orders", None, False)
    assert host_of_url(httpx.URL("https://tasks.orders:8443/")) == URLHost(
        "tasks.orders", 8443, True
    )
    assert host_of_url(httpx.URL("http://[::1]:80/")) == URLHost("::1", None, False)
    assert host_of_url(httpx.URL("http://b\u00fccher.example/")) == URLHost(
        "xn--bcher-kva.example", None, False
    )
    assert host_of_url(httpx.URL("ws://orders/")) is None
    assert URLHost("orders", 8080, True).default_port == 443


def test_a_request_as_a_value() -> None:
    request = httpx.Request(
        "POST",
        "https://user:secret@orders:8443/a%20b?c",
        headers={"Upgrade": "x", "Connection": "Upgrade", "Host": "shop.example.com"},
        content=b"12",
        extensions={"timeout": {"connect": 1.0, "read": 2.0, "write": None, "pool": 3.0}},
    )
    host = host_of_url(request.url)
    assert host is not None
    found = request_of(request, host, b"12", KnownFields(100))
    assert found.head.method == b"POST"
    assert found.head.target == b"/a%20b?c"
    assert found.head.authority == b"shop.example.com"
    assert found.head.fields.upgrade is None
    assert found.authority == b"orders:8443"
    assert (found.peer.scheme, found.peer.address, found.peer.trusted) == ("https", "", True)
    assert found.time_outs == TimeOuts(1.0, 2.0, None, 3.0)
    assert found.time_outs.shortest == 1.0
    assert TimeOuts().shortest is None


def test_a_request_that_nobody_may_send() -> None:
    request = httpx.Request("A B", "http://orders/")
    with pytest.raises(RequestFailure) as raised:
        request_of(request, URLHost("orders", None, False), b"", KnownFields(100))
    assert raised.value.kind == "LocalProtocolError"


def test_fields_that_come_again_are_read_once() -> None:
    known = KnownFields(3)
    pairs = [(b"Host", b"orders"), (b"Connection", b"Keep-Alive"), (b"A", b"1")]
    first = known.section(pairs)
    assert first.block == b"Host: orders\r\nA: 1\r\n"
    assert known.section(list(pairs)) is first
    assert known.section([*pairs, (b"B", b"2")]) is not first
    with pytest.raises(LimitExceeded):
        known.section([*pairs, (b"B", b"2"), (b"C", b"3")])


def test_what_is_remembered_of_fields_is_bounded() -> None:
    known = KnownFields(100)
    long = [(b"A", b"x" * 4096)]
    assert known.section(long) is not known.section(long)
    first = known.section([(b"A", b"0")])
    for number in range(1, 257):
        known.section([(b"A", b"%d" % number)])
    assert known.section([(b"A", b"0")]) is not first


@pytest.mark.parametrize("value", [b"1\r\nX: 2", b"1\nX: 2", b"1\rX", b"1\0"])
def test_a_field_is_one_field(value: bytes) -> None:
    with pytest.raises(ProtocolError):
        KnownFields(100).section([(b"Host", b"orders"), (b"A", value)])


@pytest.mark.parametrize(
    ("reason", "began", "kind"),
    [
        ("connect_timeout", False, "ConnectTimeout"),
        ("upstream_closed", False, "RemoteProtocolError"),
        ("between_bytes_timeout", True, "ReadTimeout"),
        ("whatever_else", True, "RemoteProtocolError"),
    ],
)
def test_failures(reason: str, began: bool, kind: str) -> None:
    found = failure_of(reason, "orders", began=began)
    assert found is not None
    what = "the rest of the response" if began else "a response"
    assert (found.kind, str(found)) == (kind, f"orders did not give {what}: {reason}")


def test_other_reasons_are_responses() -> None:
    assert failure_of("no_endpoint", "orders", began=False) is None
