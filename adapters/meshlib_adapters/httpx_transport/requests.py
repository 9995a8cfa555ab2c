"""Requests of a program as values: the head as the bytes of HTTP/1, the host of the URL, the body,
and the time-outs; and why one got no response.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from meshlib.client_claims import ForwardingPolicy, Peer
from meshlib.errors import ProtocolError
from meshlib.http1 import head_of, section_of
from meshlib.http2.sections import Pair
from meshlib.messages import FieldSection, RequestHead
from meshlib_adapters.httpx_transport.service_names import URLHost

__all__ = [
    "OWN_FIELDS",
    "Body",
    "ClientRequest",
    "KnownFields",
    "RequestFailure",
    "TimeOuts",
    "closed",
    "failure_of",
    "host_of_url",
    "request_of",
]

# A program asks for itself: nobody's address is told, and its own fields are its own affair.
OWN_FIELDS: Final = ForwardingPolicy(mode="off", via="", request_id=False, underscores=True)

Body: TypeAlias = bytes | AsyncIterable[bytes]

_PEERS: Final = {
    secure: Peer("", "https" if secure else "http", 0, trusted=True) for secure in (False, True)
}
# Concerns the connection that httpx would have made.
_KEEP_ALIVE: Final = (b"connection", b"keep-alive")
# Sections that are remembered, and the bytes of one.
_SECTIONS: Final = 256
_LONGEST: Final = 2048


class RequestFailure(Exception):
    """A request without a (whole) response. `kind` is the name of httpx's exception for it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def closed() -> RequestFailure:
    """The failure of a request whose client was closed meanwhile."""
    return RequestFailure("ReadError", "the client was closed")


class TimeOuts(NamedTuple):
    """Seconds, as httpx means them; None: those of the settings alone."""

    connect: float | None = None
    read: float | None = None
    write: float | None = None
    pool: float | None = None

    @property
    def shortest(self) -> float | None:
        """The shortest of those before a response."""
        return min([limit for limit in (self.connect, self.read, self.pool) if limit], default=None)


class ClientRequest(NamedTuple):
    """A request of the program. `authority` is that of the URL, `head.authority` the Host field's,
    which need not be the same. `body` is b"" for none.
    """

    head: RequestHead
    host: URLHost
    authority: bytes
    body: Body
    time_outs: TimeOuts

    @property
    def peer(self) -> Peer:
        """The program."""
        return _PEERS[self.host.secure]


def host_of_url(url: Any) -> URLHost | None:
    """The host of a URL of httpx (or httpx2); None for one that is not of HTTP."""
    scheme = url.scheme
    if scheme not in ("http", "https"):
        return None
    return URLHost(url.raw_host.decode("ascii").removesuffix("."), url.port, scheme == "https")


class KnownFields:
    """Field sections of requests, of `max_fields` fields at most; those that a program sends again
    and again are read once.
    """

    def __init__(self, max_fields: int) -> None:
        self._max_fields = max_fields
        self._sections: dict[tuple[Pair, ...], FieldSection] = {}

    def section(self, pairs: Sequence[Pair]) -> FieldSection:
        """The section of the fields, less a wish to keep the connection; raises as `section_of`."""
        key = tuple(pairs)
        section = self._sections.get(key)
        if section is None:
            section = section_of(
                [pair for pair in pairs if (pair[0].lower(), pair[1].lower()) != _KEEP_ALIVE],
                max_fields=self._max_fields,
            )
            if len(section.block) <= _LONGEST:
                if len(self._sections) >= _SECTIONS:
                    self._sections.clear()
                self._sections[key] = section
        return section


def request_of(request: Any, host: URLHost, body: Body, known: KnownFields) -> ClientRequest:
    """The request that httpx (or httpx2) asks a transport for; `host` is that of its URL.

    Raises `RequestFailure` for a head that nobody may send.
    """
    url = request.url
    extensions: Mapping[str, Any] = request.extensions
    try:
        fields = known.section(request.headers.raw)
        target = extensions.get("target") or url.raw_path
        head = head_of(request.method.encode("ascii", "replace"), target, 1, fields)
    except ProtocolError as error:
        raise RequestFailure("LocalProtocolError", str(error)) from None
    # A wish for another protocol on the connection is one that nobody here could make use of.
    head = head._replace(fields=fields._replace(upgrade=None))
    return ClientRequest(head, host, url.netloc, body, _time_outs(extensions.get("timeout")))


def _time_outs(found: Mapping[str, float | None] | None) -> TimeOuts:
    return TimeOuts(**{name: found.get(name) for name in TimeOuts._fields}) if found else TimeOuts()


# Reasons (docs/access-log.md) of requests that came to no response: the names of httpx's exceptions
# for them. Every other reason is one of a response of our own.
_KINDS: Final = {
    "queue_timeout": "PoolTimeout",
    "connect_timeout": "ConnectTimeout",
    "connect_failed": "ConnectError",
    "connect_refused": "ConnectError",
    "tls_failed": "ConnectError",
    "upstream_timeout": "ReadTimeout",
    "between_bytes_timeout": "ReadTimeout",
    "upstream_reset": "ReadError",
    "upstream_vanished": "ReadError",
    "client_closed": "ReadError",
}
_OF_ENDPOINT: Final = frozenset(
    {"upstream_closed", "upstream_goaway", "upstream_refused", "bad_response", "response_too_large"}
)


def failure_of(reason: str, who: str, *, began: bool) -> RequestFailure | None:
    """The failure for the `reason` of an exchange with `who`; None for one that is a response of
    our own. `began`: a response had begun.
    """
    kind = _KINDS.get(reason)
    if kind is None:
        if not began and reason not in _OF_ENDPOINT:
            return None
        kind = "RemoteProtocolError"
    what = "the rest of the response" if began else "a response"
    return RequestFailure(kind, f"{who} did not give {what}: {reason}")
