"""The contents of an ASGI scope as values of the core: the request's head and who is at the other
end.

Servers differ in what they let through, and HTTP/2 and 3 have no lines that a line end could break.
So nothing of a scope is taken as it is: the request line and the field lines are written out and
parsed as if they had come off the wire.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from meshlib.client_claims import UNIX, ForwardingPolicy, Peer, is_trusted
from meshlib.errors import LimitExceeded, ProtocolError, RequestHeadError
from meshlib.http1 import head_of, section_of
from meshlib.messages import RequestHead
from meshlib.proxy_protocol import ProxyAddress
from meshlib_adapters.asgi.types import Scope
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.proxy.request_cache import RequestCache

__all__ = [
    "ScopeReader",
    "addresses_of",
    "is_multiplexed",
    "peer_of",
    "possible_heads_of",
    "routing_head_of",
]

# What belongs to the handshake that the server has made with the client; ours with the upstream is
# made anew.
_OF_HANDSHAKE: Final = (b"sec-websocket-", b"te")
# Heads and peers that are remembered, and the most fields and bytes of such a head.
_KNOWN: Final = 512
_FIELDS: Final = 64
_LONGEST: Final = 2048


class ScopeReader:
    """Reads the heads and the peers of scopes, and remembers what clients repeat."""

    def __init__(
        self, settings: HTTPSettings, policy: ForwardingPolicy, cache: RequestCache
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._cache = cache
        self._heads: dict[tuple[object, ...], RequestHead] = {}
        self._peers: dict[tuple[object, object, object], Peer] = {}

    def head(self, scope: Scope) -> RequestHead:
        """The head of an `http` or `websocket` scope, without the wish for an upgrade, which ASGI
        cannot carry out.

        That of a WebSocket is a GET whose Sec-WebSocket-Protocol lists the scope's subprotocols.
        Raises `ProtocolError` as a listener would.
        """
        if scope["type"] != "http":
            return self._new_head(scope, _handshake_pairs(scope))
        pairs = tuple(scope["headers"])
        raw, query = scope.get("raw_path"), scope.get("query_string")
        if not raw or len(pairs) > _FIELDS or len(raw) > _LONGEST or len(query or b"") > _LONGEST:
            return self._new_head(scope, pairs)
        key = (pairs, scope["method"], raw, query, scope.get("http_version"))
        try:
            head = self._heads.get(key)
        except TypeError:  # lists, or bytes of another type
            return self._new_head(scope, pairs)
        if head is None:
            head = self._new_head(scope, pairs)
            if len(head.fields.block) <= _LONGEST:
                if len(self._heads) >= _KNOWN:
                    self._heads.clear()
                self._heads[key] = head
        return head

    def _new_head(self, scope: Scope, pairs: tuple[tuple[bytes, bytes], ...]) -> RequestHead:
        websocket = scope["type"] == "websocket"
        try:
            fields = self._cache.paired_fields(pairs)
        except TypeError:
            pairs = tuple([(bytes(name), bytes(value)) for name, value in pairs])
            fields = self._cache.paired_fields(pairs)
        method = b"GET" if websocket else _ascii(scope["method"])
        target = _target(scope)
        if target[:1] != b"/" and target != b"*" and is_multiplexed(scope):
            # RFC 9113 8.3.1
            raise RequestHeadError("a :path that is no path", reason="bad_target")
        head = head_of(method, target, 0 if scope.get("http_version") == "1.0" else 1, fields)
        if websocket and (fields.content_length or fields.chunked):
            raise RequestHeadError("a WebSocket handshake with a body", reason="body_refused")
        limit = self._settings.max_body
        if limit is not None and (fields.content_length or 0) > limit:
            raise LimitExceeded("size of the body", limit, reason="body_too_large", status_hint=413)
        return head

    def peer(self, scope: Scope) -> Peer:
        """The other end, as far as the server says something sensible of it."""
        client, server = scope.get("client"), scope.get("server")
        key = (client and client[0], server and server[1], scope.get("scheme"))
        peer = self._peers.get(key)
        if peer is None:
            if len(self._peers) >= _KNOWN:
                self._peers.clear()
            self._peers[key] = peer = peer_of(scope, self._policy)
        return peer


def _handshake_pairs(scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
    pairs = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
    pairs = [
        pair
        for pair in pairs
        if not pair[0].lower().startswith(_OF_HANDSHAKE[0]) and pair[0].lower() != _OF_HANDSHAKE[1]
    ]
    offered = scope.get("subprotocols")
    if offered:
        pairs.append((b"Sec-WebSocket-Protocol", _ascii(", ".join(offered))))
    return tuple(pairs)


def possible_heads_of(scope: Scope) -> Iterator[RequestHead]:
    """Yield heads that a table can route, one for each Host field that can be read and one without,
    whatever else is wrong with the request. For a target that cannot be read, "/" stands.
    """
    try:
        targets = (_target(scope), b"/")
    except ProtocolError:
        targets = (b"/", b"/")
    for host in [
        *([(b"host", bytes(value))] for name, value in scope["headers"] if _is_host(name)),
        [],
    ]:
        for target in targets:
            with contextlib.suppress(ProtocolError):
                yield head_of(b"GET", target, 1 if host else 0, section_of(host))
                break


def routing_head_of(scope: Scope) -> RequestHead | None:
    """The head by which a table routes an `http` or `websocket` scope, with no field but its Host;
    None where there is no telling: a target or a Host that cannot be read, or several Hosts.
    """
    host = [(b"host", bytes(value)) for name, value in scope["headers"] if _is_host(name)]
    try:
        method = _ascii(scope.get("method", "GET"))
        return head_of(method, _target(scope), 1 if host else 0, section_of(host))
    except ProtocolError:
        return None


def _is_host(name: Any) -> bool:
    return bytes(name).lower() == b"host"


def is_multiplexed(scope: Scope) -> bool:
    """HTTP/2 or 3, where a body needs neither a length nor a coding."""
    return not str(scope.get("http_version", "1.1")).startswith("1")


def peer_of(scope: Scope, policy: ForwardingPolicy) -> Peer:
    """The other end, as far as the server says something sensible of it. One without an address, of
    a server without a port, is that of a Unix socket.
    """
    client, server = scope.get("client"), scope.get("server")
    address = str(client[0]) if client else ""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        address = UNIX if not address and _port(server) is None else ""
    scheme = "https" if scope.get("scheme") in ("https", "wss") else "http"
    return Peer(
        address,
        scheme,
        _port(server) or 0,
        is_trusted(address, policy.trusted_proxies),
    )


def addresses_of(scope: Scope) -> tuple[ProxyAddress | None, ProxyAddress | None]:
    """The client's address and the server's, where they are IP addresses with ports; for upstreams
    that want a PROXY protocol header.
    """
    return _address(scope.get("client")), _address(scope.get("server"))


def _address(pair: Any) -> ProxyAddress | None:
    port = _port(pair)
    if port is None:
        return None
    try:
        address = ipaddress.ip_address(pair[0])
    except ValueError:
        return None
    return ProxyAddress(str(getattr(address, "ipv4_mapped", None) or address), port)


def _port(pair: Any) -> int | None:
    # ASGI says that a port is a number; granian writes it as text.
    port = pair[1] if pair else None
    if isinstance(port, str) and len(port) <= 5 and port.isascii() and port.isdigit():
        port = int(port)
    return port if isinstance(port, int) and 0 <= port <= 65535 else None


def _target(scope: Scope) -> bytes:
    raw: Any = scope.get("raw_path")
    if raw:
        path = bytes(raw).partition(b"?")[0]
    else:
        try:
            path = quote(scope["path"] or "/", safe="/:@!$&'()*+,;=~-._").encode()
        except UnicodeEncodeError:
            raise RequestHeadError("a path that no bytes can be", reason="bad_target") from None
    query: bytes = scope.get("query_string") or b""
    return path + b"?" + query if query else path


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise RequestHeadError(
            "a method or subprotocol that is not ASCII", reason="bad_request_line"
        ) from None
