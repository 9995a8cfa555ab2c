"""What others were broken by: cases after the lessons of published vulnerabilities, each on real
sockets.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable

from meshlib.client_claims import ForwardingPolicy
from tests.support.backend import PATIENCE, Backend, Lost, Peer, responding
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.networks import parse_networks
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_many_lines_of_one_claim(start: Start, backend: Make) -> None:
    """CVE-2013-2175: a claim over ninety lines is dropped whole; of a trusted peer it is one field,
    in its order, with the peer last.
    """
    upstream = backend()
    lines = [f"X-Forwarded-For: 10.0.0.{number}" for number in range(90)]
    assert start(upstream).client().ask(get("/", "a", *lines)).status == 200
    assert upstream.requests[0].lower().count(b"x-forwarded-for:") == 1
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in upstream.requests[0]
    trusting = start(
        upstream, policy=ForwardingPolicy(trusted_proxies=parse_networks(["127.0.0.1"]))
    )
    assert trusting.client().ask(get("/", "a", *lines)).status == 200
    told = ", ".join([*(f"10.0.0.{number}" for number in range(90)), "127.0.0.1"])
    assert f"X-Forwarded-For: {told}\r\n".encode() in upstream.requests[1]


def test_what_connection_may_not_take_away(start: Start, backend: Make) -> None:
    """CVE-2024-45410, CVE-2025-48865: neither what we say of the client nor what frames and routes
    the request, in any case of letters.
    """
    upstream = backend()
    listed = (
        "X-FORWARDED-FOR, x-forwarded-PROTO, X-Real-IP, Forwarded, Via, HOST, "
        "Content-LENGTH, X-Request-ID"
    )
    body = (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: %s\r\n\r\nabc"
        % listed.encode()
    )
    assert start(upstream).client().ask(body).status == 200
    (request,) = upstream.requests
    for line in (
        b"Host: a",
        b"Content-Length: 3",
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Proto: http",
        b"Via: 1.1 meshlib",
    ):
        assert b"\r\n" + line + b"\r\n" in request
    assert b"\r\nX-Request-ID: " in request
    assert request.endswith(b"\r\n\r\nabc")


def test_an_upload_that_is_broken_off_ends_its_upstream_connection(
    start: Start, backend: Make
) -> None:
    """CVE-2026-33555: a body shorter than it was announced must not be filled up with the next
    client's request.
    """
    upstream = backend()
    site = start(upstream)
    assert site.client().ask(get("/warm")).status == 200
    for number in range(3):
        client = site.client()
        client.send(
            b"POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000
        )
        peer = upstream.peer(number)
        upstream.wait(lambda peer=peer: peer.raw.count(b"x") >= 50_000)  # type: ignore[misc]  # mypy does not infer a lambda's default
        client.reset()
        assert upstream.ended(number)
        assert site.client().ask(get(f"/next{number}")).status == 200
    assert [request.split()[1] for request in upstream.requests] == [
        b"/warm",
        b"/next0",
        b"/next1",
        b"/next2",
    ]


def test_trailers_without_end(start: Start, backend: Make) -> None:
    """CVE-2026-22815: trailers have the limits of a head, whichever side sends them."""
    upstream = backend()
    site = start(upstream)
    client = site.client()
    client.send(CHUNKED + b"0\r\n" + b"X-T: y\r\n" * 200_000)
    try:
        assert client.read_response().status in (400, 431)
    except Lost:
        assert client.ended == "reset"  # it was still sending when we had enough
    assert upstream.requests == []

    begun = threading.Event()

    def endless(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        assert begun.wait(PATIENCE)
        peer.send(b"0\r\n")
        while True:
            peer.send(b"X-T: y\r\n" * 1000)

    site = start(backend(endless))
    client = site.client()
    client.send(get())
    assert client.read_head().status == 200
    begun.set()
    assert b"X-T" not in client.read_rest()
    assert site.log(1)[0]["reason"]


def test_thousands_of_forged_sessions(start: Start, backend: Make) -> None:
    """Values that nobody gave out reach members of the service only, are spread over them, whatever
    they look like.
    """

    def saying(name: bytes) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            while True:
                peer.read_request()
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)

        return script

    members = [backend(saying(name)) for name in (b"1", b"2", b"3")]
    stranger = backend()
    site = start(snapshot_of({"a": members, "b": [stranger]}, sticky="SID"))
    client = site.client()
    rng = random.Random(7)
    letters = [chr(code) for code in range(0x21, 0x7F) if chr(code) != ";"]
    seen: Counter[bytes] = Counter()
    for number in range(1500):
        guess = rng.choice(
            [
                f"127.0.0.1:{stranger.port}",
                f"b.{stranger.port}",
                "".join(rng.choices(letters, k=rng.randrange(60))),
            ]
        )
        response = client.ask(get("/", "a", f"Cookie: SID={number}{guess}"))
        assert response.status == 200
        seen[response.body] += 1
    assert set(seen) == {b"1", b"2", b"3"}
    assert min(seen.values()) > 350  # of 500: each value goes to one of them by its digest
    assert stranger.peers == []


def test_errors_tell_nothing_of_what_is_behind(start: Start, backend: Make) -> None:
    """No address, port, name of a product or version, and no trace of the failure; browsers are
    told not to guess a type.
    """
    broken = backend(responding(b"HTTP/9.9 boom 10.9.8.7 secret\r\n\r\n"))
    site = start(snapshot_of({"a": [broken], "empty": []}), quick(head_size=2048))
    cases = [
        (get(), 502),
        (get("/", "empty"), 503),
        (get("/", "x"), 404),
        (b"\x00\r\n\r\n", 400),
        (get("/" + "x" * 3000), 414),
    ]
    for wire, status in cases:
        client = site.client()
        client.send(wire)
        response = client.read_response()
        assert response.status == status
        said = response.head + response.body
        for word in (
            b"127.0.0.1",
            str(broken.port).encode(),
            b"secret",
            b"boom",
            b"Traceback",
            b"meshlib",
            b"Python",
            b"Server:",
        ):
            assert word not in said
        assert response.one("x-content-type-options") == "nosniff"


def test_the_limit_of_heads_holds_for_those_that_repeat_their_fields(
    start: Start, backend: Make
) -> None:
    upstream = backend()
    client = start(upstream, quick(head_size=2048)).client()
    assert [
        client.ask(get(target)).status for target in ("/", "/" + "x" * 1900, "/" + "x" * 3000)
    ] == [200, 200, 414]
    assert len(upstream.requests) == 2
