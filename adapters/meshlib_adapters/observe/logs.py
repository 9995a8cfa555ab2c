"""The gateway's log: one line per record, as text or JSON.

The library only emits records; logging is set up here. Control characters are escaped in both
formats, so that no peer and no label can start a line of its own.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
from typing import TextIO

from meshlib.bounds import bounded_text
from meshlib.mesh import Mesh
from meshlib.model import Diagnostic, Route, Severity
from meshlib_adapters.config.sections import LogSettings
from meshlib_adapters.observe.log_output import QueuedOutput, catch_stray_output
from meshlib_adapters.observe.repeats import RepeatLimit

__all__ = [
    "JSONFormatter",
    "SnapshotLog",
    "TextFormatter",
    "escape_control",
    "set_up_logging",
    "take_over_stderr",
]

# C0, DEL and C1 controls, line separators at which some viewers break lines, and bidirectional
# controls, which reorder text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LEVELS = {
    Severity.ERROR: logging.ERROR,
    Severity.WARNING: logging.WARNING,
    Severity.INFO: logging.INFO,
}
# More diagnostics than this in one change are one broken stack file repeated many times.
_MOST_DIAGNOSTICS_A_CHANGE = 50
_MOST_ENDPOINTS_A_CHANGE = 50
# Of the routes that come or go, so many are named in the text; the fields have more.
_NAMES_IN_TEXT = 3
_LONGEST_NAME = 80
# Lines of one kind that still count as a few: each names something else, so a few changes in
# succession are logged in full.
_MANY = 10


def escape_control(text: str) -> str:
    """`text` on one line: control characters as \\n, \\x1b, \\u2028."""
    return _CONTROL.sub(lambda m: m.group().encode("unicode_escape").decode("ascii"), text)


class TextFormatter(logging.Formatter):
    """Text lines: `2026-01-31T12:00:00.123Z INFO gateway: message`, followed by an escaped
    traceback, if any.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = (
            f"{_timestamp(record)} {record.levelname} {_short(record.name)}: {record.getMessage()}"
        )
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return escape_control(text)


_encode = json.JSONEncoder(default=str).encode  # `json.dumps` would create an encoder for each line


