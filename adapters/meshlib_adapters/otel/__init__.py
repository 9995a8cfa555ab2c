"""OpenTelemetry spans of requests, made from access records when the requests are over (the extra `otel`)."""

from meshlib_adapters.otel.provider import create_tracer_provider
from meshlib_adapters.otel.spans import SpanWriter

__all__ = ["SpanWriter", "create_tracer_provider"]
