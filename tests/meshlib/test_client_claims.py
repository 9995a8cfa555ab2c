"""Who may claim what about the client, and what the next hop is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.client_claims import (
    MAX_HOPS,
    UNIX,
    ForwardingPolicy,
    Peer,
    added_fields,
    claimed_address,
    claimed_secure,
    client_address,
    is_loop,
    is_secure,
    is_trusted,
)
from meshlib.errors import ConfigurationError
from meshlib.forwarding import request_fields
from meshlib.http1 import parse_fields, parse_request_head
from tests.support.forwarding import CLIENT, PROXY, head, named, sent
from tests.support.networks import parse_networks

TEN = tuple(parse_networks(["10.0.0.0/8"]))


def test_via_names_the_version() -> None:
    for version, named_so in ((0, "1.0"), (1, "1.1"), (2, "2")):
        told = sent(head()._replace(minor_version=version), ForwardingPolicy())
        assert named(told, "via") == [f"Via: {named_so} meshlib"]


# Who asked.

CLAIMS = [
    "Forwarded: for=6.6.6.6",
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-For: 7.7.7.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Anything-New: evil",
    "X-Forwarded-User: root",
    "X-Real-IP: 6.6.6.6",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "True-Client-IP: 6.6.6.6",
    "X-Request-ID: 1",
]


def test_what_nobody_may_claim() -> None:
    told = sent(head(*CLAIMS, "X-Kept: 1"), ForwardingPolicy(rfc7239=True))
    assert told == [
        "Host: a",
        "X-Kept: 1",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a",
        "X-Forwarded-Port: 8080",
        'Forwarded: for=192.0.2.7;host="a";proto=http',
        "Via: 1.1 meshlib",
    ]
    assert sent(head(*CLAIMS)) == ["Host: a"]


def test_what_a_trusted_peer_claims_is_carried_on() -> None:
    told = sent(head(*CLAIMS, "Via: 1.0 edge"), ForwardingPolicy(rfc7239=True), PROXY)
    rewritten = (
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
    )
    passed = [line for line in CLAIMS if line.partition(":")[0].lower() not in rewritten]
    assert told == [
        "Host: a",
        *passed,
        "Via: 1.0 edge",
        "X-Forwarded-For: 6.6.6.6, 7.7.7.7, 10.0.0.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Port: 1",
        'Forwarded: for=6.6.6.6, for=10.0.0.9;host="a";proto=http',
        "Via: 1.1 meshlib",
    ]


def test_a_trusted_peer_that_claims_nothing() -> None:
    told = sent(head("X-Forwarded-For:", "X-Forwarded-Proto: "), ForwardingPolicy(via=""), PROXY)
    assert told[1:] == [
        "X-Forwarded-For: 10.0.0.9",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a",
        "X-Forwarded-Port: 8080",
    ]


@pytest.mark.parametrize(
    ("mode", "wanted", "trusted", "expected"),
    [
        ("set", False, False, ["For: 192.0.2.7", "Proto: http", "Host: a", "Port: 8080"]),
        ("set", True, False, ["For: 192.0.2.7", "Proto: http", "Host: a", "Port: 8080"]),
        ("label", False, False, []),
        ("label", True, False, ["For: 192.0.2.7"]),
        ("label", False, True, ["For: 6.6.6.6", "Proto: https"]),
        ("label", True, True, ["Proto: https", "For: 6.6.6.6, 192.0.2.7"]),
        ("off", False, False, []),
        ("off", True, False, []),
        ("off", True, True, ["For: 6.6.6.6", "Proto: https"]),
    ],
)
def test_what_is_told_of_the_client_depends_on_the_mode(
    mode: Any, wanted: bool, trusted: bool, expected: list[str]
) -> None:
    policy = ForwardingPolicy(mode=mode, via="")
    asked = head("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https")
    told = sent(asked, policy, CLIENT._replace(trusted=trusted), wanted_by_label=wanted)
    assert told[1:] == [f"X-Forwarded-{line}" for line in expected]


@pytest.mark.parametrize(
    ("address", "plain", "node"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7", '"[2001:db8::7]"'),
        ("fe80::1%eth0", "fe80::1", '"[fe80::1]"'),
    ],
)
def test_an_address_is_written_as_each_field_wants_it(address: str, plain: str, node: str) -> None:
    told = sent(head(), ForwardingPolicy(rfc7239=True, via=""), Peer(address, "https", 443))
    assert told[1] == f"X-Forwarded-For: {plain}"
    assert told[5] == f'Forwarded: for={node};host="a";proto=https'


@pytest.mark.parametrize("address", ["", "unix:"])
def test_what_is_not_known_is_left_out(address: str) -> None:
    """As of a peer on a Unix socket, which has no address and no port."""
    policy = ForwardingPolicy(rfc7239=True, via="")
    told = sent(head("X-Forwarded-For: 6.6.6.6"), policy, Peer(address, "http", 0))
    assert told == [
        "Host: a",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a",
        'Forwarded: host="a";proto=http',
    ]


def test_a_trusted_peer_without_an_address_adds_nothing_of_its_own() -> None:
    claims = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Port: 8443", "X-Forwarded-Proto: https"]
    told = sent(head(*claims), ForwardingPolicy(via=""), Peer("unix:", "http", 0, trusted=True))
    assert told[1:] == [claims[0], claims[2], "X-Forwarded-Host: a", claims[1]]


def test_a_client_that_names_no_host() -> None:
    policy = ForwardingPolicy(rfc7239=True, via="")
    assert added_fields(head(version=0, host=None), policy, CLIENT).split(b"\r\n") == [
        b"X-Forwarded-For: 192.0.2.7",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Port: 8080",
        b"Forwarded: for=192.0.2.7;proto=http",
        b"",
    ]


def test_what_is_added_does_not_depend_on_the_fields() -> None:
    policy = ForwardingPolicy(rfc7239=True)
    other = head(*CLAIMS, "Connection: close", "TE: trailers")
    assert added_fields(other, policy, CLIENT) == added_fields(head(), policy, CLIENT)


# Loops.


def test_a_loop_is_seen() -> None:
    policy = ForwardingPolicy(via="gate")
    entry = "1.1 gate"
    assert is_loop(parse_fields(f"Via: {', '.join([entry] * MAX_HOPS)}\r\n".encode()), policy)
    assert is_loop(parse_fields(b"VIA: 1.1 gate (x)\r\n" * MAX_HOPS), policy)
    assert not is_loop(
        parse_fields(
            f"Via: {', '.join([entry] * (MAX_HOPS - 1))}, 1.1 gates, gate, , 1.1 other\r\n".encode()
        ),
        policy,
    )
    assert not is_loop(parse_fields(b"A: 1\r\n"), policy)
    assert not is_loop(parse_fields(b"Via: 1.1 gate\r\n" * 20), ForwardingPolicy(via=""))


def test_we_recognize_ourselves_after_as_many_hops() -> None:
    asked, hops = head(), 0
    policy = ForwardingPolicy()
    while not is_loop(asked.fields, policy):
        asked = asked._replace(fields=parse_fields(request_fields(asked, policy, CLIENT)))
        hops += 1
    assert hops == MAX_HOPS


@pytest.mark.parametrize("via", ["a b", "a\r\nX: y", "\xe9", "a,b", "(x)"])
def test_a_pseudonym_is_one_word(via: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ForwardingPolicy(via=via)
    assert caught.value.where == "forwarding.via"


@pytest.mark.parametrize("via", ["", "edge-1", "gate.example.com:8080", "[2001:db8::1]:80"])
def test_a_name_for_via_is_a_token(via: str) -> None:
    assert ForwardingPolicy(via=via).via == via


# Trust.


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("2001:db8::1", True),
        ("fe80::1%eth0", True),
        ("11.0.0.1", False),
        ("2001:db9::1", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_who_is_trusted(address: str, expected: bool) -> None:
    networks = parse_networks(["10.0.0.0/8", "2001:db8::/32", "fe80::/10"])
    assert is_trusted(address, networks) is expected
    assert not is_trusted(address, ())


def test_the_other_end_of_a_unix_socket_is_trusted_by_name_only() -> None:
    everybody = parse_networks(["0.0.0.0/0", "::/0"])
    assert not is_trusted("unix:", everybody)
    assert is_trusted("unix:", (*everybody, UNIX))
    assert is_trusted("10.1.2.3", (UNIX, *everybody))
    assert not is_trusted("", (UNIX,))
    assert not is_trusted("10.1.2.3", (UNIX,))


@pytest.mark.parametrize(
    ("scheme", "trusted", "claim", "secure"),
    [
        ("https", False, b"", True),
        ("http", False, b"X-Forwarded-Proto: https\r\n", False),
        ("http", True, b"X-Forwarded-Proto: https\r\n", True),
        ("http", True, b"X-Forwarded-Proto: https, http\r\n", False),
        ("https", True, b"X-Forwarded-Proto: http\r\n", False),
        ("https", True, b"", True),
        ("http", True, b"x-forwarded-proto: http\r\nx-forwarded-proto: WSS\r\n", True),
    ],
)
def test_whether_a_request_came_over_tls(
    scheme: str, trusted: bool, claim: bytes, secure: bool
) -> None:
    fields = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + claim + b"\r\n").fields
    assert is_secure(fields, Peer("192.0.2.1", scheme, 80, trusted)) is secure


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([b"6.6.6.6:1234"], "6.6.6.6"),
        ([b"[2001:db8::1]:4711"], "2001:db8::1"),
        ([b"[2001:db8::1]"], "2001:db8::1"),
        ([b"192.0.2.7:99, 10.0.0.3:80"], "192.0.2.7"),
        ([b"192.0.2.7, , \t,"], "192.0.2.7"),
        ([b"", b"192.0.2.7", b""], "192.0.2.7"),
        ([b"odd\x00", b"192.0.2.7"], "192.0.2.7"),
        ([], "10.0.0.1"),
        ([b"", b" , "], "10.0.0.1"),
    ],
)
def test_an_address_is_read_from_all_that_proxies_write(values: list[bytes], address: str) -> None:
    peer, policy = Peer("10.0.0.1", "http", 80, True), ForwardingPolicy(trusted_proxies=TEN)
    assert claimed_address(values, peer, policy) == address


@pytest.mark.parametrize(
    "value",
    [
        b"6.6.6.6, odd",
        b"6.6.6.6, unknown, 10.0.0.3",
        b"192.0.2.7:",
        b"192.0.2.7:http",
        b"[192.0.2.7",
        b"[]",
        b"1.2.3:80",
        b"192.0.2.7\n",
        b"\xff",
    ],
)
def test_a_client_that_cannot_be_read_has_no_address(value: bytes) -> None:
    """Above all not that of a proxy, which may be allowed more than others."""
    peer, policy = Peer("10.0.0.1", "http", 80, True), ForwardingPolicy(trusted_proxies=TEN)
    assert claimed_address([value], peer, policy) == ""


@pytest.mark.parametrize(
    ("values", "secure"),
    [
        ([b"https"], True),
        ([b"http", b"WSS "], True),
        ([b"https, http"], False),
        ([b"https", b"odd"], False),
    ],
)
def test_the_last_claim_of_tls_counts(values: list[bytes], secure: bool) -> None:
    assert claimed_secure(values) is secure


@pytest.mark.parametrize(
    ("peer", "claim", "address"),
    [
        (Peer("192.0.2.1", "http", 80), b"X-Forwarded-For: 6.6.6.6\r\n", "192.0.2.1"),
        (Peer("10.0.0.1", "http", 80, True), b"", "10.0.0.1"),
        (Peer("10.0.0.1", "http", 80, True), b"X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        (
            Peer("10.0.0.1", "http", 80, True),
            b"X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-For: 10.9.9.9\r\n",
            "192.0.2.7",
        ),
        (Peer("10.0.0.1", "http", 80, True), b"X-Forwarded-For: 10.0.0.3\r\n", "10.0.0.3"),
        (Peer("10.0.0.1", "http", 80, True), b"X-Forwarded-For: 6.6.6.6:80\r\n", "6.6.6.6"),
        (Peer("10.0.0.1", "http", 80, True), b"X-Forwarded-For: 6.6.6.6, odd\r\n", ""),
    ],
)
def test_the_client_behind_proxies_is_whom_the_first_untrusted_one_is(
    peer: Peer, claim: bytes, address: str
) -> None:
    fields = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + claim + b"\r\n").fields
    policy = ForwardingPolicy(trusted_proxies=TEN)
    assert client_address(fields, peer, policy) == address
