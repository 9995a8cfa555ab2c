"""Access log: records are kept as tuples, formatted in batches, and written by a thread.

The sink runs in the log's own thread and may be slow: requests never wait for it. Records that do
not fit the bounded queue are dropped and counted, and the count is logged; on shutdown the queue is
written out, unless the sink is stuck.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from meshlib.messages import FieldSection
from meshlib.model import Endpoint, Route
from meshlib_adapters.observe.end_reasons import NORMAL, EndReason
from meshlib_adapters.observe.records import AccessRecord

__all__ = ["AccessLog", "CombinedFormatter", "JSONFormatter", "RecordConsumer"]


# By a head's `minor_version`.
_PROTOCOLS: Final = ("HTTP/1.0", "HTTP/1.1", "HTTP/2")

# Looking one up costs a third of formatting it.
_THOUSANDTHS: Final = tuple(f"{number:03d}" for number in range(1000))


class RecordConsumer(Protocol):
    """Reader of the access log's records beside the log itself: counters, spans."""

    def add(self, records: Sequence[AccessRecord]) -> None:
        """Take a batch, on the event loop's thread, before it is formatted. Must not block or
        raise.
        """


class AccessLog:
    """Collects one record per request and gives formatted batches of lines to `sink` in its own
    thread.

    `form` is "json" (one object per line), "combined" (Apache's format, followed by route,
    endpoint, tries and seconds), or None: then nothing is written, and the records only go to
    `consumers`. At most about `limit` records with `max_size` characters in all wait for the sink.
    """

    # Records are formatted on the event loop's thread, this many at a time (0.2 ms): formatting in
    # the writer's thread would compete with the loop for the interpreter lock, at a higher cost.
    BATCH: Final = 64

    # Formatted records that are handed over without waiting for the owner's tick. The writer holds
    # the interpreter lock while it encodes a piece: a tenth of a millisecond for a piece of this
    # size, but several for the records of a fifth of a second.
    PIECE: Final = 512

    # Seconds that `flush` waits: without progress, and in all.
    STUCK: Final = 1.0
    LONGEST_FLUSH: Final = 3.0

    def __init__(
        self,
        sink: Callable[[str], None],
        *,
        form: Literal["json", "combined"] | None = "json",
        limit: int = 100_000,
        max_size: int = 32 << 20,
        consumers: Sequence[RecordConsumer] = (),
    ) -> None:
        # Wall clock minus the monotonic clock that durations are measured with.
        self.offset = time.time() - time.monotonic()
        self.form = form
        self._sink = sink
        self._format: Callable[[AccessRecord], str] = (
            CombinedFormatter() if form == "combined" else JSONFormatter()
        )
        self._consumers = tuple(consumers)
        self.records: list[AccessRecord] = []
        self._limit = limit
        self._max_size = max_size
        self._lines: list[str] = []
        self._formatted = 0  # records in `_lines`
        self._formatted_size = 0  # characters in `_lines`
        self._batches: queue.SimpleQueue[tuple[list[str], int, int] | None] = queue.SimpleQueue()
        # Each number is written by one thread only: `+=` is not atomic.
        self._given = 0
        self._given_size = 0
        self._refused = 0
        self._done = 0
        self._done_size = 0
        self._failed = 0
        self._writer = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._writer.start()

    @property
    def dropped(self) -> int:
        """Records that were not written, because the sink was too slow or failed."""
        return self._refused + self._failed

    def follow(self, consumer: RecordConsumer) -> None:
        """Give records to another consumer, too, from now on."""
        self._consumers += (consumer,)

    def add(self, record: AccessRecord) -> None:
        """Take the record of a finished request, on the event loop's thread. The owner calls
        `hand_over` from time to time.

        (The HTTP data path appends to `records` itself, to save this call.)
        """
        self.records.append(record)
        if len(self.records) >= self.BATCH:
            self.format_records()

    def add_line(self, line: str) -> None:
        """Take a finished line that is not about an HTTP request; dropped and counted as records
        are.
        """
        if self._is_full():
            self._refused += 1
            return
        self._lines.append(line)
        self._formatted += 1
        self._formatted_size += len(line)

    def flush(self) -> None:
        """Write everything taken so far, and end the thread.

        Blocks until the sink has it: for `LONGEST_FLUSH` seconds at most, and for `STUCK` seconds
        after the sink's last progress.
        """
        self.hand_over()
        self._batches.put(None)
        deadline = time.monotonic() + self.LONGEST_FLUSH
        done = -1
        while self._writer.is_alive() and self._done != done and time.monotonic() < deadline:
            done = self._done
            self._writer.join(self.STUCK)

    def format_records(self) -> None:
        """Give `records` to the consumers, then format them; drops and counts them when the sink is
        too far behind.
        """
        records, self.records = self.records, []
        for consumer in self._consumers:
            consumer.add(records)
        if self.form is None:
            return
        if self._is_full():
            self._refused += len(records)
            return
        lines = "".join(map(self._format, records))
        self._lines.append(lines)
        self._formatted += len(records)
        self._formatted_size += len(lines)
        if self._formatted >= self.PIECE:
            self._give()

    def hand_over(self) -> None:
        """Give everything taken so far to the writer."""
        self.offset = time.time() - time.monotonic()
        if self.records:
            self.format_records()
        if self._formatted:
            self._give()

    def _is_full(self) -> bool:
        waiting = self._formatted + self._given - self._done
        return (
            waiting >= self._limit
            or self._formatted_size + self._given_size - self._done_size >= self._max_size
        )

    def _give(self) -> None:
        self._given += self._formatted
        self._given_size += self._formatted_size
        self._batches.put((self._lines, self._formatted, self._formatted_size))
        self._lines, self._formatted, self._formatted_size = [], 0, 0

    def _write(self) -> None:
        while (batch := self._batches.get()) is not None:
            lines, count, size = batch
            try:
                self._sink("".join(lines))
            except Exception:  # noqa: BLE001
                self._failed += count
            self._done += count
            self._done_size += size


