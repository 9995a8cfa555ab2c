"""Fields that belong to one hop, fields that say who asked, and fields that somebody forged."""

from __future__ import annotations

import re
from collections.abc import Callable

from meshlib.client_claims import ForwardingPolicy
from tests.support.backend import Backend, responding
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.networks import parse_networks
from tests.support.running import RunningGateway

Make = Callable[..., Backend]

TRUSTING = ForwardingPolicy(trusted_proxies=parse_networks(["127.0.0.0/8"]), rfc7239=True)


def arrived(site: RunningGateway, upstream: Backend, *lines: str) -> dict[str, list[str]]:
    """Ask with these field lines; returns what the backend got, names in lower case."""
    known = len(upstream.requests)
    assert site.client().ask(get("/", "a", *lines)).status == 200
    upstream.wait(lambda: len(upstream.requests) > known)
    fields: dict[str, list[str]] = {}
    for line in upstream.requests[-1].decode("latin-1").split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), []).append(value.strip())
    return fields


def test_hop_by_hop_of_requests(start: Start, backend: Make) -> None:
    upstream = backend()
    site = start(upstream)
    got = arrived(
        site, upstream, "Connection: X-Hop, keep-alive", "Connection: x-other", "x-hop: 1",
        "X-Other: 2", "X-End: 3", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eA==", "Proxy-Authenticate: Basic", "TE: gzip", "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__", "Proxy: http://evil/",
    )  # fmt: skip
    assert set(got) == {
        "host", "x-end", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
        "x-forwarded-port", "via", "x-request-id",
    }  # fmt: skip


def test_hop_by_hop_of_responses(start: Start, backend: Make) -> None:
    """Removed there too; Set-Cookie lines stay apart and in order; nothing is added."""
    upstream = backend(
        responding(
            b"HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=1\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
            b"Keep-Alive: timeout=5\r\n"
            b"Upgrade: h2c\r\nProxy-Authenticate: Basic\r\nSet-Cookie: b=2\r\n"
            b"Location: http://elsewhere/\r\nContent-Length: 2\r\n\r\nok"
        )
    )
    site = start(upstream)
    client = site.client()
    for _ in range(2):
        response = client.ask(get())
        assert response.head == (
            b"HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nLocation: http://elsewhere/\r\n"
            b"Content-Length: 2\r\n\r\n"
        )
    assert len(upstream.peers) == 1


def test_what_a_response_cannot_name_away(start: Start, backend: Make) -> None:
    """Connection must not take the framing or the cookies out of a response."""
    head = (
        b"HTTP/1.1 200 OK\r\nConnection: content-length, set-cookie\r\nSet-Cookie: a\r\n"
        b"Content-Length: 2\r\n\r\n"
    )
    upstream = backend(responding(head + b"ok"))
    site = start(upstream)
    response = site.client().ask(get())
    assert (response.one("content-length"), response.one("set-cookie"), response.body) == (
        "2",
        "a",
        b"ok",
    )


def test_the_upstream_is_told_who_asked(start: Start, backend: Make) -> None:
    upstream = backend()
    site = start(upstream)
    got = arrived(site, upstream)
    assert got["x-forwarded-for"] == ["127.0.0.1"]
    assert got["x-forwarded-proto"] == ["http"]
    assert got["x-forwarded-host"] == ["a"]
    assert got["x-forwarded-port"] == [str(site.address[1])]
    assert got["via"] == ["1.1 meshlib"]
    assert "forwarded" not in got


SPOOFED = (
    "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7", "x-forwarded-proto: https",
    "X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "X-Forwarded-Server: evil",
    "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6", "X_Forwarded_For: 6.6.6.6",
    "X-Forwarded_For: 6.6.6.6", "X-Request-ID: evil", "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Ssl: on", "Content_Length: 5",
)  # fmt: skip


