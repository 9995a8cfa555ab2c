"""`Record`: what became of a request or a connection, as hooks of `on_record` see it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Record"]


class Record(NamedTuple):
    """Record of one request, or of one TLS or TCP connection or UDP flow without requests.

    `protocol` is "HTTP/1.0", "HTTP/1.1", "HTTP/2", "TLS", "TCP" or "UDP", or "" for a request whose
    head could not be read; `client` the address at the other end of the connection. `host` is what
    the client named: the Host or :authority, or the server name of its hello; `method`, `target`
    and `status` are a request's, else "" and 0, and so is the status of one that got no response.

    `route` and `service` name the route, `endpoint` and `endpoint_id` the endpoint tried last, ""
    for none; `tries` counts those tried. `sent` and `received` are bytes to and from the client;
    what is received of a request is not counted (-1). `seconds` run from the first byte, or the
    accepted connection, to the end, `first_byte_seconds` to the first byte of the response (-1:
    there was none). `outcome` is the reason in docs/access-log.md, "" where nothing went wrong, or
    the outcome of a connection ("closed", "reset", ...).
    """

    protocol: str
    client: str
    host: str
    outcome: str
    seconds: float
    method: str = ""
    target: str = ""
    status: int = 0
    route: str = ""
    service: str = ""
    endpoint: str = ""
    endpoint_id: str = ""
    tries: int = 0
    sent: int = 0
    received: int = -1
    first_byte_seconds: float = -1.0