class _Formatter:
    """Formats records, with bounded caches for text that repeats: the second, routes, endpoints."""

    def __init__(self, max_kept: int = 2000) -> None:
        # Routes and endpoints that are gone stay in the caches until these are full.
        self._max_kept = max_kept
        self._second = -1
        self._stamp = ""
        # Keyed by identity; the objects are kept so that their identities are not reused.
        self._routes: dict[int, tuple[Route, str]] = {}
        self._endpoints: dict[int, tuple[Endpoint, str]] = {}

    # Declared here too: mypyc lays out classes with and without __call__ differently.
    def __call__(self, record: AccessRecord) -> str:
        raise NotImplementedError

    def stamp(self, when: float, pattern: str) -> str:
        second = int(when)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime(pattern, time.gmtime(second))
        return self._stamp

    def route(self, route: Route) -> str:
        if len(self._routes) >= self._max_kept:
            self._routes.clear()
        text = self.write_route(route)
        self._routes[id(route)] = (route, text)
        return text

    def endpoint(self, endpoint: Endpoint) -> str:
        if len(self._endpoints) >= self._max_kept:
            self._endpoints.clear()
        text = self.write_endpoint(endpoint)
        self._endpoints[id(endpoint)] = (endpoint, text)
        return text

    def write_route(self, route: Route) -> str:
        raise NotImplementedError

    def write_endpoint(self, endpoint: Endpoint) -> str:
        raise NotImplementedError


class JSONFormatter(_Formatter):
    """One JSON object per line."""

    def __call__(self, record: AccessRecord) -> str:
        """The line of a record."""
        when, client, head, status, size, route, endpoint, tries, seconds, first_byte, end = record
        if int(when) != self._second:
            self.stamp(when, "%Y-%m-%dT%H:%M:%S")
        request = routed = tried = ""
        if head is not None:
            method, target, authority, version, _ = head
            if _PLAIN.fullmatch(authority + target):
                where_to = f'"host":"{authority.decode()}","target":"{target.decode()}"'
            else:
                where_to = f'"host":{_json(authority)},"target":{_json(target)}'
            request = f',"method":"{method.decode()}",{where_to},"protocol":"{_PROTOCOLS[version]}"'
        if route is not None:
            known = self._routes.get(id(route))
            routed = known[1] if known is not None else self.route(route)
        if endpoint is not None:
            place = self._endpoints.get(id(endpoint))
            tried = f'{place[1] if place is not None else self.endpoint(endpoint)},"tries":{tries}'
        first = f',"first_byte_seconds":{first_byte:.6f}' if first_byte >= 0 else ""
        reason = "" if end is NORMAL else _json_reason(end)
        return (
            f'{{"time":"{self._stamp}.{_THOUSANDTHS[int(when * 1000) % 1000]}Z",'
            f'"client":"{client}","status":{status},"bytes":{size}{request}{routed}{tried},'
            f'"seconds":{seconds:.6f}{first}{reason},"termination":"{end.termination}"}}\n'
        )

    def write_route(self, route: Route) -> str:
        """The members that name the route."""
        return f',"route":{_json_text(route.name)},"service":{_json_text(route.service)}'

    def write_endpoint(self, endpoint: Endpoint) -> str:
        """The members that name the endpoint."""
        return f',"endpoint":{_json_text(endpoint.address)},"endpoint_id":{_json_text(endpoint.id)}'


