"""Spans made of access records, in a thread, for requests whose client has sampled them.

`traceparent` is forwarded unchanged, so our span is a sibling of the server's, not its parent: both
are children of the client's. A request without a sampled `traceparent` makes no span, because no
server behind the gateway would know its id (docs/decisions/0005).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

import meshlib
from meshlib.authority import parse_authority
from meshlib.errors import AuthorityError
from meshlib.messages import FieldSection, RequestHead
from meshlib_adapters.observe.records import AccessRecord

__all__ = ["SpanWriter"]

logger = logging.getLogger("meshlib.observe")

# Semantic conventions: every other method is _OTHER, because a client may invent methods.
_METHODS: Final = frozenset(
    {b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"}
)

# By a head's `minor_version`.
_VERSIONS: Final = ("1.0", "1.1", "2")

# Records that may wait for the thread, which needs about 100 µs for each: a second's work.
_MAX_WAITING: Final = 10_000

_PROPAGATOR: Final = TraceContextTextMapPropagator()


class SpanWriter:
    """Makes a span of each sampled request, in a thread of its own. When requests end faster than
    spans can be made, the records that find no room are dropped and counted.

    The writer owns `provider`: `close` shuts it down.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("meshlib", meshlib.__version__)
        self._records: queue.SimpleQueue[list[AccessRecord] | None] = queue.SimpleQueue()
        # Each number is written by one thread only: `+=` is not atomic.
        self._taken = 0
        self._refused = 0
        self._done = 0
        self._failed = 0
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Sampled requests that got no span."""
        return self._refused + self._failed

    def add(self, records: Sequence[AccessRecord]) -> None:
        """Take the records of sampled requests. To be called from one thread only; costs 50 ns for
        each other record.
        """
        marked = [
            record
            for record in records
            if record[2] is not None and b"traceparent" in record[2].fields.names
        ]
        if not marked:
            return
        if self._taken - self._done + len(marked) > _MAX_WAITING:
            self._refused += len(marked)
            return
        self._taken += len(marked)
        self._records.put(marked)

    def close(self, seconds: float = 2.0) -> None:
        """Make and export the spans of what was taken, and end the thread. Blocks for `seconds` at
        most; spans not exported by then are lost.
        """
        self._records.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (records := self._records.get()) is not None:
            for record in records:
                try:
                    self._write(record)
                except Exception:  # from a plug-in of the SDK: it must not end all spans
                    if not self._failed:
                        logger.exception(
                            "a span could not be made; further failures are only counted"
                        )
                    self._failed += 1
                # Release the interpreter lock: the data path never waits longer than one span.
                time.sleep(0)
            self._done += len(records)
        self._provider.shutdown()

    def _write(self, record: AccessRecord) -> None:
        when, client, head, status, size, route, endpoint, tries, seconds, _, end = record
        if head is None or (parent := _parent(head.fields)) is None:
            return
        method = head.method.decode("latin-1") if head.method in _METHODS else "_OTHER"
        path = head.target.partition(b"?")[0]  # without the query: it may hold secrets
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "url.path": path.decode("latin-1"),
            "network.protocol.name": "http",
            "network.protocol.version": _VERSIONS[head.minor_version],
            "client.address": client,
            **_server(head),
        }
        if head.method not in _METHODS:
            attributes["http.request.method_original"] = head.method.decode("latin-1")
        if agent := head.fields.first(b"user-agent"):
            attributes["user_agent.original"] = agent.decode("latin-1")
        if status:
            attributes["http.response.status_code"] = status
        if route is not None:
            attributes |= {
                "http.route": route.path,
                "meshlib.route": route.name,
                "meshlib.service": route.service,
            }
        if endpoint is not None:
            attributes |= {"meshlib.endpoint": endpoint.address, "meshlib.tries": tries}
        attributes |= {"meshlib.bytes_sent": size, "meshlib.termination": end.termination}
        if end.reason:
            attributes["meshlib.reason"] = end.reason
        failed = status >= 500 or not status
        if failed:
            attributes["error.type"] = end.reason or str(status)
        name = f"{method} {route.path}" if route is not None else method
        span: Span = self._tracer.start_span(
            name.replace("_OTHER", "HTTP", 1),
            context=parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=int((when - seconds) * 1e9),
        )
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=int(when * 1e9))


def _parent(fields: FieldSection) -> Context | None:
    # W3C Trace Context 3.2: exactly one traceparent; any number of tracestates, which form one
    # list.
    lines = fields.get_all(b"traceparent")
    if len(lines) != 1:
        return None
    carrier = {"traceparent": _text(lines), "tracestate": _text(fields.get_all(b"tracestate"))}
    context = _PROPAGATOR.extract(carrier)
    span_context = get_current_span(context).get_span_context()
    return context if span_context.is_valid and span_context.trace_flags.sampled else None


def _text(values: Sequence[bytes]) -> str:
    return b",".join(values).decode("latin-1")


def _server(head: RequestHead) -> dict[str, AttributeValue]:
    try:
        authority = parse_authority(head.authority.decode("latin-1"))
    except AuthorityError:  # the request was refused for it
        return {}
    return {
        "server.address": authority.host,
        **({"server.port": authority.port} if authority.port is not None else {}),
    }
