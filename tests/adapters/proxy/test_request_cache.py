"""What a gateway remembers of its clients' fields: the same lines as without, and never more than
so many.
"""

from __future__ import annotations

import pytest

from meshlib.client_claims import ForwardingPolicy, Peer
from meshlib.forwarding import request_fields
from meshlib.http1 import KnownLines, parse_fields, parse_request_head, section_of
from meshlib.http2.sections import Pair, pair_section, pairs_of
from meshlib.messages import RequestHead
from meshlib_adapters.proxy.request_cache import RequestCache

POLICIES = [
    ForwardingPolicy(),
    ForwardingPolicy(rfc7239=True),
    ForwardingPolicy(mode="label"),
    ForwardingPolicy(mode="off", via=""),
]
POLICY = POLICIES[0]
CLIENT = Peer("192.0.2.7", "http", 8080)
PROXY = Peer("10.0.0.9", "https", 8443, trusted=True)

HEADS = [
    b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: b\r\nAccept: */*\r\n\r\n",
    b"GET http://c/ HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.10\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, keep-alive\r\nX: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 other\r\nTE: trailers\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.0\r\nAccept: */*\r\n\r\n",
]


def cache(policy: ForwardingPolicy = POLICY) -> RequestCache:
    return RequestCache(policy, 100, KnownLines())


def size_of(kept: RequestCache) -> list[int]:
    return [len(kept._sections), len(kept._kept), len(kept._whole), len(kept._added)]


def lines(wire: bytes | None) -> list[bytes]:
    assert wire is not None
    return sorted(wire.split(b"\r\n"))


@pytest.mark.parametrize("first", [False, True], ids=["later", "first"])
@pytest.mark.parametrize("policy", POLICIES)
def test_lines_are_those_of_the_function_whatever_came_before(
    policy: ForwardingPolicy, first: bool
) -> None:
    kept = cache(policy)
    for _ in range(2):
        for raw in HEADS:
            head = parse_request_head(raw)
            if first:
                head = head._replace(fields=kept.first_fields(head.fields.block))
            for peer in (
                CLIENT,
                PROXY,
                CLIENT._replace(address="192.0.2.8"),
                CLIENT._replace(scheme="https"),
            ):
                for wanted in (False, True):
                    expected = request_fields(head, policy, peer, wanted_by_label=wanted)
                    assert lines(kept.lines_to_send(head, peer, wanted_by_label=wanted)) == lines(
                        expected
                    )


def test_a_loop_is_seen() -> None:
    via = b", ".join([b"1.1 meshlib"] * 8)
    head = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\nVia: " + via + b"\r\n\r\n")
    assert cache().lines_to_send(head, CLIENT, wanted_by_label=False) is None
    kept = cache()
    again = head._replace(fields=kept.first_fields(head.fields.block))
    assert [kept.lines_to_send(again, CLIENT, wanted_by_label=False) for _ in range(2)] == [
        None,
        None,
    ]


def test_first_fields_are_parsed_once() -> None:
    kept = cache()
    block = b"Host: a\r\nAccept: */*\r\n"
    assert kept.first_fields(block) is kept.first_fields(block)
    assert kept.first_fields(block) == kept.fields(block) == parse_fields(block)


def test_paired_fields_are_read_once_and_what_goes_on_of_them_too() -> None:
    kept = cache()
    pairs = ((b"host", b"a"), (b"connection", b"upgrade"), (b"upgrade", b"x"), (b"te", b"x"))
    fields = kept.paired_fields(pairs)
    assert kept.paired_fields(pairs) is fields
    assert fields == section_of(pairs)._replace(upgrade=None)
    head = RequestHead(b"GET", b"/", b"a", 1, fields)
    for _ in range(2):
        sent = kept.lines_to_send(head, CLIENT, wanted_by_label=False)
        assert lines(sent) == lines(request_fields(head, POLICY, CLIENT))
    assert len(kept._kept) == 1


def test_paired_fields_are_bounded_too() -> None:
    kept = cache()
    for number in range(1200):
        kept.paired_fields(((b"host", b"h%d" % number), (b"connection", b"close")))
    long = ((b"host", b"a"), (b"x", b"y" * 3000))
    assert kept.paired_fields(long) is not kept.paired_fields(long)
    assert 0 < len(kept._paired) == len(kept._blocks) <= 512


def test_nothing_grows_without_limit() -> None:
    kept = cache()
    sizes = set()
    for number in range(3000):
        fields = kept.first_fields(
            b"Host: h%d\r\nConnection: close\r\nX-%d: %d\r\n" % (number, number, number)
        )
        head = RequestHead(b"GET", b"/", b"h%d" % number, 1, fields)
        assert kept.lines_to_send(
            head, CLIENT._replace(address=f"192.0.2.{number}"), wanted_by_label=False
        )
        sizes.update(size_of(kept))
    assert max(sizes) == 512
    before = size_of(kept)
    long = b"x" * 3000
    fields = kept.first_fields(b"Host: %s\r\nX-%s: y\r\n" % (long, long))
    assert kept.lines_to_send(
        RequestHead(b"GET", b"/", long, 1, fields),
        CLIENT._replace(address="192.0.2.2999"),
        wanted_by_label=False,
    )
    assert size_of(kept) == before


@pytest.mark.parametrize("policy", POLICIES)
def test_pairs_are_those_of_the_lines(policy: ForwardingPolicy) -> None:
    kept = cache(policy)
    lists: list[list[Pair]] = [
        [(b"host", b"a"), (b"accept", b"*/*")],
        [(b"host", b"b"), (b"accept", b"*/*")],
        [(b"host", b"a"), (b"x-forwarded-for", b"192.0.2.9"), (b"te", b"trailers")],
        [(b"host", b"a"), (b"via", b"2 other"), (b"x_y", b"1")],
    ]
    for pairs in [*lists, *lists]:
        authority = pairs[0][1]
        head = RequestHead(b"GET", b"/", authority, 2, pair_section(pairs))
        for peer in (CLIENT, PROXY, CLIENT._replace(scheme="https")):
            for wanted in (False, True):
                found = kept.pairs_to_send(head, peer, wanted_by_label=wanted)
                assert found is not None
                expected = pairs_of(request_fields(head, policy, peer, wanted_by_label=wanted))
                sent = [*found[0], *[(name.lower(), value) for name, value in found[1]]]
                assert sorted(sent) == sorted(
                    pair for pair in expected if pair[0] not in (b"host", b"connection")
                )


def test_pairs_that_run_in_a_circle() -> None:
    pairs = [(b"host", b"a"), (b"via", b", ".join([b"2 meshlib"] * 8))]
    head = RequestHead(b"GET", b"/", b"a", 2, pair_section(pairs))
    assert cache().pairs_to_send(head, CLIENT, wanted_by_label=False) is None


def test_so_many_pairs_are_remembered_and_no_more() -> None:
    kept = cache()
    for number in range(1200):
        name = b"h%d" % number
        head = RequestHead(b"GET", b"/", name, 2, pair_section([(b"host", name)]))
        assert kept.pairs_to_send(head, CLIENT, wanted_by_label=False) is not None
    assert 0 < len(kept._added_pairs) <= 512
    long = b"h" * 3000
    head = RequestHead(b"GET", b"/", long, 2, pair_section([(b"host", long)]))
    before = len(kept._added_pairs)
    found = kept.pairs_to_send(head, CLIENT, wanted_by_label=False)
    assert found is not None
    assert (b"X-Forwarded-Host", long) in found[1]
    assert len(kept._added_pairs) == before
