"""A URL becomes the request or the hello that a client would send for it."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib.messages import ClientHello, RequestHead
from meshlib_adapters.observe.admin.explanation import parse_question


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("http://shop.example.com", "shop.example.com", "/"),
        (
            "HTTP://Shop.example.com:8080/a%2Fb/../c?d=e&f#g",
            "Shop.example.com:8080",
            "/a%2Fb/../c?d=e&f",
        ),
        ("http://[::1]:80/", "[::1]:80", "/"),
        (
            "http://grüße.example.com/grüße?ü",
            "xn--gre-6ka8i.example.com",
            "/gr%C3%BC%C3%9Fe?%C3%BC",
        ),
        ("http://shop.example.com/a b", "shop.example.com", "/a%20b"),
    ],
)
def test_a_url_is_a_question_about_a_request(url: str, authority: str, target: str) -> None:
    head = parse_question(url)
    assert isinstance(head, RequestHead)
    if not authority.startswith("xn--"):  # which A-label it is, is the standard library's business
        assert head.authority.decode() == authority
    assert (head.method, head.target.decode()) == (b"GET", target)


def test_method_and_fields() -> None:
    head = parse_question(
        "http://shop.example.com/", method="POST", headers=["Cookie:SESSION=1", "X-A: b:c"]
    )
    assert isinstance(head, RequestHead)
    assert head.method == b"POST"
    assert head.fields.pairs() == [
        (b"Host", b"shop.example.com"),
        (b"Cookie", b"SESSION=1"),
        (b"X-A", b"b:c"),
    ]


def test_a_host_field_replaces_that_of_the_url() -> None:
    head = parse_question("http://127.0.0.1:8080/", headers=["Host: shop.example.com"])
    assert isinstance(head, RequestHead)
    assert head.authority == b"shop.example.com"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://Shop.Example.com:8443/a", "shop.example.com"),
        ("sni://shop.example.com", "shop.example.com"),
        ("sni://", None),
        ("https:///path", None),
    ],
)
def test_an_sni_url_is_a_question_about_a_hello(url: str, name: str | None) -> None:
    assert parse_question(url) == ClientHello(server_name=name)


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("shop.example.com", {}, "is not a URL that can be explained (write http://host/path"),
        ("ftp://shop.example.com", {}, "is not a URL that can be explained"),
        ("https://a b", {}, "https://a b: this character cannot be in a host name"),
        ("http://shop:x/", {}, "http://shop:x/: "),
        ("http:///", {}, "http:///: there is no host"),
        ("http://shop/", {"method": "G T"}, "no such request would be taken: "),
        ("http://shop/", {"method": "TRACE"}, "no such request would be taken: "),
        ("http://shop/", {"headers": ["Cookie"]}, "--header: 'Cookie' is not NAME:VALUE"),
        ("http://shop/", {"headers": ["A:b\r\n\r\nc"]}, "http://shop/: no request has a line end"),
        ("http://shop/", {"headers": ["Content-Length: +1"]}, "no such request would be taken: "),
    ],
)
def test_what_cannot_be_asked(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_question(url, **options)
    assert said in str(caught.value)
