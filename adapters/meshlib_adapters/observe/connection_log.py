"""One access record for each client that was no HTTP request: TLS that was passed through or
refused, and clients of TCP and UDP ports.
"""

from __future__ import annotations

import json
import time
from typing import Literal

from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.records import PortRecord, TunnelRecord

__all__ = ["TunnelLog"]

_text = json.JSONEncoder().encode


class TunnelLog:
    """What a `TLSListener` (or, by `add_port`, a port's) tells at the end of each client becomes a
    line of `log`, JSON or combined.
    """

    def __init__(self, log: AccessLog, *, form: Literal["json", "combined"]) -> None:
        self._log = log
        self._format = _json_line if form == "json" else _combined_line
        self._format_port = _json_port if form == "json" else _combined_port
        self._second = -1
        self._stamp = ""
        self._pattern = "%Y-%m-%dT%H:%M:%S" if form == "json" else "%d/%b/%Y:%H:%M:%S +0000"

    def __call__(self, record: TunnelRecord) -> None:
        """Take a record; one of a connection that was ended here says nothing, for its requests
        have their own.
        """
        if record.outcome == "terminated":
            return
        stamp, milliseconds = self._now()
        self._log.add_line(self._format(record, stamp, milliseconds))

    def add_port(self, record: PortRecord) -> None:
        """Take a record of a TCP connection or a UDP flow."""
        stamp, milliseconds = self._now()
        self._log.add_line(self._format_port(record, stamp, milliseconds))

    def _now(self) -> tuple[str, int]:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime(self._pattern, time.gmtime(second))
        return self._stamp, int((now - second) * 1000)


def _json_line(record: TunnelRecord, stamp: str, milliseconds: int) -> str:
    client, name, route, endpoint, outcome, received, sent, seconds = record
    # Client, endpoint and outcome are our own words and addresses; names are others'.
    return (
        f'{{"time":"{stamp}.{milliseconds:03d}Z","client":"{client}","protocol":"TLS","server_name":{_text(name)},"route":{_text(route)},'
        f'"endpoint":"{endpoint}","received":{received},"bytes":{sent},"seconds":{seconds:.6f},"outcome":"{outcome}"}}\n'
    )


def _combined_line(record: TunnelRecord, stamp: str, milliseconds: int) -> str:
    client, name, route, endpoint, outcome, _, sent, seconds = record
    place = f"{_text(route)[1:-1] or '-'} {endpoint or '-'}"
    return f'{client} - - [{stamp}] "TLS {_text(name)[1:-1] or "-"}" - {sent} "-" "-" {place} 1 {seconds:.6f} {outcome} --\n'


def _json_port(record: PortRecord, stamp: str, milliseconds: int) -> str:
    client, route, endpoint, outcome, received, sent, seconds = record
    return (
        f'{{"time":"{stamp}.{milliseconds:03d}Z","client":"{client}","protocol":"{route[:3].upper()}","route":{_text(route)},'
        f'"endpoint":"{endpoint}","received":{received},"bytes":{sent},"seconds":{seconds:.6f},"outcome":"{outcome}"}}\n'
    )


def _combined_port(record: PortRecord, stamp: str, milliseconds: int) -> str:
    client, route, endpoint, outcome, _, sent, seconds = record
    place = f"{_text(route)[1:-1]} {endpoint or '-'}"
    return f'{client} - - [{stamp}] "{route[:3].upper()} -" - {sent} "-" "-" {place} 1 {seconds:.6f} {outcome} --\n'