class JSONFormatter(logging.Formatter):
    """JSON lines: one object with time, level, logger and message, the record's `fields`, and any
    traceback as `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        data: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": _short(record.name),
            "message": record.getMessage(),
        }
        extra = getattr(record, "fields", None)
        if isinstance(extra, dict):
            data.update({key: value for key, value in extra.items() if key not in data})
        if record.exc_info:
            data["exception"] = self.formatException(record.exc_info)
        return _encode(data)


def set_up_logging(
    level: str,
    form: str,
    stream: TextIO | None = None,
    *,
    repeats: int | None = 20,
    per_minute: int = 12,
) -> QueuedOutput:
    """Make the root logger write records from `level` upwards in `form`, "text" or "json".

    They go to stderr, or to `stream`, through a queue that never blocks the caller; `flush` of the
    returned output waits for it. `repeats` and `per_minute` limit lines of one kind, see
    `RepeatLimit`. For programs only: applications that embed meshlib set up logging themselves.
    """
    write = None if stream is None else lambda data: _write(stream, data)
    output = QueuedOutput(write, limit=RepeatLimit(repeats, per_minute))
    output.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(output)
    root.setLevel(level.upper())
    # Never part of our lines, but looked up for each (the documentation of `logging`,
    # "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Below warnings these log only their own internals.
    for name in ("asyncio", "docker", "urllib3", "uvicorn"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    return output


def take_over_stderr(settings: LogSettings) -> None:
    """Make `set_up_logging`, with `settings`, the only writer to this process's stderr, for
    libraries and warnings too.
    """
    set_up_logging(
        settings.level,
        settings.format,
        repeats=settings.repeats,
        per_minute=settings.repeats_per_minute,
    )
    catch_stray_output()


def _write(stream: TextIO, data: bytes) -> None:
    stream.write(data.decode())
    stream.flush()


class SnapshotLog:
    """Logs the changes of each new snapshot: how many routes, and each diagnostic once when it
    appears and once when it is gone.

    Pass it to `Mesh.subscribe`.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._routes: tuple[Route, ...] = ()
        self._diagnostics: frozenset[Diagnostic] = frozenset()
        self._endpoints: frozenset[str] = frozenset()  # with their states; for debug lines alone

    def __call__(self, mesh: Mesh) -> None:
        # Unchanged routes are the same objects, so of a hundred thousand only those that are new or
        # gone need their names computed.
        routes = mesh.table.routes
        before, now = set(map(id, self._routes)), set(map(id, routes))
        come = frozenset((route.name, route.service) for route in routes if id(route) not in before)
        gone = frozenset(
            (route.name, route.service) for route in self._routes if id(route) not in now
        )
        added, removed = come - gone, gone - come
        if added or removed:
            fields = {
                "routes": len(routes),
                "added": _names(added),
                "removed": _names(removed),
                "version": mesh.version,
            }
            self._logger.info(
                "%d routes (%s; %s)",
                len(routes),
                _count(added, "added"),
                _count(removed, "removed"),
                extra={"fields": fields},
            )
        if self._logger.isEnabledFor(logging.DEBUG):
            self._tell_endpoints(mesh)
        diagnostics = frozenset(mesh.table.diagnostics)
        self._report(sorted(diagnostics - self._diagnostics, key=_order), gone=False)
        self._report(sorted(self._diagnostics - diagnostics, key=_order), gone=True)
        self._routes, self._diagnostics = routes, diagnostics

    def _tell_endpoints(self, mesh: Mesh) -> None:
        now = frozenset(
            f"{upstream.name}: {endpoint.address} ({endpoint.id}) {endpoint.state}"
            for upstream in mesh.table.upstreams.values()
            for endpoint in upstream.endpoints
        )
        for what, found in (("gone", self._endpoints - now), ("now", now - self._endpoints)):
            for text in sorted(found)[:_MOST_ENDPOINTS_A_CHANGE]:
                self._logger.debug("%s: %s", what, text)
        self._endpoints = now

    def _report(self, diagnostics: list[Diagnostic], *, gone: bool) -> None:
        for item in diagnostics[:_MOST_DIAGNOSTICS_A_CHANGE]:
            level = logging.INFO if gone else _LEVELS[item.severity]
            fields = {
                "code": item.code,
                "service": item.service,
                "label": item.label,
                "hint": item.hint,
                "gone": gone,
            }
            place = f"{item.service}: {item.label}" + (
                f", character {item.column}" if item.column else ""
            )
            hint = f" ({item.hint})" if item.hint and not gone else ""
            text = f"{'settled: ' if gone else ''}{item.code} {place}: {item.message}{hint}"
            self._logger.log(level, "%s", text, extra={"fields": fields, "wide": _MANY})
        if len(diagnostics) > _MOST_DIAGNOSTICS_A_CHANGE:
            rest = len(diagnostics) - _MOST_DIAGNOSTICS_A_CHANGE
            self._logger.warning(
                "and %d more diagnostics %s; see meshlib routes",
                rest,
                "settled" if gone else "appeared",
            )


def _order(item: Diagnostic) -> tuple[str, str, str, int]:
    return (item.service, item.label, item.code, item.column)


def _names(pairs: frozenset[tuple[str, str]]) -> list[str]:
    return [name for name, _ in sorted(pairs)][:_MOST_DIAGNOSTICS_A_CHANGE]


def _count(pairs: frozenset[tuple[str, str]], what: str) -> str:
    # "0 removed", "2 added: a.example.com, b.example.com", "9 added: ... and 6 more".
    if not pairs:
        return f"0 {what}"
    names = [bounded_text(name, _LONGEST_NAME) for name in _names(pairs)[:_NAMES_IN_TEXT]]
    more = f" and {len(pairs) - len(names)} more" if len(pairs) > len(names) else ""
    return f"{len(pairs)} {what}: {', '.join(names)}{more}"


def _short(name: str) -> str:
    return name.removeprefix("meshlib.")


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
