"""Heads, peers and addresses of environs, as different servers write them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from meshlib.client_claims import UNIX, ForwardingPolicy, Peer
from meshlib.errors import MeshError, ProtocolError
from meshlib.messages import RequestHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.wsgi.environ import (
    EnvironReader,
    addresses_of,
    is_multiplexed,
    possible_heads_of,
)

ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "10.0.0.9",
    "REMOTE_PORT": "4000",
    "HTTP_HOST": "a",
    "wsgi.url_scheme": "http",
    "wsgi.input_terminated": True,
}


def read(environ: dict[str, Any]) -> RequestHead:
    return EnvironReader(HTTPSettings(max_body=1000), ForwardingPolicy()).head(environ)


def head(**changes: object) -> RequestHead:
    return read({**ENVIRON, **changes})


def refused(**changes: object) -> tuple[int, str]:
    with pytest.raises(ProtocolError) as caught:
        head(**changes)
    return caught.value.status_hint, caught.value.reason


def peer(**changes: object) -> Peer:
    policy = ForwardingPolicy(trusted_proxies=(ip_network("10.0.0.0/8"), "unix:"))
    return EnvironReader(HTTPSettings(), policy).peer({**ENVIRON, **changes})


def test_names_are_written_with_hyphens() -> None:
    found = head(HTTP_X_FORWARDED_FOR="6.6.6.6", CONTENT_TYPE="text/plain", CONTENT_LENGTH="5")
    assert found.fields.block == (
        b"Host: a\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
    )
    assert (found.authority, found.minor_version, found.fields.content_length) == (b"a", 1, 5)


def test_no_field_stands_for_one_of_the_servers_own() -> None:
    # As servers pass on `Content_Length` where they are told to keep underscores.
    found = head(HTTP_CONTENT_LENGTH="5", HTTP_CONTENT_TYPE="x/y", HTTP_TE="trailers")
    assert found.fields.names == (b"host",)
    assert head(CONTENT_LENGTH="", CONTENT_TYPE="").fields.names == (b"host",)


def test_what_is_remembered_of_names_is_bounded() -> None:
    reader = EnvironReader(HTTPSettings(field_count=10_000), ForwardingPolicy())
    many = {f"HTTP_X_{number}": "a" for number in range(3000)}
    for _ in range(2):
        found = reader.head({**ENVIRON, **many, f"HTTP_{'Y' * 100}": "b"})
        assert len(found.fields.names) == 3002
        assert found.fields.names[-1] == b"y" * 100


def test_what_is_no_text_is_no_field() -> None:
    assert head(HTTP_X_OBJECT=object()).fields.names == (b"host",)


@pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
def test_the_raw_target_is_kept(name: str) -> None:
    changes = {name: "/a%2Fb//c;d?x=%20", "PATH_INFO": "/a/b//c;d", "QUERY_STRING": "x=%20"}
    assert head(**changes).target == b"/a%2Fb//c;d?x=%20"
    found = head(**{name: "http://b:81/x?y"})
    assert (found.target, found.authority) == (b"/x?y", b"b:81")


def test_without_a_raw_target_the_path_is_quoted_again() -> None:
    found = head(SCRIPT_NAME="/app", PATH_INFO="/ä b%\xff/c".encode().decode("latin-1"))
    assert found.target == b"/app/%C3%A4%20b%25%C3%BF/c"
    assert head(PATH_INFO="/x", QUERY_STRING="a=%20&b").target == b"/x?a=%20&b"
    assert head(PATH_INFO="").target == b"/"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"CONTENT_LENGTH": "1001"}, (413, "body_too_large")),
        ({"CONTENT_LENGTH": "5", "HTTP_TRANSFER_ENCODING": "chunked"}, (400, "length_and_chunked")),
        ({"HTTP_TRANSFER_ENCODING": "gzip, chunked"}, (501, "bad_transfer_encoding")),
        (
            {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": False},
            (411, "no_length"),
        ),
        ({"HTTP_X_A": "b\r\nX-C: d"}, (400, "bad_field")),
        ({"HTTP_X_A": "b\r\nX-C: d\r\n"}, (400, "bad_field")),
        ({"HTTP_X_A": "b\nX-C: d"}, (400, "bad_field")),
        ({"HTTP_X:A": "b"}, (400, "bad_field")),
        ({"HTTP_": "b"}, (400, "bad_field")),
        ({"HTTP_X A": "b"}, (400, "bad_field")),
        ({"HTTP_X_A": "\u20ac"}, (400, "bad_request_line")),
        ({"HTTP_EXPECT": "the-worst"}, (417, "bad_expect")),
        ({"REQUEST_METHOD": "TRACE"}, (405, "method_refused")),
        ({"RAW_URI": "/a b"}, (400, "bad_request_line")),
        ({"RAW_URI": "/\u20ac"}, (400, "bad_request_line")),
        ({f"HTTP_X_{number}": "x" for number in range(100)}, (431, "too_many_fields")),
        ({"HTTP_CONNECTION": "Upgrade", "HTTP_UPGRADE": "websocket"}, (501, "upgrade_refused")),
    ],
)
def test_what_is_refused(changes: dict[str, object], told: tuple[int, str]) -> None:
    assert refused(**changes) == told


def test_an_offer_to_upgrade_is_left_out() -> None:
    assert head(HTTP_CONNECTION="Upgrade", HTTP_UPGRADE="h2c").fields.upgrade is None


def test_http_1_0_and_2() -> None:
    old = {**ENVIRON, "SERVER_PROTOCOL": "HTTP/1.0"}
    del old["HTTP_HOST"]
    found = read(old)
    assert (found.minor_version, found.authority) == (0, b"")
    new = {**ENVIRON, "SERVER_PROTOCOL": "HTTP/2.0", "HTTP_VERSION": "2"}
    assert read(new).fields.names == (b"host",)
    assert is_multiplexed(new)
    assert not is_multiplexed(old)
    assert not is_multiplexed({})


@pytest.mark.parametrize(
    ("changes", "authorities"),
    [
        ({}, [b"a", b""]),
        ({"HTTP_HOST": "b,a"}, [b"b", b"a", b""]),
        ({"HTTP_HOST": "\u20ac,a", "RAW_URI": "/\u20ac"}, [b"a", b""]),
        ({"RAW_URI": "a b"}, [b"a", b""]),
        ({"RAW_URI": "http://c/"}, [b"c", b"c"]),
    ],
)
def test_every_host_that_may_be_meant(changes: dict[str, object], authorities: list[bytes]) -> None:
    found = possible_heads_of({**ENVIRON, **changes})
    assert [one.authority for one in found] == authorities


def test_no_host_at_all() -> None:
    environ = {name: value for name, value in ENVIRON.items() if name != "HTTP_HOST"}
    assert [one.authority for one in possible_heads_of(environ)] == [b""]
    with pytest.raises(MeshError):
        read(environ)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Peer("10.0.0.9", "http", 8000, True)),
        ({"REMOTE_ADDR": "9.9.9.9", "wsgi.url_scheme": "https"}, Peer("9.9.9.9", "https", 8000)),
        ({"REMOTE_ADDR": "somebody", "SERVER_PORT": "99999"}, Peer("", "http", 0)),
        ({"REMOTE_ADDR": None, "SERVER_PORT": "x"}, Peer("", "http", 0)),
        # A Unix socket's of gunicorn, whose port is the client's own claim, and of waitress.
        ({"REMOTE_ADDR": ""}, Peer(UNIX, "http", 0, True)),
        ({"REMOTE_ADDR": "localhost", "REMOTE_PORT": "None"}, Peer(UNIX, "http", 0, True)),
        ({"REMOTE_ADDR": "localhost"}, Peer("", "http", 8000)),
    ],
)
def test_peers(changes: dict[str, object], expected: Peer) -> None:
    assert peer(**changes) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (ProxyAddress("10.0.0.9", 4000), ProxyAddress("127.0.0.1", 8000))),
        ({"REMOTE_ADDR": "::ffff:9.9.9.9"}, (ProxyAddress("9.9.9.9", 4000), None)),
        ({"REMOTE_PORT": "None"}, (None, None)),
        ({"REMOTE_ADDR": ""}, (None, None)),
        ({"REMOTE_PORT": None}, (None, None)),
    ],
)
def test_addresses(
    changes: dict[str, object], expected: tuple[ProxyAddress | None, ProxyAddress | None]
) -> None:
    source, destination = addresses_of({**ENVIRON, "SERVER_NAME": "0.0.0.0", **changes})
    assert source == expected[0]
    assert destination is None
    assert addresses_of({**ENVIRON, **changes})[1] == ProxyAddress("127.0.0.1", 8000)
