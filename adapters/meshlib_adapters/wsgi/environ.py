"""The contents of a WSGI environ as values of the core: the request's head and who is at the other
end.

PEP 3333 has names of fields with underscores for hyphens, and decoded paths. So `X_A` and `X-A` are
one name here, and are taken for `X-A`, to which every rule about claims applies; the target is the
raw one where the server tells it. Nothing is taken as it is: the request line and the field lines
are written out and parsed as if they had come off the wire.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote
from wsgiref.types import WSGIEnvironment

from meshlib.client_claims import UNIX, ForwardingPolicy, Peer, is_trusted
from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError
from meshlib.http1 import KnownLines, head_of, section_of
from meshlib.messages import RequestHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.proxy.request_cache import RequestCache

__all__ = ["EnvironReader", "addresses_of", "is_multiplexed", "possible_heads_of"]

# The two fields that CGI has under names of their own: whoever comes by these has been written with
# an underscore (`Content_Length`), to be read as another length than the server's. TE asks for
# trailers, which WSGI does not have.
_NEVER_READ: Final = frozenset({"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TE"})
# gunicorn marks HTTP/2 by a variable that looks like a field.
_NEVER_READ_IN_HTTP2: Final = _NEVER_READ | {"HTTP_VERSION"}
# Of what clients can make anything: kept no more of it than this, and nothing longer.
_KEPT: Final = 1024
_LONGEST: Final = 64
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^`|~0-9A-Za-z]+")
_SAFE: Final = "/:@!$&'()*+,;=~-._"


class EnvironReader:
    """Reads heads and peers, with caches of what clients say again and again (bounded; shared by
    all threads).
    """

    def __init__(self, settings: HTTPSettings, policy: ForwardingPolicy) -> None:
        self._settings = settings
        self._cache = RequestCache(policy, settings.field_count, KnownLines())
        self._names = _NameLines()

        @functools.lru_cache(maxsize=_KEPT)
        def known_peer(address: str, scheme: str, port: int) -> Peer:
            return Peer(address, scheme, port, is_trusted(address, policy.trusted_proxies))

        self._known_peer = known_peer

    def head(self, environ: WSGIEnvironment) -> RequestHead:
        """The head of a request, without the wish for an upgrade, which WSGI cannot carry out.

        Raises `ProtocolError` as a listener would, and for a WebSocket's handshake (501).
        """
        fields = self._cache.first_fields(self._block(environ))
        minor_version = 0 if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else 1
        method = _latin(environ["REQUEST_METHOD"])
        head = head_of(method, _target(environ), minor_version, fields)
        limit = self._settings.max_body
        if limit is not None and (fields.content_length or 0) > limit:
            raise LimitExceeded("size of the body", limit, reason="body_too_large", status_hint=413)
        if fields.chunked and not environ.get("wsgi.input_terminated"):
            # Nobody tells where this body ends: the server has not read the coding.
            raise RequestHeadError(
                "a chunked body, which the server does not read",
                reason="no_length",
                status_hint=411,
            )
        upgrade = head.fields.upgrade
        if upgrade is None:
            return head
        if b"websocket" in upgrade.lower():
            raise RequestHeadError(
                "a WebSocket, which WSGI cannot carry", reason="upgrade_refused", status_hint=501
            )
        return head._replace(fields=head.fields._replace(upgrade=None))  # a mere offer, as of h2c

    def peer(self, environ: WSGIEnvironment) -> Peer:
        """The other end, as far as the server says something sensible of it.

        That of a Unix socket has no address (waitress calls it "localhost" without a port). There
        the server's port comes from the Host field, which the client writes, so none is told.
        """
        address = str(environ.get("REMOTE_ADDR", "?"))
        unix = not address or (address == "localhost" and environ.get("REMOTE_PORT") == "None")
        scheme = "https" if environ.get("wsgi.url_scheme") == "https" else "http"
        if unix:
            return self._known_peer(UNIX, scheme, 0)
        if _ip_address(address) is None:
            address = ""
        return self._known_peer(address, scheme, _port(environ.get("SERVER_PORT")) or 0)

    def _block(self, environ: WSGIEnvironment) -> bytes:
        # The field lines, written out.
        never = _NEVER_READ_IN_HTTP2 if is_multiplexed(environ) else _NEVER_READ
        names = self._names
        lines = []
        for name, value in environ.items():
            # Middleware puts values of its own into the environ, also such as are no text.
            if name[:5] == "HTTP_" and name not in never and isinstance(value, str):
                lines.append(names[name] + _latin(value))
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if value := environ.get(name):  # "" is as good as none
                lines.append(names[name] + _latin(value))
        lines.append(b"")
        block = b"\r\n".join(lines)
        if block.count(b"\r\n") != len(lines) - 1:  # it would read as another field
            raise RequestHeadError("a field with a line end in it", reason="bad_field")
        return block


class _NameLines(dict[str, bytes]):
    """The beginning of a field line by the name of its variable. Holds `_KEPT` at most, then begins
    anew.
    """

    def __missing__(self, name: str) -> bytes:
        field = name.removeprefix("HTTP_").replace("_", "-").title()
        if not _TOKEN.fullmatch(field):
            raise RequestHeadError("a field name that is none", reason="bad_field")
        line = f"{field}: ".encode()
        if len(name) <= _LONGEST:
            if len(self) >= _KEPT:
                self.clear()
            self[name] = line
        return line


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


def addresses_of(environ: WSGIEnvironment) -> tuple[ProxyAddress | None, ProxyAddress | None]:
    """The client's address and the server's, where they are IP addresses with ports; for upstreams
    that want a PROXY protocol header.
    """
    return (
        _address(environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT")),
        _address(environ.get("SERVER_NAME"), environ.get("SERVER_PORT")),
    )


def _address(host: Any, port: Any) -> ProxyAddress | None:
    number, address = _port(port), _ip_address(str(host))
    # "0.0.0.0" is what the server listens on, not what the client connected to.
    if number is None or address is None or address.is_unspecified:
        return None
    return ProxyAddress(str(getattr(address, "ipv4_mapped", None) or address), number)


@functools.lru_cache(maxsize=1024)
def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _port(text: Any) -> int | None:
    text = str(text)
    if len(text) <= 5 and text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    return None


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
