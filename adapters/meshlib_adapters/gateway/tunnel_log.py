"""One access record for each TLS connection that was passed through or refused, between those of HTTP requests."""

from __future__ import annotations

import json
import time
from typing import Literal

from meshlib_adapters.http.access_log import AccessLog
from meshlib_adapters.tcp import TunnelRecord

__all__ = ["TunnelLog"]

_text = json.JSONEncoder().encode


class TunnelLog:
    """What a `TLSListener` tells at the end of each connection becomes a line of `log`, as JSON or in the combined form."""

    def __init__(self, log: AccessLog, *, form: Literal["json", "combined"]) -> None:
        self._log = log
        self._format = _json_line if form == "json" else _combined_line
        self._second = -1
        self._stamp = ""
        self._pattern = "%Y-%m-%dT%H:%M:%S" if form == "json" else "%d/%b/%Y:%H:%M:%S +0000"

    def __call__(self, record: TunnelRecord) -> None:
        """Take a record; one of a connection that was ended here says nothing, for its requests have their own."""
        if record.outcome == "terminated":
            return
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime(self._pattern, time.gmtime(second))
        self._log.add_line(self._format(record, self._stamp, int((now - second) * 1000)))


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
