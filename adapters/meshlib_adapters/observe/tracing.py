"""Export of spans: the SDK's own exporter over HTTP, configured by the standard `OTEL_*` variables
only.
"""

from __future__ import annotations

import os

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import meshlib
from meshlib.errors import ConfigurationError

__all__ = ["create_tracer_provider"]

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def create_tracer_provider() -> TracerProvider:
    """Create a provider that exports in batches, in threads of its own.

    `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_*`
    and `OTEL_BSP_*` have the specification's meaning. Raises `ConfigurationError` for a protocol or
    an exporter that is not supported.
    """
    for name in _PROTOCOLS:
        if (protocol := os.environ.get(name, "").strip()) not in ("", "http/protobuf"):
            raise ConfigurationError(
                f"spans go out as http/protobuf, not as {protocol}",
                where=name,
                hint="unset it, and use port 4318",
            )
    if (exporter := os.environ.get("OTEL_TRACES_EXPORTER", "").strip()) not in ("", "otlp"):
        hint = "unset it, or switch log.spans off"
        raise ConfigurationError(
            f"spans are exported by otlp, not by {exporter}",
            where="OTEL_TRACES_EXPORTER",
            hint=hint,
        )
    # Resource.create lets the variables override these, except the name: without one it would set
    # "unknown_service".
    named = {} if _names_service() else {SERVICE_NAME: "meshlib"}
    provider = TracerProvider(
        resource=Resource.create({SERVICE_VERSION: meshlib.__version__, **named}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _names_service() -> bool:
    return bool(os.environ.get("OTEL_SERVICE_NAME")) or SERVICE_NAME in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
