"""Messages from a worker to the supervisor: JSON, read with suspicion.

A worker talks to the world, so the supervisor, which may be root and holds the engine's socket,
takes nothing from it but numbers and sticky bindings, within limits. Both ends keep to the same
limits, which stand here and in `meshlib.model`: values beyond them are left out by the writer, and
by the reader, and counted; what is malformed is a ValueError. (`messages` has the other direction.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Final

from meshlib.balancing import Binding, Standing
from meshlib.bounds import MAX_NAME
from meshlib.model import ListeningPort, Scheme
from meshlib_adapters.observe.metrics.changes import MAX_PIECE

__all__ = [
    "MAX_BINDING_KEY",
    "MAX_ERROR",
    "MAX_FAILED",
    "MAX_REPORT",
    "Counters",
    "OutOfRange",
    "Report",
    "parse_bindings",
    "parse_error",
    "parse_report",
    "write_bindings",
    "write_error",
    "write_report",
]

# Bytes of a frame from a worker: several of the pieces in which changes and bindings are written.
# Such a frame is read in some milliseconds.
MAX_REPORT: Final = 4 * MAX_PIECE

# Bytes of the message that says why a worker cannot start.
MAX_ERROR: Final = 4000

# Bytes of a cookie's value as tables keep it (`meshlib.balancing.stickiness.session_key`).
MAX_BINDING_KEY: Final = 64

# Ports that could not be opened, in one report, and the largest error number of the system.
MAX_FAILED: Final = 1000
_MAX_ERRNO: Final = 4095
_PORTS: Final = (Scheme.TCP, Scheme.UDP)

# Counts and versions stay below this.
_MAX_COUNT: Final = 1 << 63


class OutOfRange(ValueError):
    """A well-formed message with a number that is not accepted."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Events since a worker's start; each number only grows.

    `requests` with a response, and how many of them with which class of status (`status_none`: the
    client left before); TLS connections accepted, refused, and connected to an endpoint; access
    records lost; on published ports TCP connections likewise, UDP flows, and datagrams received,
    sent to clients, and dropped.
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
        return Counters(
            *(getattr(self, item.name) + getattr(other, item.name) for item in fields(self))
        )


@dataclass(frozen=True, slots=True)
class Report:
    """State of a worker. `version` is that of the routes it serves (-1: none yet), `ready` whether
    it accepts connections.

    `connections` and `tunnels` (TLS) are open now, likewise `ports`, `port_connections` (TCP) and
    `flows` (UDP) of published ports; `cut` is how many a drain has ended by force. `failed` are
    ports that could not be opened, with the system's error number; at most `MAX_FAILED` are told.
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
    failed: tuple[tuple[ListeningPort, int], ...] = ()


def write_report(report: Report) -> bytes:
    """The report as the supervisor reads it; numbers out of range become the nearest in range."""
    data = asdict(report)
    counters = {name: _clipped(value) for name, value in data.pop("counters").items()}
    version = _clipped(data.pop("version"), -1)
    ready = data.pop("ready")
    data.pop("failed")
    failed = [
        (_PORTS.index(port.scheme), port.port, number if 0 <= number <= _MAX_ERRNO else 0)
        for port, number in report.failed[:MAX_FAILED]
    ]
    numbers = {name: _clipped(value) for name, value in data.items()}
    return json.dumps(
        {
            "ready": ready,
            "version": version,
            **numbers,
            "counters": counters,
            "failed": failed,
        }
    ).encode()


def parse_report(data: bytes) -> Report:
    """The report that was written; `OutOfRange` for one with a number that `write_report` would not
    write, ValueError for anything else.
    """
    found = _load(data)
    if not isinstance(found, dict) or not isinstance(ready := found.pop("ready", None), bool):
        raise ValueError("not a report")
    counters = found.pop("counters", None)
    if not isinstance(counters, dict):
        raise ValueError("not a report")
    version = _number(found.pop("version", None), -1)
    failed = _failed(found.pop("failed", None))
    try:
        numbers = {name: _number(value) for name, value in found.items()}
        counted = Counters(**{name: _number(value) for name, value in counters.items()})
        return Report(ready=ready, version=version, counters=counted, failed=failed, **numbers)
    except TypeError:
        raise ValueError("not a report") from None


def _failed(items: object) -> tuple[tuple[ListeningPort, int], ...]:
    if not isinstance(items, list):
        raise ValueError("not a list of ports")
    if len(items) > MAX_FAILED:
        raise OutOfRange("too many ports")
    found = []
    for item in items:
        if not isinstance(item, list) or len(item) != 3:
            raise ValueError("not a port")
        scheme, port, number = map(_number, item)
        if scheme >= len(_PORTS) or not 1 <= port <= 65535 or number > _MAX_ERRNO:
            raise OutOfRange("a port is out of range")
        found.append((ListeningPort(_PORTS[scheme], port), number))
    return tuple(found)


def write_bindings(
    bindings: Iterable[Binding], on_dropped: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """Bindings as the supervisor, and then the workers, read them, in pieces of about `MAX_PIECE`
    bytes.

    One with a name or a value that is too long is left out, and `on_dropped` is called.
    """
    waiting: list[str] = []
    size = 0
    for binding in bindings:
        if not _fits(binding):
            on_dropped()
            continue
        text = json.dumps((*binding[:2], binding.value.decode("latin-1"), *binding[3:]))
        if size + len(text) > MAX_PIECE:
            yield f"[{','.join(waiting)}]".encode()
            waiting, size = [], 0
        waiting.append(text)
        size += len(text) + 1
    if waiting:
        yield f"[{','.join(waiting)}]".encode()


def _fits(binding: Binding) -> bool:
    upstream, cookie, value, endpoint, _ = binding
    return (
        len(upstream) <= MAX_NAME
        and len(cookie) <= MAX_NAME
        and len(value) <= MAX_BINDING_KEY
        and len(endpoint) <= MAX_NAME
    )


def parse_bindings(data: bytes, on_dropped: Callable[[], None] = lambda: None) -> list[Binding]:
    """The bindings that were written, without those that `write_bindings` would leave out;
    ValueError for anything else.
    """
    found = _load(data)
    if not isinstance(found, list):
        raise ValueError("not a list of bindings")
    result: list[Binding] = []
    for item in found:
        if (
            not isinstance(item, list)
            or len(item) != 5
            or not all(isinstance(text, str) for text in item[:4])
        ):
            raise ValueError("not a binding")
        upstream, cookie, text, endpoint, standing = item
        number = _number(standing)
        # UnicodeEncodeError is a ValueError.
        binding = Binding(
            upstream,
            cookie,
            text.encode("latin-1"),
            endpoint,
            Standing(min(number, Standing.PROVEN)),
        )
        if _fits(binding) and number == binding.standing:
            result.append(binding)
        else:
            on_dropped()
    return result


def write_error(message: str) -> bytes:
    """The reason why a worker cannot start, as the supervisor reads it."""
    return message.encode("utf-8", "replace")[:MAX_ERROR]


def parse_error(data: bytes) -> str:
    """The message that was written."""
    return data[:MAX_ERROR].decode("utf-8", "replace")


def _load(data: bytes) -> object:
    try:
        found: object = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found


def _clipped(value: int, least: int = 0) -> int:
    return min(max(value, least), _MAX_COUNT - 1)


def _number(value: object, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("not a count")
    if not least <= value < _MAX_COUNT:
        raise OutOfRange("a count is out of range")
    return value
