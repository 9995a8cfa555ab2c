"""The access log and the span writer that settings ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from meshlib_adapters.config.settings import Settings
from meshlib_adapters.extras import not_installed
from meshlib_adapters.observe.access_log import AccessLog, RecordConsumer

if TYPE_CHECKING:
    from meshlib_adapters.observe.spans import SpanWriter

__all__ = ["create_access_log", "create_span_writer"]


def create_access_log(
    settings: Settings, sink: Callable[[str], None], *consumers: RecordConsumer | None
) -> AccessLog:
    """An access log in the form of `settings.log`; with `log.access` off it formats nothing, and
    only its consumers see the records. A consumer that is None is left out.
    """
    form = settings.log.access_format
    present: Sequence[RecordConsumer] = [item for item in consumers if item is not None]
    return AccessLog(sink, form=form if settings.log.access else None, consumers=present)


def create_span_writer(settings: Settings) -> SpanWriter | None:
    """The span writer, when `log.spans` is on.

    Raises `ConfigurationError` when OpenTelemetry is not installed, or when its variables ask for
    something the exporter does not support.
    """
    if not settings.log.spans:
        return None
    try:
        from meshlib_adapters.observe.spans import SpanWriter
        from meshlib_adapters.observe.tracing import create_tracer_provider
    except ImportError as error:
        raise not_installed("OpenTelemetry", error, "otel", "log.spans") from None
    return SpanWriter(create_tracer_provider())
