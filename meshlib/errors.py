"""All exceptions that meshlib raises on purpose.

    MeshError                       everything we raise on purpose
    ├── ConfigurationError          a human's mistake; has .where and .hint
    └── ProtocolError               a peer's mistake; has .status_hint
        ├── AuthorityError          not a host name, address or port
        ├── PathError               not a path prefix that a route can have
        ├── ClientHelloError        not a TLS ClientHello that OpenSSL would accept
        ├── ProxyProtocolError      not a PROXY protocol header
        ├── RequestHeadError        not a request head that we would forward
        ├── ResponseHeadError       not a response that we would pass on
        ├── FrameError              not a permitted HTTP/2 frame; has .code, .stream
        └── LimitExceeded           well formed so far, but more than we keep; has .what, .limit

Not exceptions: "need more data", "no route", a redirect, an unhealthy endpoint, and a
wrong label on somebody's service (a `Diagnostic`, a value kept beside the snapshot).
A parser raises only `ProtocolError`; any other exception out of one is a bug.
"""

from __future__ import annotations

__all__ = [
    "AuthorityError",
    "ClientHelloError",
    "ConfigurationError",
    "FrameError",
    "LimitExceeded",
    "MeshError",
    "PathError",
    "ProtocolError",
    "ProxyProtocolError",
    "RequestHeadError",
    "ResponseHeadError",
]


class MeshError(Exception):
    """Base of everything that meshlib raises on purpose."""


class ConfigurationError(MeshError):
    """A mistake made by a human in a file, a setting or an argument.

    `where` names the place ("gateway.toml: http.listen"), `hint` the cure; both may be empty.
    """

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text


class ProtocolError(MeshError):
    """A mistake made by a peer. `status_hint` is the fitting HTTP status for a response.

    `reason` is a stable, short, lower-case token for logs and metrics; the message is for people
    and never holds the peer's bytes unescaped.
    """

    def __init__(self, message: str, *, reason: str, status_hint: int = 400) -> None:
        super().__init__(message)
        self.reason = reason
        self.status_hint = status_hint


class AuthorityError(ProtocolError):
    """Text that is not `host [ ":" port ]`. `position` is the index of the offending character."""

    def __init__(self, message: str, *, reason: str, position: int = 0) -> None:
        super().__init__(message, reason=reason, status_hint=400)
        self.position = position


class PathError(ProtocolError):
    """Text that is not a path prefix. `position` is the index of the offending character."""

    def __init__(self, message: str, *, reason: str, position: int = 0) -> None:
        super().__init__(message, reason=reason, status_hint=400)
        self.position = position


class ClientHelloError(ProtocolError):
    """Bytes that are not a TLS ClientHello. `alert` is the fitting TLS alert (RFC 8446 6.2).

    `position` is the index of the fault in the body of the message; None when it has no single
    place.
    """

    def __init__(
        self, message: str, *, reason: str, alert: int = 50, position: int | None = None
    ) -> None:
        super().__init__(message, reason=reason, status_hint=400)
        self.alert = alert
        self.position = position


class ProxyProtocolError(ProtocolError):
    """Bytes that begin like a PROXY protocol header but are malformed; the connection is to be
    closed.
    """


class RequestHeadError(ProtocolError):
    """A request head that must not be forwarded (RFC 9112)."""


class ResponseHeadError(ProtocolError):
    """A response from an upstream that must not be passed on; the client gets 502."""

    def __init__(self, message: str, *, reason: str, status_hint: int = 502) -> None:
        super().__init__(message, reason=reason, status_hint=status_hint)


class FrameError(ProtocolError):
    """A frame of HTTP/2 in a place where it is forbidden.

    `code` is that of RFC 9113 7. `stream`: a stream error of that stream (5.4.2); 0: a connection
    error (5.4.1).
    """

    def __init__(self, message: str, *, reason: str, code: int, stream: int = 0) -> None:
        super().__init__(message, reason=reason)
        self.code = code
        self.stream = stream


class LimitExceeded(ProtocolError):
    """Well-formed input beyond a limit: `what` was limited to `limit` (bytes or a count)."""

    def __init__(self, what: str, limit: int, *, reason: str, status_hint: int = 431) -> None:
        super().__init__(
            f"{what} is over its limit of {limit}", reason=reason, status_hint=status_hint
        )
        self.what = what
        self.limit = limit
