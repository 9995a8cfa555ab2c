"""Access-log lines of connections without requests: TLS passed through or refused, TCP, UDP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.records import ConnectionRecord

__all__ = ["ConnectionLog", "connection_end"]

_text = json.JSONEncoder().encode


class ConnectionLog:
    """Writes a line to `log`, in its form, for each `ConnectionRecord` that it is called with."""

    def __init__(self, log: AccessLog) -> None:
        self._log = log
        self._format = _combined_line if log.form == "combined" else _json_line
        self._pattern = "%d/%b/%Y:%H:%M:%S +0000" if log.form == "combined" else "%Y-%m-%dT%H:%M:%S"
        self._second = -1
        self._stamp = ""

    def __call__(self, record: ConnectionRecord) -> None:
        """Write a record's line; none for a connection whose TLS was terminated here, because its
        requests have lines of their own.
        """
        if record.outcome == "terminated":
            return
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime(self._pattern, time.gmtime(second))
        self._log.add_line(self._format(record, self._stamp, int((now - second) * 1000)))


def connection_end(
    log: ConnectionLog | None, tell: Callable[[ConnectionRecord], None] | None
) -> Callable[[ConnectionRecord], None] | None:
    """Both as one; None for neither. `tell` must not raise."""
    if log is None or tell is None:
        return log or tell
    first, second = log, tell

    def both(record: ConnectionRecord) -> None:
        first(record)
        second(record)

    return both


def _json_line(record: ConnectionRecord, stamp: str, milliseconds: int) -> str:
    client, route, endpoint, outcome, received, sent, seconds, name = record
    # Client, endpoint and outcome are our own text and addresses; only names can need escapes.
    protocol = route[:3].upper() if name is None else "TLS"
    named = "" if name is None else f'"server_name":{_text(name)},'
    return (
        f'{{"time":"{stamp}.{milliseconds:03d}Z","client":"{client}","protocol":"{protocol}",'
        f'{named}"route":{_text(route)},"endpoint":"{endpoint}","received":{received},'
        f'"bytes":{sent},"seconds":{seconds:.6f},"outcome":"{outcome}"}}\n'
    )


def _combined_line(record: ConnectionRecord, stamp: str, _: int) -> str:
    client, route, endpoint, outcome, _, sent, seconds, name = record
    protocol = route[:3].upper() if name is None else "TLS"
    # What is escaped in the name stays so, once.
    shown = _text(name)[1:-1].replace("\\\\", "\\") if name else "-"
    request = f"{protocol} {shown}"
    return (
        f'{client} - - [{stamp}] "{request}" - {sent} "-" "-" {_text(route)[1:-1] or "-"} '
        f"{endpoint or '-'} 1 {seconds:.6f} {outcome} --\n"
    )
