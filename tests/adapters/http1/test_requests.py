"""What clients send: refused, or forwarded as it came. Raw bytes in, raw bytes out."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from meshlib.client_claims import ForwardingPolicy
from tests.support.backend import OK, Backend, Peer
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.running import quick, snapshot_of

VECTORS = Path(__file__).parents[2] / "vectors" / "http1"
REFUSED: list[tuple[str, str, int, str]] = [
    (
        name,
        "\r\n" + text if text.startswith("\r\n") else text,
        status,
        reason,
    )  # on the wire one empty line is skipped
    for name, text, status, reason in json.loads(
        (VECTORS / "refused-requests.json").read_text("utf-8")
    )
]
ACCEPTED: list[tuple[str, str, dict[str, object]]] = json.loads(
    (VECTORS / "accepted-requests.json").read_text("utf-8")
)

Make = Callable[..., Backend]

# Nothing is added, so that what arrives can be compared to what was sent.
BARE = ForwardingPolicy(mode="off", via="", request_id=False, underscores=True)


def test_a_refused_head_reaches_no_backend(start: Start, backend: Make) -> None:
    """Every refused vector: its status, its reason in the log, the connection closed, and not a
    byte for the backend.
    """
    upstream = backend()
    site = start(upstream)
    for name, text, status, _ in REFUSED:
        client = site.client()
        client.send(text.encode("latin-1"))
        response = client.read_response("HEAD" if text.startswith("HEAD") else "GET")
        assert (name, response.status) == (name, status)
        assert response.one("connection") == "close"
        assert client.at_end()
        client.close()
    assert upstream.peers == []
    assert site.reasons(len(REFUSED)) == [reason for _, _, _, reason in REFUSED]


def test_refused_behind_a_good_one(start: Start, backend: Make) -> None:
    """A pipelined bad head spoils only itself: the request before it has its response first."""
    upstream = backend()
    site = start(upstream)
    for name, text, status, _ in REFUSED[::4]:
        client = site.client()
        client.send(get("/first") + text.encode("latin-1") + get("/never"))
        assert client.read_response().body == b"ok"
        assert (name, client.read_response().status) == (name, status)
        assert client.at_end()
    assert {request.split()[1] for request in upstream.requests} == {b"/first"}


def test_accepted_byte_for_byte(start: Start, backend: Make) -> None:
    """Every accepted vector arrives with its method and target, and with its field lines as they
    were and in their order.
    """
    upstream = backend(_respond_to_heads)
    site = start(upstream, policy=BARE)
    for name, text, expected in ACCEPTED:
        client = site.client()
        raw = text.encode("latin-1")
        client.send(raw)
        assert (name, client.read_response().status) == (name, 200)
        client.close()
        line, *lines = bytes(upstream.peers[-1].raw).split(b"\r\n")
        method, target, version = line.split(b" ")
        assert version == b"HTTP/1.1"
        assert method == raw.split(b" ")[0], name
        assert target.decode("latin-1") == expected.get(
            "target", raw.split(b" ")[1].decode("latin-1")
        ), name
        hosts = [
            one.partition(b":")[2].strip() for one in lines if one.lower().startswith(b"host:")
        ]
        assert hosts == [str(expected.get("authority", "a") or "any:80").encode()], name
        hop = (b"host:", b"connection:", b"upgrade:", b"transfer-encoding:")
        kept = [one for one in raw[:-4].split(b"\r\n")[1:] if not one.lower().startswith(hop)]
        assert [one for one in lines[:-2] if not one.lower().startswith(hop)] == kept, name


def _respond_to_heads(peer: Peer) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    peer.read_rest()


def test_path_query_and_fields_untouched(start: Start, backend: Make) -> None:
    """The first probes of every peer: raw path, repeated fields in order, encodings and odd
    values.
    """
    upstream = backend()
    site = start(upstream, policy=BARE)
    target = (
        "/a%2Fb;c//d/%7Ex/../é".encode().replace("é".encode(), b"%c3%a9")
        + b"?q=a%20b&z=%2F&&=;%%&?"
    )
    fields = (
        b"Accept: b\r\naccept: a\r\nX-Empty:\r\nX-Space:  two  words\t\r\n"
        b"ACCEPT-Encoding: gzip;q=0, br\r\n"
        b'Cookie: a=1; b=2\r\nCookie: c="x,y"\r\nX-Eight: \xe9\xff\r\nAuthorization: Basic eA==\r\n'
        b"Range: bytes=0-,1-,2-\r\n"
    )
    response = site.client().ask(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    assert response.body == b"ok"
    assert upstream.requests == [b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"]


def test_the_authority_of_an_absolute_target_wins_over_host(start: Start, backend: Make) -> None:
    """The authority of the target wins over Host, is routed by, and is what the backend sees."""
    upstream, other = backend(), backend()
    site = start(snapshot_of({"a": [upstream], "b": [other]}), policy=BARE)
    client = site.client()
    client.ask(b"GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
    client.ask(b"GET http://A:80 HTTP/1.1\r\nHost: b\r\n\r\n")
    assert other.requests == [b"GET /x?y HTTP/1.1\r\nHost: b\r\n\r\n"]
    assert upstream.requests == [b"GET / HTTP/1.1\r\nHost: A:80\r\n\r\n"]


def test_hosts_nobody_can_have(start: Start, backend: Make) -> None:
    """Syntactically a field, but no authority: refused, closed, and never forwarded."""
    upstream = backend()
    site = start(upstream)
    for host in (
        b"a b",
        b"a/b",
        b"u@a",
        b"a:99999",
        b"a:x",
        b"a,b",
        b"[::1",
        b"a\\b",
        b"a?b",
        b"a#b",
        b"\xe9",
        b"<a>",
        b"a%",
        b"a::1",
    ):
        client = site.client()
        response = client.ask(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert (host, response.status) == (host, 400)
        assert client.at_end()
    response = site.client().ask(b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.status == 400
    assert upstream.peers == []


def test_leading_empty_lines(start: Start, backend: Make) -> None:
    """One before each request is skipped (RFC 9112 2.2); it may come in two reads."""
    upstream = backend()
    site = start(upstream, policy=BARE)
    client = site.client()
    assert client.ask(b"\r\n" + get("/1")).status == 200
    client.send(get("/2") + b"\r\n" + get("/3"))
    assert [client.read_response().status for _ in "23"] == [200, 200]
    client.send(b"\r")
    assert client.is_open()
    assert client.ask(b"\n" + get("/4")).status == 200
    assert [r.split()[1] for r in upstream.requests] == [b"/1", b"/2", b"/3", b"/4"]
    assert client.ask(b"\r\n\r\n" + get("/5")).status == 400


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_requests_may_be_cut_anywhere(start: Start, backend: Make, size: int) -> None:
    """Where the reads end changes nothing."""
    upstream = backend()
    site = start(upstream, policy=BARE)
    client = site.client()
    wire = (
        get("/1")
        + b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n"
        + b"3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\nT: v\r\n\r\n"
        + b"PUT /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nwxyz"
    )
    for at in range(0, len(wire), size):
        client.send(wire[at : at + size])
    assert [client.read_response().status for _ in range(3)] == [200, 200, 200]
    first, second, third = upstream.requests
    assert first == get("/1")
    assert second.startswith(
        b"POST /2 HTTP/1.1\r\nHost: a\r\nTrailer: T\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n"
        b"abc\r\n"
    )
    assert second.endswith(b"\r\n0123456789\r\n0\r\nT: v\r\n\r\n")
    assert third == b"PUT /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nwxyz"


def test_pipelined_in_order_by_their_own_hosts(start: Start, backend: Make) -> None:
    """Each request goes where its own Host says, and the responses come in the order of the
    requests.
    """

    def naming(name: bytes) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            while True:
                target = peer.read_request().split()[1]
                peer.send(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                    % (len(name + target), name + target)
                )

        return script

    hosts = {name: [backend(naming(name.encode()))] for name in ("a", "b", "c")}
    site = start(snapshot_of(hosts))
    chosen = random.Random(1).choices("abcx", k=400)
    client = site.client()
    client.send(b"".join(get(f"/{n}", host) for n, host in enumerate(chosen)))
    for n, host in enumerate(chosen):
        response = client.read_response()
        assert (
            (response.status, response.body) == (200, f"{host}/{n}".encode())
            if host != "x"
            else response.status == 404
        )
    assert client.is_open()


def test_thousands_of_pipelined_requests_are_all_served(start: Start, backend: Make) -> None:
    """As many as a client likes, with bodies between them; the responses are ours or a backend's;
    no recursion, none lost.
    """
    upstream = backend()
    site = start(snapshot_of({"a": [upstream]}))
    client = site.client()
    count = 3000
    client.send(get("/", "nowhere") * count + get("/last"))
    assert [client.read_response().status for _ in range(count)] == [404] * count
    assert client.read_response().status == 200
    post = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    client.send(b"".join(post % n for n in range(500)))
    assert [client.read_response().status for _ in range(500)] == [200] * 500
    assert [r.split()[1] for r in upstream.requests[1:]] == [b"/%d" % n for n in range(500)]


def test_nothing_after_close(start: Start, backend: Make) -> None:
    """`Connection: close` ends it; what is pipelined behind is not served."""
    upstream = backend()
    site = start(upstream)
    client = site.client()
    client.send(get("/1", "a", "Connection: close") + get("/2"))
    response = client.read_response()
    assert (response.status, response.one("connection")) == (200, "close")
    assert client.at_end()
    assert len(upstream.requests) == 1


def test_http_1_0(start: Start, backend: Make) -> None:
    """Closed after the response, unless it asked to be kept; without Host the upstream gets a name
    that is one.
    """
    upstream = backend()
    site = start(upstream, policy=BARE)
    client = site.client()
    response = client.ask(b"GET /old HTTP/1.0\r\n\r\n")
    assert (response.status, response.one("connection"), response.body) == (200, "close", b"ok")
    assert client.at_end()
    client = site.client()
    for _ in range(2):
        response = client.ask(b"GET /kept HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        assert (response.one("connection"), response.body) == ("keep-alive", b"ok")
    assert [re.sub(rb"\r\n.*", b"", r, flags=re.S) for r in upstream.requests] == [
        b"GET /old HTTP/1.1",
        b"GET /kept HTTP/1.1",
        b"GET /kept HTTP/1.1",
    ]


def test_an_upgrade_of_http_1_0_is_none(start: Start, backend: Make) -> None:
    """RFC 9110 7.8: a server must ignore Upgrade in HTTP/1.0."""
    upstream = backend()
    site = start(upstream, policy=BARE)
    client = site.client()
    assert (
        client.ask(
            b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        ).status
        == 200
    )
    assert b"pgrade" not in upstream.requests[0]


def test_limits_of_heads(start: Start, backend: Make) -> None:
    """414 for a long line, 431 for long or many fields; one byte less, or one field, is served."""
    upstream = backend()
    site = start(upstream, quick(head_size=2048, field_count=20))
    for wire, status in (
        (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"x" * 3000, 414),
        (get("/", "a", "X: " + "y" * 3000), 431),
        (get("/", "a", *["X: y"] * 20), 431),
        (get("/", "a", *["X: y"] * 19), 200),
        (get("/", "a", "X: " + "y" * (2048 - len(get()) - 5)), 200),
        (get("/", "a", "X: " + "y" * (2048 - len(get()) - 4)), 431),
    ):
        client = site.client()
        client.send(wire)
        assert client.read_response().status == status
        assert status == 200 or client.at_end()
    assert len(upstream.requests) == 2


def test_redirect_and_no_route(start: Start, backend: Make) -> None:
    """Responses of our own: complete, silent about us, and the connection goes on, unless a body is
    still to come.
    """
    from meshlib.model import RedirectRule

    upstream = backend()
    rule = RedirectRule("https://new.example.com", 308)
    site = start(snapshot_of({"a": [upstream], "empty": []}, redirects={"old": rule}))
    client = site.client()
    response = client.ask(get("//evil/%0d%0aX:y?z", "old"))
    assert (response.status, response.one("location"), response.body) == (
        308,
        "https://new.example.com//evil/%0d%0aX:y?z",
        b"",
    )
    for method in ("GET", "HEAD"):
        response = client.ask(get("/", "nowhere").replace(b"GET", method.encode()), method)
        assert (response.status, response.one("x-content-type-options")) == (404, "nosniff")
        assert response.one("server") is None
    response = client.ask(get("/", "empty"))
    assert (response.status, response.one("retry-after")) == (503, "1")
    whole = b"POST / HTTP/1.1\r\nHost: old\r\nContent-Length: 3\r\n\r\nabc"
    assert client.ask(whole).status == 308
    assert client.ask(get()).body == b"ok"
    response = client.ask(whole[:-1])
    assert (response.status, response.one("connection")) == (308, "close")
    assert client.at_end()
    assert len(upstream.requests) == 1


def test_an_asterisk_is_forwarded_as_it_came(start: Start, backend: Make) -> None:
    upstream = backend()
    site = start(upstream, policy=BARE)
    assert site.client().ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    assert upstream.requests == [b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"]
    assert OK.endswith(b"ok")


@pytest.mark.parametrize(
    "start_of",
    [b"\x16\x03\x01\x02\x00\x01", b"GET /\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"HELO there\r\n"],
)
def test_other_protocols_are_told_at_once(start: Start, backend: Make, start_of: bytes) -> None:
    """Who speaks something else, or HTTP/0.9, gets a response before any time-out."""
    upstream = backend()
    site = start(upstream)
    client = site.client()
    client.send(start_of)
    assert client.read_response().status == 400
    assert client.at_end()
    assert site.reasons(1) == ["bad_request_line"]
    assert upstream.peers == []