def test_spoofed_claims_are_dropped(start: Start, backend: Make) -> None:
    """By default nobody is trusted; a list of Connection options cannot take our own fields
    away.
    """
    upstream = backend()
    site = start(upstream)
    for connection in (
        "X-Forwarded-For, X-Forwarded-Host, x-real-ip, Host, Via, X-Request-ID",
        "keep-alive",
    ):
        got = arrived(site, upstream, f"Connection: {connection}", *SPOOFED)
        assert got["x-forwarded-for"] == ["127.0.0.1"]
        assert got["x-forwarded-host"] == ["a"]
        assert got["host"] == ["a"]
        assert got["via"] == ["1.1 meshlib"]
        assert "6.6.6.6" not in repr(got)
        assert "evil" not in repr(got)
        assert not [name for name in got if "_" in name]
        assert len(got["x-request-id"]) == 1


def test_claims_of_a_trusted_peer(start: Start, backend: Make) -> None:
    """What it says is passed on, with the peer's own address behind it."""
    upstream = backend()
    site = start(upstream, policy=TRUSTING)
    said = (
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "Forwarded: for=6.6.6.6",
        "X-Request-ID: mine",
        "Via: 1.0 cdn",
    )
    got = arrived(site, upstream, *said)
    assert got["x-forwarded-for"] == ["6.6.6.6, 127.0.0.1"]
    assert got["x-forwarded-proto"] == ["https"]
    assert got["forwarded"] == ['for=6.6.6.6, for=127.0.0.1;host="a";proto=http']
    assert got["x-request-id"] == ["mine"]
    assert got["via"] == ["1.0 cdn", "1.1 meshlib"]
    assert arrived(site, upstream)["x-request-id"][0] != "mine"


def test_request_ids_differ(start: Start, backend: Make) -> None:
    """One each, also for requests equal to the byte on one connection."""
    upstream = backend()
    site = start(upstream)
    client = site.client()
    client.send(get() * 200)
    for _ in range(200):
        assert client.read_response().status == 200
    found = [re.findall(rb"(?i)x-request-id: (\S+)", request) for request in upstream.requests]
    assert all(len(ids) == 1 for ids in found)
    assert len({ids[0] for ids in found}) == 200


def test_lines_are_not_remembered_for_others(start: Start, backend: Make) -> None:
    """Equal fields, but another host, version or target: what is kept from the request before must
    not show.
    """
    upstream = backend()
    site = start(upstream)
    client = site.client()
    for wire, host, via in (
        (b"GET http://one/ HTTP/1.1\r\nHost: a\r\n\r\n", b"one", b"1.1"),
        (b"GET http://two/ HTTP/1.1\r\nHost: a\r\n\r\n", b"two", b"1.1"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"a", b"1.1"),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", b"a", b"1.0"),
    ):
        assert client.ask(wire).status == 200
        last = upstream.requests[-1]
        assert b"\r\nHost: " + host + b"\r\n" in last
        assert b"X-Forwarded-Host: " + host + b"\r\n" in last
        assert b"Via: " + via + b" meshlib\r\n" in last


def test_a_request_that_runs_in_a_circle_is_a_508(start: Start, backend: Make) -> None:
    """A request that has been here often enough already."""
    upstream = backend()
    site = start(upstream)
    response = site.client().ask(get("/", "a", *["Via: 1.1 meshlib"] * 8))
    assert response.status == 508
    assert response.one("connection") == "close"
    assert site.client().ask(get("/", "a", *["Via: 1.1 meshlib"] * 7)).status == 200
    assert site.reasons(2) == ["loop", None]


def test_nothing_is_added_when_it_is_switched_off(start: Start, backend: Make) -> None:
    upstream = backend()
    site = start(upstream, policy=ForwardingPolicy(mode="off", via="", request_id=False))
    assert site.client().ask(get("/", "a", "Accept: x")).status == 200
    assert upstream.requests == [get("/", "a", "Accept: x")]
