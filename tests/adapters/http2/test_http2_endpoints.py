"""From HTTP/2 to HTTP/2: fields stay pairs, DATA stays DATA, trailers stay trailers, both ways."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from hpack import Decoder, HeaderTuple, NeverIndexedHeaderTuple
from hyperframe.frame import Frame, HeadersFrame

from meshlib.http2.sections import PairSection
from meshlib_adapters.framing import outgoing_body
from meshlib_adapters.framing.frames import ClientFrames
from meshlib_adapters.upstream import http2, messages
from meshlib_adapters.upstream.messages import ForwardRequest, ForwardResponse
from tests.support.backend import Backend
from tests.support.http2_backend import Server, over, serving
from tests.support.http2_client import request
from tests.support.http2_fixtures import StartSite

Make = Callable[..., Backend]
Pairs = list[tuple[str, str]]


def message(text: bytes) -> bytes:
    """A message of gRPC."""
    return struct.pack(">BI", 0, len(text)) + text


def sending(*heads: Pairs, body: bytes = b"", trailers: Pairs | None = None) -> Callable[..., None]:
    """An endpoint that responds with these heads, the last one's body, and its trailers."""

    def respond(server: Server, number: int) -> None:
        for head in heads[:-1]:
            server.frames.send_headers(number, head)
        ended = not body and trailers is None
        server.frames.send_headers(number, heads[-1], end_stream=ended)
        if body:
            server.send(number, body, end=trailers is None)
        if trailers is not None:
            server.frames.send_headers(number, trailers, end_stream=True)

    return respond


