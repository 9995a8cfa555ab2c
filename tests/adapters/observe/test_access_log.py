"""Access records: one line each whatever clients send, and no request waits for them."""

from __future__ import annotations

import functools
import json
import re
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.http1 import EMPTY_SECTION, parse_fields
from meshlib.messages import RequestHead
from meshlib.model import Endpoint, ForwardTo, HostPath, RedirectRule, Route, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.observe.access_log import AccessLog, CombinedFormatter, JSONFormatter
from meshlib_adapters.observe.end_reasons import NORMAL, EndReason
from meshlib_adapters.observe.records import AccessRecord
from tests.support.access_lines import COMBINED
from tests.support.backend import Backend, Peer, responding
from tests.support.client import get
from tests.support.http_fixtures import Start
from tests.support.running import snapshot_of

Make = Callable[..., Backend]


HOSTILE = (
    get('/"quote\\back?x="}', "a", 'User-Agent: "}\\', 'Referer: \t"\xff\xe9\x80\x9b[31m'),
    get(
        "/" + "".join(chr(c) for c in range(33, 127) if chr(c) not in "#"),
        "a",
        "User-Agent: %0a%0d<script>",
    ),
    get("/", '"', "User-Agent: x"),
    get("/", "a\xe9\x9b", 'Referer: {"time":1}'),
    b"!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n",
    b'GET http://b"c/ HTTP/1.1\r\nHost: a\r\n\r\n',
    b"GET /\x1b[2J\r\n HTTP/1.1\r\n\r\n",
    b"\x00\xff\n\r\n\r\n",
)


def test_hostile_bytes_stay_inside_their_json_string(start: Start, backend: Make) -> None:
    """Hostile bytes stay inside their string; what it says is what came."""
    site = start(backend())
    for wire in HOSTILE:
        site.client().ask(wire)
    records = site.log(len(HOSTILE))
    assert len(records) == len(site.lines) == len(HOSTILE)
    assert all(line.isascii() and line.isprintable() for line in site.lines)
    for record, wire in zip(records, HOSTILE, strict=True):
        if "target" in record and b"http://" not in wire:
            assert record["target"].encode("latin-1") == wire.split(b" ")[1]
    first = records[0]
    assert first["status"] == 200
    assert first["client"] == "127.0.0.1"
    assert first["host"] == "a"
    assert first["protocol"] == "HTTP/1.1"
    assert first["route"] == "http://"
    assert first["tries"] == 1
    assert first["bytes"] > 0
    assert 0 <= first["first_byte_seconds"] <= first["seconds"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])


def test_hostile_bytes_keep_the_combined_format(start: Start, backend: Make) -> None:
    site = start(backend(), form="combined")
    for wire in HOSTILE:
        site.client().ask(wire)
    site.wait(lambda: len(site.lines) == len(HOSTILE))
    for line in site.lines:
        assert COMBINED.fullmatch(line), line
        assert line.isascii()
        assert line.isprintable()


