"""Hostile streams through a running gateway: the upstream gets the requests that h11 reads from the
client's bytes, and no other.

The upstream is h11 too, as strict as it is. What must be left out of a request is written here
anew, not asked of the gateway.
"""

from __future__ import annotations

import re
from contextlib import suppress
from random import Random
from typing import Final

from tests.differential.compare import STREAMS, TIMEOUT
from tests.differential.differences import explained
from tests.differential.grammar import SEEDS, request, split, stream
from tests.differential.readers import Fields, Reading, by_h11
from tests.differential.recorder import recording
from tests.support.running import RunningGateway

pytestmark = TIMEOUT

_HOP: Final = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade",
    b"proxy", b"proxy-authorization", b"proxy-authenticate", b"http2-settings",
}  # fmt: skip
_CLAIMS: Final = {b"forwarded", b"x-real-ip", b"x-request-id"}
# Written by the gateway for the next hop: not in the comparison of what came from the client.
_OURS: Final = re.compile(
    rb"(?i)(?:x-forwarded-(?:for|proto|host|port)|x-request-id|connection|upgrade|te|transfer-encoding)"
)
_OUR_VIA: Final = re.compile(rb"1\.[01] meshlib")
_IMITATED: Final = {b"host", b"via", b"content-length", b"content-type"}
_NEVER_NAMED_AWAY: Final = {
    b"host",
    b"content-length",
    b"via",
    b"date",
    b"set-cookie",
    b"content-type",
    b"content-encoding",
}


def through(site: RunningGateway, pieces: list[bytes]) -> tuple[list[int], bool]:
    """The statuses of all final responses to these bytes, the last on their connection; and whether
    a reset may have lost some.
    """
    client = site.client()
    for piece in pieces:
        client.send(piece)
    with suppress(OSError):  # reset: refused, and still sending
        client.shut()
    responses = client.read_rest()
    client.close()
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", responses)]
    return [status for status in statuses if status >= 200], client.ended == "reset"


def as_h11_reads(data: bytes) -> list[Reading] | None:
    """All requests, the last perhaps cut off (its end is -1); None where h11 gives up at something
    that we are known to accept.
    """
    readings = []
    while data:
        reading = by_h11([data])
        if reading.refused and explained("h11", "refused", data, reading.refused) is not None:
            if not data.startswith(b"\r\n"):
                return None
            data = data[2:]  # the one empty line that may be there
            reading = by_h11([data])
        if reading.heads:
            readings.append(reading)
        if reading.end < 0:
            break
        data = data[reading.end :]
    return readings


def stays_open(reading: Reading) -> bool:
    """Whether the client has left the connection open for another request."""
    options = connection_options(reading.heads[0].fields)
    return b"close" not in options and (
        reading.heads[0].start[2] == b"1" or b"keep-alive" in options
    )


def connection_options(fields: Fields) -> set[bytes]:
    """What Connection lists, in lower case."""
    return {
        option.strip(b" \t")
        for name, value in fields
        if name.lower() == b"connection"
        for option in value.lower().split(b",")
    }


def to_be_forwarded(fields: Fields) -> Fields:
    """What may go on of a client's fields, without Host."""
    named = connection_options(fields)
    kept = []
    for name, value in fields:
        lower = name.lower()
        if (
            lower in _HOP
            or lower in _CLAIMS
            or lower == b"host"
            or lower.startswith(b"x-forwarded-")
            or b"_" in lower
        ):
            continue
        as_cgi = re.sub(rb"[^a-z0-9]", b"-", lower)
        if as_cgi != lower and (
            as_cgi in _HOP | _CLAIMS | _IMITATED or as_cgi.startswith(b"x-forwarded-")
        ):
            continue
        if lower not in named or lower in _NEVER_NAMED_AWAY:
            kept.append((name, value))
    return tuple(kept)


def assert_same(sent: Reading, got: Reading, data: bytes) -> None:
    """The request that arrived is the one sent, less what is ours to drop, plus what is ours to
    add.
    """
    (method, target, _, authority), fields = sent.heads[0]
    assert got.heads[0].start == (method, target, b"1", authority or b"any:80"), (
        data
    )  # without Host: the upstream's name
    arrived = [
        (name, value)
        for name, value in got.heads[0].fields
        if not _OURS.fullmatch(name) and name.lower() != b"host"
    ]
    vias = [value for name, value in arrived if name == b"Via" and _OUR_VIA.fullmatch(value)]
    assert len(vias) == 1, (data, arrived)
    arrived.remove((b"Via", vias[0]))
    assert tuple(arrived) == to_be_forwarded(fields), data
    names = [name.lower() for name, _ in got.heads[0].fields]
    for name in (b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"):
        assert names.count(name) == 1, (data, got)
    assert (b"x-forwarded-for", b"127.0.0.1") in [
        (name.lower(), value) for name, value in got.heads[0].fields
    ]
    assert got.body == sent.body, data
    assert set(got.trailers) <= set(sent.trailers), data


def test_no_request_is_smuggled() -> None:
    """As many requests arrive as h11 reads, in the same order, until one is refused; a part of one
    never becomes another.
    """
    checked = partly = 0
    heads = set()
    with recording() as (site, recorder):
        for number in range(len(SEEDS) + STREAMS // 20):
            random = Random(f"gateway {number}")
            data = SEEDS[number] if number < len(SEEDS) else stream(random, request)
            expected = as_h11_reads(data)
            if expected is None:
                continue
            heads |= {reading.heads[0].start[:2] for reading in expected}
            whole = [reading for reading in expected if reading.end >= 0]
            before = len(recorder.complete)
            statuses, lost = through(site, [data] if random.random() < 0.7 else split(random, data))
            got = recorder.complete[before:]
            assert len(got) <= len(whole), data
            assert statuses.count(204) == len(got) or (lost and statuses.count(204) < len(got)), (
                data,
                statuses,
            )
            for sent, arrived in zip(whole, got, strict=False):
                assert_same(sent, arrived, data)
            if len(got) < len(whole):
                # The gateway has refused one and said so; or the client had told it to stop; or h11
                # takes a bare LF for the end of a line, so that it has a head where the gateway
                # waits for the rest of one.
                bare = b"\n" in data.replace(b"\r\n", b"")
                assert (
                    lost or statuses[-1:] != [204] or not stays_open(whole[len(got) - 1]) or bare
                ), (data, statuses)
                partly += 1
            checked += len(got)
    assert not [reading for reading in recorder.cut if reading.heads[0].start[:2] not in heads]
    assert checked > 100 < partly * 10, (checked, partly)
