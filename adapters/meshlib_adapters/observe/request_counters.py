"""The access log of a process that serves: its records become numbers too, also when nothing is
written of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.line_writing import STDOUT, locked, write_all
from meshlib_adapters.observe.metrics.changes import Change
from meshlib_adapters.observe.metrics.requests import RequestTally

if TYPE_CHECKING:
    from meshlib_adapters.observe.spans import SpanWriter

__all__ = ["TallyLog", "create_spans", "write_locked", "write_record"]

_status = itemgetter(3)  # of an access_log.Record


class TallyLog(AccessLog):
    """An access log as `settings` say; also `statuses`, how many requests ended with which (0: with
    none), and numbers for metrics.

    They are counted in batches, where records are formatted, so that a request itself pays nothing
    for it. With the log switched off nothing is formatted and nothing written. `spans` takes the
    records as well, and is closed with the log.
    """

    def __init__(
        self, settings: Settings, sink: Callable[[str], None], *, spans: SpanWriter | None = None
    ) -> None:
        super().__init__(sink, form="json" if settings.log.access_format == "json" else "combined")
        self.statuses: Counter[int] = Counter()
        self._tally = RequestTally()
        self._spans = spans
        self._counts_only = not settings.log.access

    def format_records(self) -> None:
        """Count what stands in `records`, then format it."""
        records = self.records
        self.statuses.update(map(_status, records))
        self._tally.add(records)
        if self._spans is not None:
            self._spans.add(records)
        if self._counts_only:
            self.records = []
        else:
            super().format_records()

    @property
    def spans_lost(self) -> int:
        """Spans that were not made, because making them takes too long."""
        return self._spans.lost if self._spans is not None else 0

    def flush(self) -> None:
        """Write everything, the spans too."""
        super().flush()
        if self._spans is not None:
            self._spans.close()

    def take(self) -> Iterator[Change]:
        """What the records since the last call have changed; made while it is read, and may be read
        in pieces.
        """
        if self.records:
            self.format_records()
        return self._tally.take()


def create_spans(settings: Settings) -> SpanWriter | None:
    """What makes spans, if `settings` want them; `ConfigurationError` when it is not installed or
    told what it cannot do.
    """
    if not settings.log.spans:
        return None
    try:
        from meshlib_adapters.observe.spans import SpanWriter
        from meshlib_adapters.observe.tracing import create_tracer_provider
    except ImportError as error:
        hint = "pip install 'meshlib-gateway[otel]'"
        raise ConfigurationError(
            f"OpenTelemetry is not installed: {error}", where="log.spans", hint=hint
        ) from None
    return SpanWriter(create_tracer_provider())


def write_record(lines: str) -> None:
    """Write to stdout, where access records go; all else goes to stderr, so that a log driver can
    tell them apart.
    """
    write_all(STDOUT, lines.encode("utf-8", "backslashreplace"))


def write_locked(lines: str, lock: int) -> None:
    """The same while no other worker does, see `locked`; `lock` is a file's descriptor."""
    with locked(lock, STDOUT):
        write_record(lines)
