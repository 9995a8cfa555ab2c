"""Access records: kept as tuples while a request is answered, formatted in batches, written by a
thread.

The sink runs in a thread of its own and may be as slow as it likes: requests never wait for it.
What does not fit the bounded queue is dropped and counted, and the count is logged; on shutdown
what was taken is written, unless the sink is stuck.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections.abc import Callable
from typing import Final, Literal

from meshlib.messages import FieldSection
from meshlib.model import Endpoint, Route
from meshlib_adapters.observe.end_reasons import NORMAL, Ending
from meshlib_adapters.observe.records import Record

__all__ = ["AccessLog", "CombinedFormatter", "JSONFormatter"]


# By a head's `minor_version`.
_PROTOCOLS: Final = ("HTTP/1.0", "HTTP/1.1", "HTTP/2")

# To look one up costs a third of formatting it.
_THOUSANDTHS: Final = tuple(f"{number:03d}" for number in range(1000))


class AccessLog:
    """Collects one record per request and gives formatted batches of lines to `sink` in its own
    thread.

    `form` is "json" (one object per line) or "combined" (Apache's, with route, endpoint, tries and
    seconds behind it). About `limit` records of `max_size` characters in all may wait for the sink.
    """

    # Records are formatted on the event loop's thread, this many at a time (0.2 ms): formatting in
    # the writer's thread would fight the loop for the interpreter lock, which costs more than the
    # formatting.
    BATCH: Final = 64

    # Handed over at once when they are so many. While the writer makes bytes of a piece nobody else
    # runs; a piece of this size takes a tenth of a millisecond, what comes in a fifth of a second
    # took several.
    PIECE: Final = 512

    # Seconds that `flush` waits: without anything being written, and in all.
    STUCK: Final = 1.0
    LONGEST_FLUSH: Final = 3.0

    def __init__(
        self,
        sink: Callable[[str], None],
        *,
        form: Literal["json", "combined"] = "json",
        limit: int = 100_000,
        max_size: int = 32 << 20,
    ) -> None:
        self.offset = (
            time.time() - time.monotonic()
        )  # wall clock less the clock that durations are taken from
        self._sink = sink
        self._format: Callable[[Record], str] = (
            JSONFormatter() if form == "json" else CombinedFormatter()
        )
        self.records: list[Record] = []
        self._limit = limit
        self._max_size = max_size
        self._lines: list[str] = []
        self._formatted = 0  # records in `_lines`
        self._formatted_size = 0  # characters in `_lines`
        self._batches: queue.SimpleQueue[tuple[list[str], int, int] | None] = queue.SimpleQueue()
        # Each number is written by one thread alone: `+=` is no single step.
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
        """Records that were not written, because the sink is too slow or fails."""
        return self._refused + self._failed

    def add(self, record: Record) -> None:
        """One request is over; to be called from the event loop's thread. The owner calls
        `hand_over` from time to time.

        (The HTTP data path appends to `records` itself: even this call is too much for it.)
        """
        self.records.append(record)
        if len(self.records) >= self.BATCH:
            self.format_records()

    def add_line(self, line: str) -> None:
        """A line of something else than an HTTP request, written as it is; dropped and counted as
        records are.
        """
        if self._is_full():
            self._refused += 1
            return
        self._lines.append(line)
        self._formatted += 1
        self._formatted_size += len(line)

    def flush(self) -> None:
        """Write everything that was taken, and end the thread.

        Blocks until the sink has it, for `LONGEST_FLUSH` seconds at most, and for `STUCK` once the
        sink takes nothing.
        """
        self.hand_over()
        self._batches.put(None)
        deadline = time.monotonic() + self.LONGEST_FLUSH
        done = -1
        while self._writer.is_alive() and self._done != done and time.monotonic() < deadline:
            done = self._done
            self._writer.join(self.STUCK)

    def format_records(self) -> None:
        """Format what stands in `records`; drops it, counted, when the sink is too far behind."""
        records, self.records = self.records, []
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
        """Give what was taken to the writer."""
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
    """Formats records. What repeats (the second, a route, an endpoint) is written once and kept,
    within bounds.
    """

    def __init__(
        self, max_kept: int = 2000
    ) -> None:  # a route that is gone is kept, too, with its endpoints, until the table is full
        self._max_kept = max_kept
        self._second = -1
        self._stamp = ""
        # Keyed by identity, and the objects are kept so that an identity is not given out again.
        self._routes: dict[int, tuple[Route, str]] = {}
        self._endpoints: dict[int, tuple[Endpoint, str]] = {}

    def __call__(
        self, record: Record
    ) -> str:  # stands here, too: mypyc lays out classes with and without it differently
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

    def __call__(self, record: Record) -> str:
        """The line of a record."""
        when, client, head, status, size, route, endpoint, tries, seconds, first_byte, ending = (
            record
        )
        if int(when) != self._second:
            self.stamp(when, "%Y-%m-%dT%H:%M:%S")
        request = where = tried = ""
        if head is not None:
            method, target, authority, version, _ = head
            if _PLAIN.fullmatch(authority + target):
                asked = f'"host":"{authority.decode()}","target":"{target.decode()}"'
            else:
                asked = f'"host":{_json(authority)},"target":{_json(target)}'
            request = f',"method":"{method.decode()}",{asked},"protocol":"{_PROTOCOLS[version]}"'
        if route is not None:
            known = self._routes.get(id(route))
            where = known[1] if known is not None else self.route(route)
        if endpoint is not None:
            place = self._endpoints.get(id(endpoint))
            tried = f'{place[1] if place is not None else self.endpoint(endpoint)},"tries":{tries}'
        first = f',"first_byte_seconds":{first_byte:.6f}' if first_byte >= 0 else ""
        end = "" if ending is NORMAL else _json_ending(ending)
        return (
            f'{{"time":"{self._stamp}.{_THOUSANDTHS[int(when * 1000) % 1000]}Z","client":"{client}","status":{status},"bytes":{size}'
            f'{request}{where}{tried},"seconds":{seconds:.6f}{first}{end},"termination":"{ending.termination}"}}\n'
        )

    def write_route(self, route: Route) -> str:
        """The members that say which route it was."""
        return f',"route":{_json_text(route.name)},"service":{_json_text(route.service)}'

    def write_endpoint(self, endpoint: Endpoint) -> str:
        """The members that say which endpoint it was."""
        return f',"endpoint":{_json_text(endpoint.address)},"endpoint_id":{_json_text(endpoint.id)}'


class CombinedFormatter(_Formatter):
    """Apache's combined format; behind it route, endpoint, tries, seconds, reason and termination
    code.
    """

    SLOTS: Final = 256
    LONGEST: Final = 512
    MAX_TEXTS: Final = 1000

    def __init__(self) -> None:
        super().__init__()
        # What the last clients are called, found by the identity of their fields: a connection
        # whose requests repeat their fields has one `FieldSection` for all of them. Held here, its
        # identity is its own. Few and overwritten: most others never come again.
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
        index = names.index(name)
        line = fields.block.split(b"\r\n", index + 1)[index]
        text = self._texts.get(line)
        if text is None:
            text = _quoted(line.partition(b":")[2].strip(b" \t"))
            if len(line) <= self.LONGEST:
                if len(self._texts) >= self.MAX_TEXTS:
                    self._texts.clear()
                self._texts[line] = text
        return text

    def __call__(self, record: Record) -> str:
        """The line of a record."""
        when, client, head, status, size, route, endpoint, tries, seconds, _, ending = record
        request = agent = referer = "-"
        if head is not None:
            request = f"{head.method.decode()} {_json(head.target)[1:-1]} {_PROTOCOLS[head.minor_version]}"
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
            f"{name} {address} {tries} {seconds:.6f} {ending.reason or '-'} {ending.termination}\n"
        )

    def write_route(self, route: Route) -> str:
        """Its name."""
        return route.name

    def write_endpoint(self, endpoint: Endpoint) -> str:
        """Its address."""
        return endpoint.address


# Nothing that JSON or a quoted field would have to escape.
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]*+")
_PLAIN_TEXT: Final = re.compile(r"[ !#-\[\]-~]*+")


def _json(value: bytes) -> str:
    text = value.decode("latin-1")
    return f'"{text}"' if _PLAIN.fullmatch(value) else json.dumps(text)


def _json_ending(ending: Ending) -> str:
    reason, _, connecting = ending
    text = f',"connect_seconds":{connecting:.6f}' if connecting >= 0 else ""
    return f'{text},"reason":"{reason}"' if reason else text


def _json_text(text: str) -> str:
    return f'"{text}"' if _PLAIN_TEXT.fullmatch(text) else json.dumps(text)


def _quoted(value: bytes) -> str:
    return _json(value)[1:-1]