@pytest.fixture
def no_http1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written or read in the form of HTTP/1 is a failure."""

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("HTTP/1 between HTTP/2 and HTTP/2")

    monkeypatch.setattr(ForwardRequest, "http1", fail)
    monkeypatch.setattr(ForwardRequest, "encoded", fail)
    monkeypatch.setattr(ForwardRequest, "_pairs_of_wire", fail)
    monkeypatch.setattr(ForwardResponse, "http1", fail)
    monkeypatch.setattr(PairSection, "block", property(fail))
    for module, name in (
        (messages, "last_chunk"),
        (messages, "pairs_of"),
        (http2, "last_chunk"),
        (outgoing_body, "pairs_of"),
        (http2, "chunk_head"),
        (http2, "ChunkedReader"),
    ):
        monkeypatch.setattr(module, name, fail)


@pytest.mark.usefixtures("no_http1")
def test_nothing_is_written_as_http1_in_between(start: StartSite, backend: Make) -> None:
    seen: list[Server] = []
    head: Pairs = [(":status", "200"), ("content-type", "application/grpc"), ("date", "now")]
    trailers: Pairs = [("grpc-status", "0"), ("x-sum", "1"), ("x-user", "admin")]
    hints: Pairs = [(":status", "103"), ("link", "</x>")]
    announced = [*head, ("trailer", "x-sum")]
    respond = sending(hints, announced, body=message(b"hello"), trailers=trailers)
    site = start(over(backend(serving(respond, keep=seen))))
    client = site.client()
    for _ in range(2):  # the second time all is known
        more = (("te", "trailers"), ("trailer", "x-digest"), ("user-agent", "x"))
        number = client.ask(request("/echo.Echo/Say", "a", *more, method="POST"), end=False)
        client.data(number, message(b"hel")[:4])
        client.data(number, message(b"hel")[4:])
        client.send(client.head([("x-digest", "2"), ("host", "b")], number))
        got = client.response(number)
        assert [each[":status"] for each in got.heads[:-1]] == ["103", "200"]
        assert bytes(got.data) == message(b"hello")
        assert got.trailers == {"grpc-status": "0", "x-sum": "1"}
    server = seen[0]
    assert list(server.bodies.values()) == [message(b"hel")] * 2
    assert list(server.trailers.values()) == [[("x-digest", "2")]] * 2
    asked = server.heads[1]
    assert asked[:4] == [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/echo.Echo/Say"),
    ]
    names = [name for name, _ in asked[4:]]
    assert names[:2] == ["trailer", "user-agent"]
    assert sorted(names[2:]) == sorted(
        [
            "te",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-proto",
            "x-request-id",
        ]
    )
    assert {record["status"] for record in site.log(2)} == {200}


@pytest.mark.usefixtures("no_http1")
@pytest.mark.parametrize(
    ("method", "head", "sent"),
    [
        ("HEAD", [(":status", "200"), ("content-length", "5")], {"content-length": "5"}),
        ("GET", [(":status", "204"), ("x", "y")], {"x": "y"}),
        ("GET", [(":status", "304"), ("etag", "z"), ("content-length", "5")], {"etag": "z"}),
        ("GET", [(":status", "404")], {"content-length": "0"}),
    ],
)
def test_responses_without_a_body(
    start: StartSite, backend: Make, method: str, head: Pairs, sent: dict[str, str]
) -> None:
    client = start(over(backend(serving(sending(head))))).client()
    for _ in range(2):
        got = client.response(client.ask(request("/", "a", method=method)))
        assert (got.status, bytes(got.data), got.reset) == (int(head[0][1]), b"", None)
        assert sent.items() <= got.fields.items()


@pytest.mark.parametrize("length", ["4", "6"])
def test_a_response_that_is_not_as_long_as_it_says(
    start: StartSite, backend: Make, length: str
) -> None:
    """Cut, visibly; what is too much is not passed on."""
    head = [(":status", "200"), ("content-length", length)]
    wrong = serving(sending(head, body=b"short"))
    got = start(over(backend(*[wrong] * 2))).client().get()
    assert (got.reset, got.ended) == (2, False)
    assert len(got.data) <= int(length)


def test_a_request_that_is_not_as_long_as_it_says(start: StartSite, backend: Make) -> None:
    server = backend(serving(sending([(":status", "204")])))
    client = start(over(server)).client()
    number = client.ask(request("/", "a", ("content-length", "3"), method="PUT"), end=False)
    client.data(number, b"four", end=True)
    assert client.response(number).reset is not None
    assert client.get().status == 204


@pytest.mark.usefixtures("no_http1")
def test_trailers_behind_a_length_end_there(start: StartSite, backend: Make) -> None:
    """As HTTP/1 has it: they go on behind a body of unknown length."""
    seen: list[Server] = []
    head = [(":status", "200"), ("content-length", "2")]
    respond = sending(head, body=b"ok", trailers=[("grpc-status", "0")])
    client = start(over(backend(serving(respond, keep=seen)))).client()
    number = client.ask(request("/", "a", ("content-length", "3"), method="PUT"), end=False)
    client.data(number, b"abc")
    client.send(client.head([("grpc-status", "0")], number))
    got = client.response(number)
    assert (bytes(got.data), got.trailers) == (b"ok", {})
    assert (seen[0].bodies[1], seen[0].trailers) == (b"abc", {})


def test_what_hpack_must_not_keep() -> None:
    """Secrets are not to be guessed by the sizes of frames; what differs each time would push out
    what comes again.
    """
    frames, decoder = ClientFrames(65536), Decoder()
    frames.data_to_send()  # the preface
    sent = []
    for number in (1, 3):
        pairs = [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"a"),
            (b":path", b"/"),
            (b"authorization", b"Basic x"),
            (b"cookie", b"a=1"),
            (b"cookie", b"a=" + b"1" * 20),
            (b"x-request-id", b"%d" % number),
            HeaderTuple(b"x-plain", b"1"),
            NeverIndexedHeaderTuple(b"x-secret", b"1"),  # its client has said so
        ]
        frames.send_request(number, pairs, ended=True)
        frame = _head(frames.data_to_send())
        assert "END_STREAM" in frame.flags
        sent = list(decoder.decode(frame.data, raw=True))
        assert [tuple(pair) for pair in sent] == [tuple(pair) for pair in pairs]
        hidden = [pair[:2] for pair in sent if not pair.indexable]
        assert hidden == [tuple(pairs[index]) for index in (4, 5, 7, 9)]
    assert len(frame.data) < 60  # the second time the rest is known


def _head(data: bytes) -> HeadersFrame:
    frame, _ = Frame.parse_frame_header(memoryview(data[:9]))
    frame.parse_body(memoryview(data[9:]))
    assert isinstance(frame, HeadersFrame)
    return frame