def test_every_end_has_a_record(start: Start, backend: Make) -> None:
    """Responses, refusals, redirects to nowhere, cut responses: a record each, and the reason."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")

    site = start(snapshot_of({"a": [backend()], "cut": [backend(script)], "empty": []}))
    client = site.client()
    client.ask(get())
    client.ask(get("/", "nowhere"))
    client.ask(get("/", "empty"))
    client.send(get("/", "cut"))
    client.read_rest()
    site.client().ask(b"nonsense\r\n\r\n")
    assert site.reasons(5) == [
        None,
        "no_route",
        "no_endpoint",
        "upstream_closed",
        "bad_request_line",
    ]
    assert [record["status"] for record in site.log(5)] == [200, 404, 503, 200, 400]
    assert "endpoint" not in site.log(5)[1]
    assert "endpoint" not in site.log(5)[2]
    assert "endpoint" not in site.log(5)[4]


def test_nothing_of_the_request_before(start: Start, backend: Make) -> None:
    """A refused request behind a good one on the same connection has neither its endpoint nor its
    times.
    """
    site = start(backend())
    client = site.client()
    client.ask(get())
    client.ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    good, bad = site.log(2)
    assert good["endpoint"]
    assert (bad["reason"], bad["status"]) == ("bad_chunk_size", 400)
    assert "endpoint" not in bad
    assert "first_byte_seconds" not in bad


def test_a_blocked_sink_stops_no_request(start: Start, backend: Make) -> None:
    """A sink that takes nothing stops no request; what was taken is written when it goes on."""
    gate = threading.Event()
    lines: list[str] = []

    def sink(text: str) -> None:
        gate.wait(30)
        lines.extend(text.splitlines())

    site = start(backend(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")), sink=sink)
    client = site.client()
    for _ in range(500):
        assert client.ask(get()).status == 200
    assert lines == []
    gate.set()
    site.wait(lambda: len(lines) == 500)


def test_sink_that_fails(start: Start, backend: Make) -> None:
    """A full disk: requests go on, what was lost is counted, and later lines are written again."""
    broken = threading.Event()
    broken.set()
    lines: list[str] = []

    def sink(text: str) -> None:
        if broken.is_set():
            raise OSError(28, "No space left on device")
        lines.extend(text.splitlines())

    site = start(backend(), sink=sink)
    client = site.client()
    for _ in range(10):
        assert client.ask(get()).status == 200
    site.wait(lambda: site.access_log.dropped == 10)
    broken.clear()
    assert client.ask(get("/after")).status == 200
    site.wait(lambda: len(lines) == 1)
    assert json.loads(lines[0])["target"] == "/after"


_BYTES = st.binary(max_size=12) | st.text('az/"\\{}%\x7f é', max_size=12).map(str.encode)
_SECONDS = st.floats(0, 1e6)


@given(
    st.floats(0, 4e9),
    st.none() | st.tuples(_BYTES, _BYTES, st.integers(0, 2)),
    st.none() | st.text(max_size=6),
    st.booleans(),
    _SECONDS,
    st.just(-1.0) | _SECONDS,
    st.sampled_from(
        [
            NORMAL,
            EndReason("", "--", 0.25),
            EndReason("queue_full", "PQ"),
            EndReason("x", "SD", 1.5),
        ]
    ),
)
def test_a_line_says_what_the_record_says(
    when: float,
    asked: tuple[bytes, bytes, int] | None,
    service: str | None,
    tried: bool,
    seconds: float,
    first: float,
    end: EndReason,
) -> None:
    head = asked and RequestHead(b"GET", asked[1], asked[0], asked[2], EMPTY_SECTION)
    route = (
        None
        if service is None
        else Route(
            HostPath("a"),
            ForwardTo(Upstream(UpstreamKey("s", 80))),
            service=service,
            label="l",
            schema="hrm",
        )
    )
    endpoint = Endpoint("task.1", "192.0.2.7", 80) if tried else None
    line = JSONFormatter()(
        (when, "192.0.2.1", head, 200, 7, route, endpoint, 2, seconds, first, end)
    )
    assert line.count("\n") == 1
    said = json.loads(line)
    expected = {
        "client": "192.0.2.1",
        "status": 200,
        "bytes": 7,
        "seconds": round(seconds, 6),
        "termination": end.termination,
    }
    expected["time"] = (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(when)))
        + f".{int(when * 1000) % 1000:03d}Z"
    )
    if head is not None:
        protocol = ("HTTP/1.0", "HTTP/1.1", "HTTP/2")[head.minor_version]
        texts = {"host": head.authority.decode("latin-1"), "target": head.target.decode("latin-1")}
        expected |= {"method": "GET", **texts, "protocol": protocol}
    if route is not None:
        expected |= {"route": route.name, "service": route.service}
    if endpoint is not None:
        expected |= {"endpoint": "192.0.2.7:80", "endpoint_id": "task.1", "tries": 2}
    if first >= 0:
        expected["first_byte_seconds"] = round(first, 6)
    if end.connect_seconds >= 0:
        expected["connect_seconds"] = end.connect_seconds
    if end.reason:
        expected["reason"] = end.reason
    assert said == expected


def test_what_is_kept_of_routes_and_endpoints_is_bounded() -> None:
    formatter = JSONFormatter(max_kept=3)
    for number in range(20):
        route = Route(
            HostPath(f"h{number}"),
            ForwardTo(Upstream(UpstreamKey("s", 80))),
            service="s",
            label="l",
            schema="hrm",
        )
        endpoint = Endpoint(f"t{number}", "192.0.2.7", number + 1)
        for _ in range(2):
            said = json.loads(
                formatter((0.0, "", None, 200, 0, route, endpoint, 1, 0.0, -1.0, NORMAL))
            )
            assert (said["route"], said["endpoint_id"]) == (f"http://h{number}", f"t{number}")


def test_long_records_that_wait_are_bounded_by_their_size_and_a_stuck_sink_is_given_up() -> None:
    gate = threading.Event()

    def stuck(_: str) -> None:
        gate.wait(60)

    log = AccessLog(stuck, max_size=1_000_000)
    for _ in range(100):
        log.add_line("x" * 100_000 + "\n")
    log.hand_over()
    assert log.dropped == 90
    log.flush()  # returns, though nothing is ever taken
    gate.set()


def test_too_far_behind() -> None:
    """Beyond its limit the queue drops and counts; `flush` writes all that was taken."""
    gate = threading.Event()
    lines: list[str] = []

    def sink(text: str) -> None:
        gate.wait(30)
        lines.extend(text.splitlines())

    log = AccessLog(sink, limit=128)
    for number in range(1000):
        log.add((0.0, "", None, 200, number, None, None, 0, 0.0, -1.0, NORMAL))
    log.hand_over()
    assert log.dropped > 0
    gate.set()
    log.flush()
    assert len(lines) + log.dropped == 1000
    assert [json.loads(line)["bytes"] for line in lines] == list(range(len(lines)))


LINES = [
    b"",
    b"User-Agent: a\r\n",
    b"User-Agent: b\r\n",
    b'User-Agent: "\r\n',
    b"user-agent:  a\r\nReferer: x\r\n",
    b"Referer: a\r\n",
]
KEPT = [parse_fields(line) for line in LINES]
# By number: the fields (of a connection that repeats them, or of another), the route and the
# endpoint (None, one that stays, or one made anew, whose identity may be that of one that is gone),
# and the second.
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 60.0])
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.booleans(),
        st.integers(-1, 3),
        st.integers(-1, 3),
        st.booleans(),
        SECONDS,
    ),
    min_size=2,
    max_size=12,
)


def route_named(number: int) -> Route:
    return Route(
        HostPath("a"),
        RedirectRule(f"https://{number}.example.com", 301),
        service=f"service-{number}",
        label="label",
        schema="test",
    )


@functools.cache
def many_records() -> list[AccessRecord]:
    """As many of each thing as fill the tables: the next one begins them anew."""
    records: list[AccessRecord] = []
    for number in range(2000):
        head = RequestHead(
            b"GET", b"/", b"a", 1, parse_fields(b"User-Agent: %d\r\n" % (number % 1000))
        )
        records.append(
            (
                0.0,
                "c",
                head,
                200,
                0,
                route_named(number),
                Endpoint(f"id-{number}", "a", 1),
                1,
                0.0,
                0.0,
                NORMAL,
            )
        )
    return records


@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("form", [JSONFormatter, CombinedFormatter])
@given(records=RECORDS)
@settings(max_examples=60)
def test_a_line_is_that_of_a_fresh_formatter_whatever_came_before(
    form: Callable[[], JSONFormatter | CombinedFormatter],
    full: bool,
    records: list[tuple[int, bool, int, int, bool, float]],
) -> None:
    used = form()
    for record in many_records() if full else ():
        used(record)
    routes, endpoints = (
        [route_named(number) for number in range(4)],
        [Endpoint(f"id-{number}", "a", 1 + number) for number in range(4)],
    )
    for fields, known, route, endpoint, stays, when in records:
        section = KEPT[fields] if known else parse_fields(LINES[fields])
        head = RequestHead(b"GET", b"/", b"a", 1, section)
        where = None if route < 0 else routes[route] if stays else route_named(route)
        place = (
            None
            if endpoint < 0
            else endpoints[endpoint]
            if stays
            else Endpoint(f"id-{endpoint}", "b", 9 - endpoint)
        )
        record = (when, "192.0.2.1", head, 200, 5, where, place, 1, 0.5, 0.25, NORMAL)
        assert used(record) == form()(record)
        del (
            section,
            head,
            where,
            place,
            record,
        )  # their identities are free from here on, but for those that are kept