class CombinedFormatter(_Formatter):
    """Apache's combined format, followed by route, endpoint, tries, seconds, reason and termination
    code.
    """

    SLOTS: Final = 256
    LONGEST: Final = 512
    MAX_TEXTS: Final = 1000

    def __init__(self) -> None:
        super().__init__()
        # User agent and referer of recent requests, found by the identity of their fields: a
        # connection whose requests repeat their fields has one `FieldSection` for all of them. It
        # is held here so that its identity is not reused. Few slots, overwritten freely: most
        # other fields never come again.
        self._clients: list[tuple[FieldSection | None, str, str]] = [(None, "-", "-")] * self.SLOTS
        self._texts: dict[bytes, str] = {}

    def _client(self, fields: FieldSection) -> tuple[str, str]:
        slot = (id(fields) >> 4) % self.SLOTS
        known = self._clients[slot]
        if known[0] is not fields:
            self._clients[slot] = known = (
                fields,
                self._text(fields, b"user-agent"),
                self._text(fields, b"referer"),
            )
        return known[1], known[2]

    def _text(self, fields: FieldSection, name: bytes) -> str:
        names = fields.names
        if name not in names:
            return "-"
        value = fields.first(name) or b""
        text = self._texts.get(value)
        if text is None:
            text = _quoted(value)
            if len(value) <= self.LONGEST:
                if len(self._texts) >= self.MAX_TEXTS:
                    self._texts.clear()
                self._texts[value] = text
        return text

    def __call__(self, record: AccessRecord) -> str:
        """The line of a record."""
        when, client, head, status, size, route, endpoint, tries, seconds, _, end = record
        request = agent = referer = "-"
        if head is not None:
            target, protocol = _json(head.target)[1:-1], _PROTOCOLS[head.minor_version]
            request = f"{head.method.decode()} {target} {protocol}"
            agent, referer = self._client(head.fields)
        stamp = self.stamp(when, "%d/%b/%Y:%H:%M:%S +0000")
        name = address = "-"
        if route is not None:
            known = self._routes.get(id(route))
            name = known[1] if known is not None else self.route(route)
        if endpoint is not None:
            place = self._endpoints.get(id(endpoint))
            address = place[1] if place is not None else self.endpoint(endpoint)
        return (
            f'{client or "-"} - - [{stamp}] "{request}" {status} {size} "{referer}" "{agent}" '
            f"{name} {address} {tries} {seconds:.6f} {end.reason or '-'} {end.termination}\n"
        )

    def write_route(self, route: Route) -> str:
        """The route's name."""
        return route.name

    def write_endpoint(self, endpoint: Endpoint) -> str:
        """The endpoint's address."""
        return endpoint.address


# Text without a character that JSON or a quoted field would have to escape.
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]*+")
_PLAIN_TEXT: Final = re.compile(r"[ !#-\[\]-~]*+")


def _json(value: bytes) -> str:
    text = value.decode("latin-1")
    return f'"{text}"' if _PLAIN.fullmatch(value) else json.dumps(text)


def _json_reason(end: EndReason) -> str:
    reason, _, connecting = end
    text = f',"connect_seconds":{connecting:.6f}' if connecting >= 0 else ""
    return f'{text},"reason":"{reason}"' if reason else text


def _json_text(text: str) -> str:
    return f'"{text}"' if _PLAIN_TEXT.fullmatch(text) else json.dumps(text)


def _quoted(value: bytes) -> str:
    return _json(value)[1:-1]
