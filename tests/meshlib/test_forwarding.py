"""Which lines go on, which stay, and what the next hop is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.client_claims import (
    ForwardingPolicy,
    Peer,
    is_loop,
)
from meshlib.errors import ProtocolError
from meshlib.forwarding import (
    dropped_names,
    kept_fields,
    may_switch,
    pass_whole,
    request_fields,
    response_fields,
    sent_upgrade,
)
from meshlib.http1 import parse_fields, parse_request_head
from meshlib.messages import FieldSection
from tests.support.forwarding import BARE, CLIENT, PROXY, head, named, sent

# What stays as it came.


def test_order_case_repetition_and_spaces_are_kept() -> None:
    lines = [
        "ACCEPT:*/*",
        "x-B:  2 ",
        "Cookie: a=1",
        "X-b: 1",
        "cookie: b=2",
        "X-Empty:",
        "X-Odd: caf\xe9",
    ]
    assert sent(head(*lines)) == ["Host: a", *lines]
    assert request_fields(head(*lines), BARE, CLIENT) is not None
    asked = head(*lines)
    assert kept_fields(asked, BARE, CLIENT) is asked.fields.block  # not even copied


def test_nothing_at_all() -> None:
    assert request_fields(head(version=0, host=None), BARE, CLIENT) == b""


def test_what_is_dropped_is_known_by_its_names() -> None:
    fields = head("X-Forwarded-Anything: 1", "x_y: 2", "Connection: x-mine", "X-Mine: 3").fields
    dropped = dropped_names(fields, BARE, CLIENT)
    assert dropped >= {b"x-forwarded-anything", b"x_y", b"x-mine", b"connection", b"x-real-ip"}
    assert dropped.isdisjoint({b"host", b"accept"})
    trusted = dropped_names(fields, BARE, PROXY)
    assert trusted.isdisjoint({b"x-forwarded-anything", b"x-real-ip"})
    assert trusted >= {b"x_y", b"x-mine", b"connection"}


# What belongs to one hop.

HOP = [
    "Connection: keep-alive",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic eDp5",
    "Proxy-Authenticate: Basic",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "Upgrade: websocket",
    "TE: gzip",
    "Proxy: http://evil",
]


@pytest.mark.parametrize("line", HOP)
@pytest.mark.parametrize("peer", [CLIENT, PROXY])
def test_what_belongs_to_one_hop_goes_no_further(line: str, peer: Peer) -> None:
    assert sent(head("A: 1", line, "B: 2"), peer=peer) == ["Host: a", "A: 1", "B: 2"]


def test_what_connection_lists_goes_no_further() -> None:
    asked = head(
        "Connection: close, X-Mine", "x-mine: 1", "Connection: Other", "X-Yours: 2", "OTHER: 3"
    )
    assert sent(asked) == ["Host: a", "X-Yours: 2"]


def test_what_connection_cannot_take_away() -> None:
    lines = [
        "Content-Length: 3",
        "Content-Type: a/b",
        "Content-Encoding: gzip",
        "Via: 1.1 x",
        "Date: now",
        "X-Forwarded-User: u",
    ]
    names = [line.partition(":")[0] for line in lines]
    asked = head("Connection: host, " + ", ".join(names), *lines)
    assert sent(asked, peer=PROXY) == ["Host: a", *lines]
    told = sent(
        head("Connection: x-forwarded-for, via, x-real-ip", "X-Real-IP: 6.6.6.6"),
        ForwardingPolicy(),
    )
    assert named(told, "x-forwarded-for") == ["X-Forwarded-For: 192.0.2.7"]
    assert named(told, "via") == ["Via: 1.1 meshlib"]
    assert not named(told, "x-real-ip")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["TE: trailers"], ["Connection: TE", "TE: trailers"]),
        (["TE: gzip", "TE: deflate, Trailers"], ["Connection: TE", "TE: trailers"]),
        (["TE: nottrailers"], []),
        (["Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked"]),
        (
            ["Transfer-Encoding: CHUNKED", "TE: trailers"],
            ["Transfer-Encoding: chunked", "Connection: TE", "TE: trailers"],
        ),
        (
            ["Connection: Upgrade", "Upgrade: websocket"],
            ["Connection: Upgrade", "Upgrade: websocket"],
        ),
        (
            ["Connection: Upgrade", "Upgrade: H2C, websocket ,, x/1"],
            ["Connection: Upgrade", "Upgrade: websocket, x/1"],
        ),
        (["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"], []),
        (["Connection: Upgrade", "Upgrade: h2c/1, ,"], []),
        (
            ["Connection: Upgrade, TE", "Upgrade: h2c", "TE: trailers"],
            ["Connection: TE", "TE: trailers"],
        ),
        (["Connection: keep-alive", "Upgrade: websocket"], []),
    ],
)
def test_what_is_written_for_the_next_hop(lines: list[str], expected: list[str]) -> None:
    assert sent(head(*lines)) == ["Host: a", *expected]


# Host.


def test_the_authority_of_the_target_replaces_host() -> None:
    assert sent(head("A: 1", target="http://b:81/x")) == ["Host: b:81", "A: 1"]
    assert sent(head("A: 1", target="http://a/x")) == ["Host: a", "A: 1"]
    assert sent(head(target="http://b/", version=0, host=None)) == ["Host: b"]


def test_an_old_client_without_host() -> None:
    assert sent(head("A: 1", version=0, host=None)) == ["A: 1"]
    assert sent(head("A: 1", version=0, host="")) == ["A: 1"]
    told = sent(head(version=0, host=None), ForwardingPolicy(rfc7239=True))
    assert told == [
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Port: 8080",
        "Forwarded: for=192.0.2.7;proto=http",
        "Via: 1.0 meshlib",
    ]


# Names that pass for others.


@pytest.mark.parametrize(
    "line",
    ["X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 6.6.6.6", "Content_Length: 5", "a_b: 1", "_: 1"],
)
@pytest.mark.parametrize("peer", [CLIENT, PROXY])
def test_a_field_that_may_pass_for_another_is_dropped(line: str, peer: Peer) -> None:
    assert sent(head(line, "X-Kept: a_b"), peer=peer) == ["Host: a", "X-Kept: a_b"]


def test_underscores_are_let_through_when_wished_but_never_imitations() -> None:
    policy = replace(BARE, underscores=True)
    harmless = ["a_b: 1", "x.y: 2", "api_key: 3", "X-Kept: 4"]
    imitations = [
        "X_Forwarded_For: 6.6.6.6",
        "X.Forwarded.User: root",
        "x_real-ip: 6",
        "Host_: b",
        "Transfer_Encoding: chunked",
        "Content_Length: 5",
    ]
    assert sent(head(*harmless, *imitations), policy) == ["Host: a", *harmless, "Host_: b"]
    assert sent(head("X.Forwarded.For: 1", "X.Mine: 2")) == ["Host: a", "X.Mine: 2"]


# No field but those meant.

_NAMES = [
    "Host",
    "X-Forwarded-For",
    "Connection",
    "Forwarded",
    "TE",
    "Upgrade",
    "Via",
    "Cookie",
    "x_y",
    "X.Real.IP",
    "X-Other",
    "Proxy",
]
_VALUES = st.text('ab,;: \t\r\n\x00"\\[]=/hH2cтé', max_size=12) | st.sampled_from(
    ["close", "host, via, te", "trailers", "h2c", "upgrade"]
)


@given(
    st.lists(st.tuples(st.sampled_from(_NAMES), _VALUES), max_size=6),
    st.sampled_from([CLIENT, PROXY]),
    st.booleans(),
    st.sampled_from(["set", "label", "off"]),
)
def test_whatever_came_what_goes_on_is_fields(
    pairs: list[tuple[str, str]], peer: Peer, flag: bool, mode: Any
) -> None:
    policy = ForwardingPolicy(mode=mode, rfc7239=flag, underscores=flag)
    block = "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("utf-8", "replace")
    try:
        asked = parse_request_head(
            b"GET / HTTP/1.1\r\n"
            + (b"" if "Host" in dict(pairs) else b"Host: a\r\n")
            + block
            + b"\r\n"
        )
    except ProtocolError:
        return
    wire = request_fields(asked, policy, peer, wanted_by_label=flag)
    again = parse_fields(
        wire
    )  # raises for a bare CR or LF, and for everything else that is no field
    assert again.host == asked.authority
    assert b"proxy" not in again.names
    assert b"x.real.ip" not in again.names
    assert (again.chunked, again.content_length) == (
        asked.fields.chunked,
        asked.fields.content_length,
    )
    assert again.names.count(b"connection") <= 1
    assert not again.upgrade or b"h2c" not in again.upgrade.lower().split(b", ")
    # Every line is one that came, or one of ours.
    ours = (
        b"Host: ",
        b"X-Forwarded-",
        b"Forwarded: ",
        b"Via: 1.1 meshlib",
        b"Connection: ",
        b"Upgrade: ",
        b"TE: ",
        b"Transfer-Encoding: ",
    )
    came = asked.fields.block.split(b"\r\n")
    assert all(line in came or line.startswith(ours) for line in wire.split(b"\r\n"))
    kept = kept_fields(asked, policy, peer, wanted_by_label=flag)
    assert wire.count(b"\r\n") - kept.count(b"\r\n") <= 9
    if pass_whole(asked.fields.names, policy) and asked.authority == asked.fields.host:
        assert kept == asked.fields.block
        assert not is_loop(asked.fields, policy)


@pytest.mark.parametrize(
    ("name", "whole"),
    [(name, True) for name in ("Accept", "Cookie", "A.B")]
    + [
        (name, False)
        for name in (
            "Via",
            "TE",
            "X-Forwarded-Anything",
            "X-Real-IP",
            "Forwarded",
            "X.Real.IP",
            "a_b",
        )
    ]
    + [(name, False) for name in ("Connection", "Transfer-Encoding", "Upgrade", "Proxy")],
)
def test_names_that_pass_whole(name: str, whole: bool) -> None:
    assert pass_whole((b"host", name.lower().encode()), BARE) is whole


# Responses.


def passed_on(*lines: str, upgraded: bool = False) -> list[str]:
    block = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
    wire = response_fields(parse_fields(block, response=True), upgraded=upgraded)
    return wire.decode("latin-1").split("\r\n")[:-1]


def test_a_response_goes_on_as_it_came() -> None:
    lines = [
        "Set-Cookie: a=1",
        "X-b:2",
        "set-cookie: b=2",
        "X_Y: kept",
        "Proxy: 1",
        "X-Forwarded-For: 1",
        "Content-Length: 0",
        "Server: s",
    ]
    assert passed_on(*lines) == lines
    assert passed_on() == []
    fields = parse_fields(b"A: 1\r\n", response=True)
    assert response_fields(fields) is fields.block


@pytest.mark.parametrize(
    "line",
    [line for line in HOP if not line.startswith(("Proxy:", "Proxy-Authorization"))]
    + ["Transfer-Encoding: chunked"],
)
def test_what_belongs_to_one_hop_of_a_response(line: str) -> None:
    assert passed_on("A: 1", line, "A: 2") == ["A: 1", "A: 2"]


def test_what_connection_lists_in_a_response() -> None:
    kept = ["Set-Cookie: a=1", "Content-Length: 3", "Content-Type: a/b", "Date: now", "Via: 1.1 x"]
    listed = "Connection: X-Mine, set-cookie, content-length, content-type, date, via"
    assert passed_on(listed, "X-Mine: 1", *kept) == kept


def test_the_fields_of_an_upgrade_stay_in_a_101_alone() -> None:
    lines = ["Connection: Upgrade, X", "Upgrade: websocket", "X: 1", "Sec-WebSocket-Accept: y"]
    assert passed_on(*lines, upgraded=True) == [
        "Sec-WebSocket-Accept: y",
        "Connection: Upgrade",
        "Upgrade: websocket",
    ]
    assert passed_on(*lines) == ["Sec-WebSocket-Accept: y"]
    assert passed_on("Connection: close", "Upgrade: websocket", upgraded=True) == []


def test_a_response_without_a_body_has_no_length() -> None:
    section = parse_fields(b"Content-Length: 5\r\nX: y\r\n", response=True)
    assert response_fields(section, bodiless=True) == b"X: y\r\n"
    assert response_fields(section) == b"Content-Length: 5\r\nX: y\r\n"


@pytest.mark.parametrize(
    ("block", "upgrade"),
    [
        (b"", b""),
        (b"Upgrade: websocket\r\n", b""),  # without Connection it is no wish (RFC 9110 7.8)
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"websocket"),
        (b"Connection: Upgrade\r\nUpgrade: h2c, WebSocket ,x/1\r\n", b"WebSocket, x/1"),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b""),
        (b"Connection: Upgrade\r\nUpgrade: H2C/1\r\n", b""),
    ],
)
def test_the_upgrade_that_is_sent(block: bytes, upgrade: bytes) -> None:
    fields = parse_fields(b"Host: a\r\n" + block)
    assert sent_upgrade(fields) == upgrade
    lines = request_fields(
        parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + block + b"\r\n"),
        ForwardingPolicy(),
        CLIENT,
    )
    assert (b"Upgrade: %s\r\n" % upgrade in lines) is bool(upgrade)
    assert lines.count(b"pgrade") == 2 * bool(upgrade)


def test_only_what_was_sent_may_be_switched_to() -> None:
    def response(value: bytes) -> FieldSection:
        return parse_fields(b"Connection: Upgrade\r\nUpgrade: %s\r\n" % value, response=True)

    assert may_switch(b"websocket, x/1", response(b"X/1"))
    assert may_switch(b"websocket, x/1", response(b"WebSocket, x/1"))
    assert not may_switch(b"websocket", response(b"websocket, h2c"))
    assert not may_switch(b"", response(b"websocket"))
    assert not may_switch(b"websocket", response(b" ,"))
    assert not may_switch(b"websocket", parse_fields(b"X: y\r\n", response=True))
