"""Trace context goes through as it came, and spans reach a collector, from one process and from
workers.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from meshlib_adapters.testing import FakeUpstream
from tests.support.commands import PATIENCE, meshlib_command
from tests.support.metrics_page import Page
from tests.support.worker_lab import Lab, ask, backend, lab, labels, wait_for

APP = "external_route=http://app.example.com,internal_port=80"

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


class Collector(FakeUpstream):
    """Takes what exporters send to `/v1/traces`."""

    @property
    def received(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(one.body) for one in self.requests]

    @property
    def spans(self) -> list[tuple[str, str, str]]:
        return [
            (span.name, span.trace_id.hex(), span.parent_span_id.hex())
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector(body="") as collector:
        yield collector


def send(address: tuple[str, int], *lines: str) -> None:
    with socket.create_connection(address, timeout=PATIENCE) as sock:
        head = "\r\n".join(
            ("GET /x HTTP/1.1", "Host: app.example.com", "Connection: close", *lines)
        )
        sock.sendall(f"{head}\r\n\r\n".encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        while sock.recv(65536):
            pass


@pytest.mark.parametrize("workers", ["1", "2"])
def test_spans_of_sampled_requests_reach_the_collector(
    gateways: Lab, collector: Collector, workers: str
) -> None:
    with backend() as one:
        running = gateways.serve(
            "--workers",
            workers,
            services=labels(APP, endpoints=[one.address]),
            MESHLIB_LOG_SPANS="on",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_SERVICE_NAME="edge",
            OTEL_BSP_SCHEDULE_DELAY="50",
        )
        for number in range(10):
            send(running.addresses["http"], f"traceparent: 00-{TRACE}-{number + 1:016x}-01")
            send(running.addresses["http"], f"traceparent: 00-{TRACE}-{number + 100:016x}-00")
            assert ask(running.addresses["http"])[0] == 200
        wait_for(lambda: len(collector.spans) >= 10, running)
        assert sorted(collector.spans) == [
            ("GET /", TRACE, f"{number + 1:016x}") for number in range(10)
        ]
        (resource,) = {
            a.value.string_value
            for r in collector.received
            for s in r.resource_spans
            for a in s.resource.attributes
            if a.key == "service.name"
        }
        assert resource == "edge"
        assert Page(running).get("meshlib_spans_lost_total") == 0


def test_spans_on_their_way_at_the_end_are_not_lost(gateways: Lab, collector: Collector) -> None:
    with backend() as one:
        services = labels(APP, endpoints=[one.address])
        running = gateways.serve(
            services=services,
            MESHLIB_LOG_SPANS="on",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="600000",
        )
        for number in range(5):
            send(running.addresses["http"], f"traceparent: 00-{TRACE}-{number + 1:016x}-01")
        running.process.terminate()
        assert running.process.wait(PATIENCE) == 0
        assert len(collector.spans) == 5


def test_trace_context_goes_on_as_the_bytes_it_came_in(gateways: Lab) -> None:
    lines = (
        f"TraceParent: 00-{TRACE}-b7ad6b7169203331-01",
        "tracestate:  rojo=00f067aa0ba902b7 ,congo=t61rcWkgMzE",
        "tracestate: b=2",
        "Baggage: userId=alice%20b,serverNode=DF%2028;prop=1",
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        running = gateways.serve(
            "--workers",
            "1",
            services=labels(APP, endpoints=[f"127.0.0.1:{port}"]),
            MESHLIB_LOG_SPANS="on",
        )
        with socket.create_connection(running.addresses["http"], timeout=PATIENCE) as client:
            head = "\r\n".join(("GET /x HTTP/1.1", "Host: app.example.com", *lines)) + "\r\n\r\n"
            client.sendall(head.encode())
            server.settimeout(PATIENCE)
            upstream, _ = server.accept()
            with upstream:
                received = b""
                while b"\r\n\r\n" not in received:
                    received += upstream.recv(65536)
                upstream.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                assert client.recv(65536).startswith(b"HTTP/1.1 204 ")
        assert [
            line
            for line in received.decode().split("\r\n")
            if line.lower().startswith(("trace", "baggage"))
        ] == list(lines)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_protocol_that_is_not_spoken_is_one_line(tmp_path: Path, workers: str) -> None:
    file = tmp_path / "services.yml"
    file.write_text("services: {}")
    where = ["--http", "127.0.0.1:0", "--https", "off", "--admin", "off", "--workers", workers]
    done = meshlib_command(
        "serve",
        "--services",
        str(file),
        *where,
        MESHLIB_LOG_SPANS="on",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
    )
    assert "spans go out as http/protobuf, not as grpc" in done.stderr
    assert done.returncode == 2
