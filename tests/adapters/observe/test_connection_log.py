"""A record of each TLS connection, in the form of the others, whatever a client called itself."""

from __future__ import annotations

import json
import re

import pytest

from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.connection_log import ConnectionLog
from meshlib_adapters.observe.records import ConnectionRecord
from tests.support.access_lines import COMBINED

RECORDS = [
    ConnectionRecord(
        "192.0.2.1",
        "sni://shop.example.com",
        "10.0.0.5:8443",
        "closed",
        517,
        4000,
        1.25,
        "shop.example.com",
    ),
    ConnectionRecord("2001:db8::1", "", "", "bad_server_name", 0, 7, 0.0, '"}\\x1b\x1b\n'),
    ConnectionRecord("192.0.2.1", "", "", "terminated", 0, 0, 9.0, "shop.example.com"),
]


def lines(form: str) -> list[str]:
    taken: list[str] = []
    log = AccessLog(taken.append, form="json" if form == "json" else "combined")
    write = ConnectionLog(log)
    for record in RECORDS:
        write(record)
    log.flush()
    return "".join(taken).splitlines()


def test_connections_are_logged_as_json() -> None:
    first, second = (json.loads(line) for line in lines("json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "client": "192.0.2.1",
        "protocol": "TLS",
        "server_name": "shop.example.com",
        "route": "sni://shop.example.com",
        "endpoint": "10.0.0.5:8443",
        "received": 517,
        "bytes": 4000,
        "seconds": 1.25,
        "outcome": "closed",
    }
    assert second["server_name"] == RECORDS[1].server_name
    assert second["outcome"] == "bad_server_name"


def test_connections_are_logged_in_the_combined_format() -> None:
    first, second = lines("combined")
    assert (
        '"TLS shop.example.com" - 4000 "-" "-" sni://shop.example.com 10.0.0.5:8443 '
        "1 1.250000 closed --"
    ) in first
    assert "\x1b" not in second
    assert r'"TLS \"}\x1b\u001b\n" - 7 ' in second
    # But for the status it has the shape of a request's record.
    assert COMBINED.fullmatch(first.replace('" - 4000', '" 200 4000')) is not None


PORT_RECORDS = [
    ConnectionRecord("192.0.2.1", "tcp://:5432", "10.0.0.5:5432", "closed", 5, 7, 1.25),
    ConnectionRecord("2001:db8::1", "udp://:53", "", "no_endpoint", 0, 0, 0.0),
]


def port_lines(form: str) -> list[str]:
    taken: list[str] = []
    log = AccessLog(taken.append, form="json" if form == "json" else "combined")
    write = ConnectionLog(log)
    for record in PORT_RECORDS:
        write(record)
    log.flush()
    return "".join(taken).splitlines()


def test_ports_as_json() -> None:
    first, second = (json.loads(line) for line in port_lines("json"))
    assert first.pop("time").endswith("Z")
    assert first == {
        "client": "192.0.2.1",
        "protocol": "TCP",
        "route": "tcp://:5432",
        "endpoint": "10.0.0.5:5432",
        "received": 5,
        "bytes": 7,
        "seconds": 1.25,
        "outcome": "closed",
    }
    assert (second["protocol"], second["outcome"], second["endpoint"]) == ("UDP", "no_endpoint", "")


def test_connections_of_ports_are_logged_in_the_combined_format() -> None:
    first, second = port_lines("combined")
    assert '"TCP -" - 7 "-" "-" tcp://:5432 10.0.0.5:5432 1 1.250000 closed --' in first
    assert '"UDP -" - 0 "-" "-" udp://:53 - 1 0.000000 no_endpoint --' in second


@pytest.mark.parametrize("limit", [1, 3])
def test_what_does_not_fit_is_dropped_and_counted(limit: int) -> None:
    taken: list[str] = []
    log = AccessLog(taken.append, limit=limit)
    write = ConnectionLog(log)
    for _ in range(5):
        write(RECORDS[0])
    log.flush()
    assert len("".join(taken).splitlines()) == limit
    assert log.dropped == 5 - limit
