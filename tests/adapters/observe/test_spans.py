"""Spans from access records: which requests have one, what it says, and that nobody waits for
it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from meshlib.errors import ConfigurationError
from meshlib.http1 import finish_head, parse_fields
from meshlib.model import Endpoint, ForwardTo, HostPath, Route, Upstream
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.observe.end_reasons import NORMAL, EndReason, end_reason
from meshlib_adapters.observe.records import AccessRecord
from meshlib_adapters.observe.spans import SpanWriter
from meshlib_adapters.observe.tracing import create_tracer_provider

SHOP = Route(
    HostPath("shop.example.com", "/api"),
    ForwardTo(Upstream(UpstreamKey("s", 80))),
    service="shop",
    label="l",
    schema="hrm",
)
ENDPOINT = Endpoint("shop.1", "10.0.0.5", 8080)
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-01"
END = 1_700_000_000.25


def record(
    *lines: str,
    method: bytes = b"GET",
    status: int = 200,
    end: EndReason = NORMAL,
    route: Route | None = SHOP,
    endpoint: Endpoint | None = ENDPOINT,
    version: int = 1,
) -> AccessRecord:
    block = "".join(f"{line}\r\n" for line in ("Host: shop.example.com:8000", *lines)).encode(
        "latin-1"
    )
    head = finish_head(method, b"/api/x?token=secret", version, parse_fields(block))
    return (END, "192.0.2.1", head, status, 1234, route, endpoint, 2, 0.25, 0.1, end)


def spans_of(*records: AccessRecord) -> Sequence[ReadableSpan]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    writer = SpanWriter(provider)
    writer.add(records)
    writer.close(30.0)
    assert writer.lost == 0
    return exporter.get_finished_spans()


def test_a_sampled_request_has_a_server_span_below_the_clients() -> None:
    (span,) = spans_of(record(SAMPLED, "tracestate: a=1", "tracestate: b=2", "User-Agent: test/1"))
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.parent.is_remote
    assert span.context.trace_state.to_header() == "a=1,b=2"
    assert (span.kind, span.name) == (SpanKind.SERVER, "GET /api")
    assert (span.start_time, span.end_time) == (int((END - 0.25) * 1e9), int(END * 1e9))
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/api",
        "url.path": "/api/x",
        "server.address": "shop.example.com",
        "server.port": 8000,
        "client.address": "192.0.2.1",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "user_agent.original": "test/1",
        "meshlib.route": "http://shop.example.com/api",
        "meshlib.service": "shop",
        "meshlib.endpoint": "10.0.0.5:8080",
        "meshlib.tries": 2,
        "meshlib.bytes_sent": 1234,
        "meshlib.termination": "--",
    }


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("tracestate: a=1",),
        (f"traceparent: 00-{TRACE}-{PARENT}-00",),
        (f"traceparent: 00-{TRACE}-{PARENT}",),
        (f"traceparent: ff-{TRACE}-{PARENT}-01",),
        (f"traceparent: 00-{'0' * 32}-{PARENT}-01",),
        (f"traceparent: 00-{TRACE}-{'0' * 16}-01",),
        (SAMPLED, SAMPLED),
        ("traceparent: \xff\xfe",),
        ("traceparent:",),
    ],
)
def test_who_has_not_sampled_it_has_no_span(lines: tuple[str, ...]) -> None:
    assert spans_of(record(*lines)) == ()


def test_a_head_that_nobody_could_read_has_no_span() -> None:
    when, client, _, *rest = record(SAMPLED)
    assert spans_of((when, client, None, *rest)) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "end", "error", "kind"),
    [
        (500, NORMAL, StatusCode.ERROR, "500"),
        (503, end_reason("queue_full", "Q"), StatusCode.ERROR, "queue_full"),
        (0, end_reason("client_closed", "H"), StatusCode.ERROR, "client_closed"),
        (404, end_reason("no_route", "Q"), StatusCode.UNSET, None),
    ],
)
def test_only_what_a_server_is_to_blame_for_is_an_error(
    status: int, end: EndReason, error: StatusCode, kind: str | None
) -> None:
    (span,) = spans_of(record(SAMPLED, status=status, end=end, route=None, endpoint=None))
    attributes = span.attributes or {}
    assert (span.name, span.status.status_code, attributes.get("error.type")) == (
        "GET",
        error,
        kind,
    )
    assert attributes.get("http.response.status_code") == (status or None)


def test_a_made_up_method_is_no_name() -> None:
    (span,) = spans_of(record(SAMPLED, method=b"BREW"))
    attributes = span.attributes or {}
    assert span.name == "HTTP /api"
    assert (attributes["http.request.method"], attributes["http.request.method_original"]) == (
        "_OTHER",
        "BREW",
    )


@pytest.mark.parametrize(("version", "told"), [(0, "1.0"), (1, "1.1"), (2, "2")])
def test_the_version_is_that_of_the_client(version: int, told: str) -> None:
    (span,) = spans_of(record(SAMPLED, version=version))
    assert (span.attributes or {})["network.protocol.version"] == told


class Stuck(SpanExporter):
    """Takes nothing until told."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go_on.wait(60)
        return SpanExportResult.SUCCESS


def test_what_is_taken_too_slowly_is_lost_and_counted_and_nobody_waits() -> None:
    exporter = Stuck()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    writer = SpanWriter(provider)
    batch = [record(SAMPLED)] * 1000
    for _ in range(15):
        writer.add(batch)
    assert writer.lost == 5000
    writer.close(0.01)
    exporter.go_on.set()
    writer.close(60.0)


def test_one_that_fails_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(SimpleSpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("of somebody's own")

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Failing(InMemorySpanExporter()))
    writer = SpanWriter(provider)
    writer.add([record(SAMPLED)] * 3)
    writer.close(30.0)
    assert writer.lost == 3
    assert caplog.text.count("a span could not be made") == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "spans go out as http/protobuf, not as grpc"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "http/json",
            "spans go out as http/protobuf, not as http/json",
        ),
        ("OTEL_TRACES_EXPORTER", "zipkin", "spans are exported by otlp, not by zipkin"),
    ],
)
def test_what_is_not_spoken_is_said(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=said):
        create_tracer_provider()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "meshlib"),
        ({"OTEL_SERVICE_NAME": "edge"}, "edge"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=inner,team=net"}, "inner"),
    ],
)
def test_the_standard_variables_name_the_service(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    name: str,
    request: pytest.FixtureRequest,
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    provider = create_tracer_provider()
    stop: Callable[[], None] = provider.shutdown
    request.addfinalizer(stop)
    assert provider.resource.attributes["service.name"] == name
