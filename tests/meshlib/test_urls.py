"""URLs as people write them become the heads that clients send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ConfigurationError
from meshlib.urls import Headers, request_head


@pytest.mark.parametrize(
    ("url", "authority", "target", "secure"),
    [
        ("http://shop.example.com", b"shop.example.com", b"/", False),
        ("https://shop.example.com/a/b?c=d#e", b"shop.example.com", b"/a/b?c=d", True),
        ("HTTPS://Shop.Example.com:8443/a", b"Shop.Example.com:8443", b"/a", True),
        ("http://[::1]:80/", b"[::1]:80", b"/", False),
        (
            "http://b\u00fccher.example:8080/\u00e4 b?\u00f6=%20",
            b"xn--bcher-kva.example:8080",
            b"/%C3%A4%20b?%C3%B6=%20",
            False,
        ),
        ("http://b\u00fccher.example", b"xn--bcher-kva.example", b"/", False),
        ("/a?b", b"", b"/a?b", False),
        ("/a://b", b"", b"/a://b", False),
    ],
)
def test_a_url_is_read_as_the_head_of_a_request(
    url: str, authority: bytes, target: bytes, secure: bool
) -> None:
    head, over_tls = request_head("GET", url)
    assert (head.method, head.authority, head.target, over_tls) == (
        b"GET",
        authority,
        target,
        secure,
    )
    assert head.minor_version == (1 if authority else 0)


@pytest.mark.parametrize(
    "headers", [{"Host": "a.example", "X-A": "b"}, [("host", "a.example"), ("X-A", "b")]]
)
@pytest.mark.parametrize("url", ["http://shop.example.com/c", "/c"])
def test_a_host_among_the_headers_is_the_one(url: str, headers: Headers) -> None:
    head, secure = request_head("POST", url, headers)
    assert (head.authority, head.target, head.minor_version, secure) == (
        b"a.example",
        b"/c",
        1,
        False,
    )
    assert head.fields.first(b"x-a") == b"b"


def test_the_target_of_options() -> None:
    head, _ = request_head("OPTIONS", "*", {"Host": "a"})
    assert (head.method, head.target) == (b"OPTIONS", b"*")


@pytest.mark.parametrize(
    ("method", "url", "message"),
    [
        ("GET", "shop.example.com/a", "this is not what a request asks for"),
        ("GET", "ftp://a", "this is not what a request asks for"),
        ("GET", "", "this is not what a request asks for"),
        ("GET", "http:///a", "there is no host"),
        ("GET", "http://shop:x/", "http://shop:x/: Port could not"),
        ("GET", "http://a\nb", "a line end or a tab in it"),
        ("GET", "http://[::1/a", "IPv6"),
        ("GET", "http://\u00e4\u00e4:99999/", "Port out of range"),
        ("GET", "http://\u00e4 \u00e4/", "this character cannot be in a host name"),
        ("GET", "*", "no such request would be taken"),
        ("G T", "http://a", "no such request would be taken"),
        ("CONNECT", "http://a", "CONNECT is not served here"),
        ("GET", b"http://a", "are texts"),
        (None, "http://a", "are texts"),
    ],
)
def test_what_no_client_could_send(method: Any, url: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        request_head(method, url)
    assert caught.value.where
    assert caught.value.hint


def test_header_fields_that_no_client_could_send() -> None:
    with pytest.raises(ConfigurationError, match="no such request would be taken"):
        request_head("GET", "http://a", {"a b": "c"})
    with pytest.raises(ConfigurationError, match="a line end or a tab in it"):
        request_head("GET", "http://a", {"X": "b\r\nHost: c"})


@given(
    st.text(max_size=8),
    st.one_of(st.text(max_size=20), st.text(max_size=20).map("http://{}".format)),
)
def test_whatever_is_asked_is_a_head_or_refused(method: str, url: str) -> None:
    try:
        head, _ = request_head(method, url)
    except ConfigurationError:
        return
    assert head.target.startswith(b"/") or head.target == b"*"


@pytest.mark.parametrize("headers", [3, [3], ["abc"], None])
def test_headers_that_are_no_pairs(headers: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"headers: these are not pairs .*NAME: VALUE"):
        request_head("GET", "http://a", headers)
