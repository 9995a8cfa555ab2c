"""What hooks see, and what they may return."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.client_claims import ForwardingPolicy, Peer
from meshlib.decision import Respond
from meshlib.errors import ConfigurationError
from meshlib.hook_values import Changes, Request, Response
from meshlib.http1 import parse_request_head
from meshlib.messages import RequestHead
from tests.support.networks import parse_networks

HEAD = parse_request_head(
    b"GET /cart?id=1 HTTP/1.1\r\nHost: shop.example.com\r\nX-User: eve\r\n"
    b"X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n\r\n"
)
NOWHERE = Respond(404, "no_route")


def request(trusted: bool = False, **options: Any) -> Request:
    return Request(HEAD, Peer("10.0.0.1", "http", 80, trusted), NOWHERE, **options)


def test_a_request_is_read_as_text() -> None:
    asked = request()
    assert (asked.method, asked.host) == ("GET", "shop.example.com")
    assert (asked.target, asked.path) == ("/cart?id=1", "/cart")
    assert (asked.address, asked.secure) == ("10.0.0.1", False)
    assert (asked.decision, asked.state) == (NOWHERE, {})
    assert repr(asked) == "<Request GET shop.example.com/cart>"


def test_what_a_trusted_proxy_says_counts() -> None:
    policy = ForwardingPolicy(trusted_proxies=tuple(parse_networks(["10.0.0.0/8"])))
    asked = request(trusted=True, policy=policy)
    assert (asked.address, asked.secure) == ("192.0.2.9", True)


def test_fields_are_found_in_any_case_and_added_ones_first() -> None:
    asked = request()
    assert asked.field("X-USER") == "eve"
    assert asked.field("absent") is None
    asked.added = ((b"X-Other", b"1"), (b"X-User", b"anna"))
    assert asked.field("x-user") == "anna"
    assert asked.field("x-\u20ac") is None


def test_a_request_knows_where_it_would_go_by_another_host() -> None:
    decided: list[bytes] = []

    def decide(head: RequestHead) -> Respond:
        decided.append(head.authority + head.target)
        return Respond(503, "no_endpoint")

    assert request(decide=decide).at("b.example.com") == Respond(503, "no_endpoint")
    assert decided == [b"b.example.com/cart?id=1"]
    assert request().at("b.example.com") == Respond(404, "no_route")


def test_a_response_has_the_type_of_its_body() -> None:
    text = Response(401, {"WWW-Authenticate": "Basic"}, "who?")
    assert (text.status, text.body) == (401, b"who?")
    plain = (b"Content-Type", b"text/plain; charset=utf-8")
    assert text.fields == ((b"WWW-Authenticate", b"Basic"), plain)
    assert Response(body=b"x").fields == ((b"Content-Type", b"application/octet-stream"),)
    own = Response(200, [("content-type", "text/html")], "<p>")
    assert own.fields == ((b"content-type", b"text/html"),)
    assert (Response().fields, Response().body) == ((), b"")
    assert repr(text) == "<Response 401>"


@pytest.mark.parametrize("status", [100, 199, 600, "200"])
def test_a_response_has_a_final_status(status: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not the status of a response"):
        Response(status)


@pytest.mark.parametrize("status", [204, 304])
def test_some_responses_have_no_body(status: int) -> None:
    assert Response(status).body == b""
    with pytest.raises(ConfigurationError, match="has no body"):
        Response(status, (), "text")


@pytest.mark.parametrize(
    "fields",
    [
        {"": "x"},
        {"a b": "x"},
        {"X-A": "x\r\nX-B: y"},
        {"X-A": "\u20ac"},
        {"\xe9": "x"},
        {"X-A": 1},
        {b"X-A": "x"},
        {"Content-Length": "3"},
        {"transfer-encoding": "chunked"},
        "X-A: x",
    ],
)
def test_a_field_that_nobody_may_write_is_refused(fields: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Response(200, fields)
    assert caught.value.where == "Response(fields=)"


def test_changes_say_what_goes_and_what_comes() -> None:
    changes = Changes({"X-User": "anna"}, add=[("X-Role", "a"), ("X-Role", "b")], remove=["Cookie"])
    assert changes.removed == {b"x-user", b"cookie"}
    assert changes.added == ((b"X-User", b"anna"), (b"X-Role", b"a"), (b"X-Role", b"b"))
    assert changes.status is None
    assert Changes(status=503).status == 503
    assert repr(changes) == "<Changes added=3 removed=2>"


@pytest.mark.parametrize("status", [100, 204, 304, 600, "200"])
def test_a_status_that_cannot_take_the_place_of_another_is_refused(status: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot take the place"):
        Changes(status=status)


@pytest.mark.parametrize(
    "more",
    [
        {"set": {"Host": "evil"}},
        {"set": {"X-Forwarded-For": "6.6.6.6"}},
        {"add": {"Via": "1.1 me"}},
        {"remove": ["Content-Length"]},
        {"remove": "Cookie"},
    ],
)
def test_what_the_gateway_writes_cannot_be_changed(more: Any) -> None:
    with pytest.raises(ConfigurationError):
        Changes(**more)
