"""Access records: kept as tuples on the hot path, written in batches off it.

The sink runs in a thread of its own and may be as slow as it likes: requests never wait for it. What does not fit the
bounded queue is dropped and counted, and the count is logged; on shutdown everything that was taken is written.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable
from typing import Literal

from meshlib.messages import RequestHead
from meshlib.model import Endpoint, Route

__all__ = ["AccessLog"]


class AccessLog:
    """Collects one record per request and gives formatted batches of lines to `sink` in its own thread.

    `form` is "json" (one object per line) or "combined" (Apache's, with route, endpoint, tries and seconds behind it).
    `limit` records may wait to be formatted.
    """

    def __init__(
        self, sink: Callable[[str], None], *, form: Literal["json", "combined"] = "json", limit: int = 100_000, interval: float = 0.25
    ) -> None:
        self.dropped = 0
        self._sink = sink
        self._format = _json_line if form == "json" else _combined_line
        self._records: list[tuple[object, ...]] = []
        self._limit = limit
        self._interval = interval
        self._batches: queue.SimpleQueue[list[tuple[object, ...]] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        # Records hold the loop's clock; the wall clock is read once per batch.
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def add(
        self,
        client: str,
        head: RequestHead | None,
        status: int,
        size: int,
        route: Route | None,
        endpoint: Endpoint | None,
        tries: int,
        seconds: float,
        first_byte: float,
        reason: str,
    ) -> None:
        """One request is over. Cheap; to be called from the event loop's thread."""
        records = self._records
        if len(records) + self._waiting >= self._limit:
            self.dropped += 1
            return
        records.append((time.time(), client, head, status, size, route, endpoint, tries, seconds, first_byte, reason))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._hand_over)

    def flush(self) -> None:
        """Write everything that was taken, and end the thread. Blocks until the sink has it."""
        if self._timer is not None:
            self._timer.cancel()
        self._hand_over()
        self._batches.put(None)
        self._thread.join(timeout=10)

    def _hand_over(self) -> None:
        self._timer = None
        if self._records:
            self._waiting += len(self._records)
            self._batches.put(self._records)
            self._records = []

    def _write(self) -> None:
        while (batch := self._batches.get()) is not None:
            form = self._format
            lines = "".join([form(record) for record in batch])
            try:
                self._sink(lines)
            except (OSError, ValueError):  # a full disk or a closed pipe must not end the gateway
                self.dropped += len(batch)
            self._waiting -= len(batch)


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _json_line(record: tuple[object, ...]) -> str:
    when, client, head, status, size, route, endpoint, tries, seconds, first_byte, reason = record
    item: dict[str, object] = {"time": _time(when), "client": client, "status": status, "bytes": size}
    if isinstance(head, RequestHead):
        item["method"] = _text(head.method)
        item["host"] = _text(head.authority)
        item["target"] = _text(head.target)
        item["protocol"] = f"HTTP/1.{head.minor_version}"
    if isinstance(route, Route):
        item["route"] = route.name
        item["service"] = route.service
    if isinstance(endpoint, Endpoint):
        item["endpoint"] = endpoint.address
        item["endpoint_id"] = endpoint.id
        item["tries"] = tries
    item["seconds"] = round(seconds, 6) if isinstance(seconds, float) else seconds
    if isinstance(first_byte, float) and first_byte >= 0:
        item["first_byte_seconds"] = round(first_byte, 6)
    if reason:
        item["reason"] = reason
    return json.dumps(item, ensure_ascii=True) + "\n"


def _combined_line(record: tuple[object, ...]) -> str:
    when, client, head, status, size, route, endpoint, tries, seconds, _, reason = record
    request = "-"
    agent = referer = "-"
    if isinstance(head, RequestHead):
        request = f"{_quoted(head.method)} {_quoted(head.target)} HTTP/1.{head.minor_version}"
        agent = _first(head, b"user-agent")
        referer = _first(head, b"referer")
    name = route.name if isinstance(route, Route) else "-"
    address = endpoint.address if isinstance(endpoint, Endpoint) else "-"
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(when if isinstance(when, float) else 0))
    return (
        f'{client} - - [{stamp}] "{request}" {status} {size} "{referer}" "{agent}" '
        f"{name} {address} {tries} {seconds:.6f} {reason or '-'}\n"
    )


def _first(head: RequestHead, name: bytes) -> str:
    values = head.fields.get_all(name)
    return _quoted(values[0]) if values else "-"


def _quoted(value: bytes) -> str:
    return json.dumps(_text(value), ensure_ascii=True)[1:-1]


def _time(when: object) -> str:
    seconds = when if isinstance(when, float) else 0.0
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"
