"""The contents of a WSGI environ as values of the core: the request's head and who is at the other
end.

PEP 3333 has names of fields with underscores for hyphens, and decoded paths. So `X_A` and `X-A` are
one name here, and are taken for `X-A`, to which every rule about claims applies; the target is the
raw one where the server tells it. Nothing is taken as it is: the request line and the field lines
are written out and parsed as if they had come off the wire.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote
from wsgiref.types import WSGIEnvironment

from meshlib.client_claims import UNIX, ForwardingPolicy, Peer, is_trusted
from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError
from meshlib.http1 import head_of, section_of
from meshlib.messages import RequestHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.config.http import HTTPSettings

__all__ = [
    "addresses_of",
    "is_multiplexed",
    "peer_of",
    "possible_heads_of",
    "request_head_of",
]

# The two fields that CGI has under names of their own: whoever comes by these has been written with
# an underscore (`Content_Length`), to be read as another length than the server's. TE asks for
# trailers, which WSGI does not have.
_NEVER_READ: Final = frozenset({"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TE"})
# gunicorn marks HTTP/2 by a variable that looks like a field.
_NEVER_READ_IN_HTTP2: Final = _NEVER_READ | {"HTTP_VERSION"}
_SAFE: Final = "/:@!$&'()*+,;=~-._"


def request_head_of(environ: WSGIEnvironment, settings: HTTPSettings) -> RequestHead:
    """The head of a request, without the wish for an upgrade, which WSGI cannot carry out.

    Raises `ProtocolError` as a listener would, and for a WebSocket's handshake (501).
    """
    fields = section_of(_pairs(environ), max_fields=settings.field_count)
    minor_version = 0 if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else 1
    method = _latin(environ["REQUEST_METHOD"])
    head = head_of(method, _target(environ), minor_version, fields)
    if settings.max_body is not None and (fields.content_length or 0) > settings.max_body:
        raise LimitExceeded(
            "size of the body", settings.max_body, reason="body_too_large", status_hint=413
        )
    if fields.chunked and not environ.get("wsgi.input_terminated"):
        # Nobody tells where this body ends: the server has not read the coding.
        raise RequestHeadError(
            "a chunked body, which the server does not read", reason="no_length", status_hint=411
        )
    upgrade = head.fields.upgrade
    if upgrade is None:
        return head
    if b"websocket" in upgrade.lower():
        raise RequestHeadError(
            "a WebSocket, which WSGI cannot carry", reason="upgrade_refused", status_hint=501
        )
    return head._replace(fields=head.fields._replace(upgrade=None))  # a mere offer, as of h2c


def possible_heads_of(environ: WSGIEnvironment) -> Iterator[RequestHead]:
    """Yield heads that a table can route, one for each Host that the client may have meant and one
    without, whatever else is wrong with the request. For a target that cannot be read, "/" stands.
    """
    try:
        targets = (_target(environ), b"/")
    except ProtocolError:
        targets = (b"/", b"/")
    host = environ.get("HTTP_HOST")
    values = str(host).split(",") if host is not None else []  # servers join several by commas
    for fields in [*([(b"Host", value.strip())] for value in values), []]:
        for target in targets:
            with contextlib.suppress(ProtocolError):
                pairs = [(name, _latin(value)) for name, value in fields]
                yield head_of(b"GET", target, 1 if pairs else 0, section_of(pairs))
                break


def is_multiplexed(environ: WSGIEnvironment) -> bool:
    """HTTP/2 or 3, where a body needs neither a length nor a coding."""
    return not str(environ.get("SERVER_PROTOCOL", "HTTP/1.1")).startswith("HTTP/1.")


def peer_of(environ: WSGIEnvironment, policy: ForwardingPolicy) -> Peer:
    """The other end, as far as the server says something sensible of it.

    That of a Unix socket has no address (waitress calls it "localhost" without a port). There the
    server's port comes from the Host field, which the client writes, so none is told.
    """
    address = environ.get("REMOTE_ADDR")
    unix = address == "" or (address == "localhost" and environ.get("REMOTE_PORT") == "None")
    try:
        ipaddress.ip_address(address or "")
    except ValueError:
        address = UNIX if unix else ""
    scheme = "https" if environ.get("wsgi.url_scheme") == "https" else "http"
    port = 0 if unix else _port(environ.get("SERVER_PORT")) or 0
    return Peer(str(address), scheme, port, is_trusted(str(address), policy.trusted_proxies))


def addresses_of(environ: WSGIEnvironment) -> tuple[ProxyAddress | None, ProxyAddress | None]:
    """The client's address and the server's, where they are IP addresses with ports; for upstreams
    that want a PROXY protocol header.
    """
    return (
        _address(environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT")),
        _address(environ.get("SERVER_NAME"), environ.get("SERVER_PORT")),
    )


def _address(host: Any, port: Any) -> ProxyAddress | None:
    number = _port(port)
    if number is None:
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.is_unspecified:  # what the server listens on, not what the client connected to
        return None
    return ProxyAddress(str(getattr(address, "ipv4_mapped", None) or address), number)


def _port(text: Any) -> int | None:
    text = str(text)
    if len(text) <= 5 and text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    return None


def _pairs(environ: WSGIEnvironment) -> list[tuple[bytes, bytes]]:
    never = _NEVER_READ_IN_HTTP2 if is_multiplexed(environ) else _NEVER_READ
    pairs = []
    for name, value in environ.items():
        # Middleware puts values of its own into the environ, also such as are no text.
        if name[:5] == "HTTP_" and name not in never and isinstance(value, str):
            pairs.append((_latin(name[5:].replace("_", "-").title()), _latin(value)))
    for name, field in (("CONTENT_TYPE", b"Content-Type"), ("CONTENT_LENGTH", b"Content-Length")):
        if value := environ.get(name):  # "" is as good as none
            pairs.append((field, _latin(value)))
    return pairs


def _target(environ: WSGIEnvironment) -> bytes:
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        return _latin(raw)
    path = _latin(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))
    target = quote(path or b"/", safe=_SAFE).encode()
    query = _latin(environ.get("QUERY_STRING", ""))
    return target + b"?" + query if query else target


def _latin(text: str) -> bytes:
    # Bytes as text, as PEP 3333 has them.
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise RequestHeadError("text that no bytes can be", reason="bad_request_line") from None
