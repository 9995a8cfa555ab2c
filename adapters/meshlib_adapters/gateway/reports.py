"""What workers tell the supervisor: JSON, read with suspicion.

A worker talks to the world, so the supervisor, which may be root and holds the engine's socket, takes nothing from it but numbers
and sessions, within limits. (What the supervisor says to its workers is in `orders`.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Final, TypeAlias

__all__ = ["MAX_REPORT", "Counters", "Report", "Session", "parse_report", "parse_sessions", "write_report", "write_sessions"]

# Bytes of a frame from a worker: ten sessions with the longest values fit many times over.
MAX_REPORT: Final = 1 << 20

_MAX_COUNT: Final = 1 << 63

# upstream, name of the cookie, its value, id of the endpoint
Session: TypeAlias = tuple[str, str, bytes, str]


@dataclass(frozen=True, slots=True)
class Counters:
    """What has happened since a worker's start; each number only grows.

    `requests` that were answered, and of those how many with which class of status (`status_none`: the client left before); TLS
    connections accepted, refused, and brought to an endpoint; access records that were lost; on the ports of services TCP connections
    likewise, UDP flows, and datagrams that came, that were sent to clients, and that were dropped.
    """

    requests: int = 0
    status_1xx: int = 0
    status_2xx: int = 0
    status_3xx: int = 0
    status_4xx: int = 0
    status_5xx: int = 0
    status_none: int = 0
    tls_accepted: int = 0
    tls_refused: int = 0
    tls_tunnels: int = 0
    access_records_lost: int = 0
    tcp_accepted: int = 0
    tcp_refused: int = 0
    tcp_tunnels: int = 0
    udp_flows: int = 0
    udp_received: int = 0
    udp_sent: int = 0
    udp_dropped: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


@dataclass(frozen=True, slots=True)
class Report:
    """How a worker fares. `version` is that of the table it serves (-1: none yet), `ready` whether it accepts connections.

    `connections` and `tunnels` (TLS) are those open now, `ports`, `port_connections` (TCP) and `flows` (UDP) those
    of services; `cut` is how many a drain has ended by force.
    """

    ready: bool = False
    version: int = -1
    connections: int = 0
    tunnels: int = 0
    cut: int = 0
    counters: Counters = Counters()
    ports: int = 0
    port_connections: int = 0
    flows: int = 0


def write_report(report: Report) -> bytes:
    """The report as the supervisor reads it."""
    return json.dumps(asdict(report)).encode()


def parse_report(data: bytes) -> Report:
    """The report that was written; ValueError for anything else."""
    found = _load(data)
    if not isinstance(found, dict) or not isinstance(ready := found.pop("ready", None), bool):
        raise ValueError("not a report")
    counters = found.pop("counters", None)
    if not isinstance(counters, dict):
        raise ValueError("not a report")
    version = _number(found.pop("version", None), -1)
    try:
        numbers = {name: _number(value) for name, value in found.items()}
        counted = Counters(**{name: _number(value) for name, value in counters.items()})
        return Report(ready=ready, version=version, counters=counted, **numbers)
    except TypeError:
        raise ValueError("not a report") from None


def write_sessions(sessions: Iterable[Session]) -> bytes:
    """Sessions as the supervisor, and then the workers, read them."""
    return json.dumps([(upstream, cookie, value.decode("latin-1"), endpoint) for upstream, cookie, value, endpoint in sessions]).encode()


def parse_sessions(data: bytes) -> list[Session]:
    """The sessions that were written; ValueError for anything else."""
    found = _load(data)
    if not isinstance(found, list):
        raise ValueError("not a list of sessions")
    result: list[Session] = []
    for item in found:
        if not isinstance(item, list) or len(item) != 4 or not all(isinstance(text, str) for text in item):
            raise ValueError("not a session")
        upstream, cookie, value, endpoint = item
        result.append((upstream, cookie, value.encode("latin-1"), endpoint))  # UnicodeEncodeError is a ValueError
    return result


def _load(data: bytes) -> object:
    try:
        found: object = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found


def _number(value: object, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < _MAX_COUNT:
        raise ValueError("not a count")
    return value
