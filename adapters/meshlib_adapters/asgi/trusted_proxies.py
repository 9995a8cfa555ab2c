"""`TrustedProxies`: the client that trusted proxies name, for an application behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshlib.client_claims import ForwardingPolicy, Peer, claimed_address, claimed_secure
from meshlib.errors import ConfigurationError
from meshlib.forwarded import x_forwarded
from meshlib_adapters.asgi.scope import peer_of
from meshlib_adapters.asgi.types import ASGIApplication, Receive, Scope, Send
from meshlib_adapters.config.readers import read_proxies

__all__ = ["TrustedProxies"]

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_FORWARDED: Final = (b"forwarded",)
_X_FORWARDED: Final = (_FOR, _PROTO)


class TrustedProxies:
    """Sets `client` and `scheme` of a scope by what the proxies in `trusted` claim: addresses,
    networks, and "unix:" for the other end of a Unix socket. Claims of all others are not read.

        app = TrustedProxies(app, ["10.0.0.0/8"])

    They are read from X-Forwarded-For and X-Forwarded-Proto or, with `forwarded`, from Forwarded
    alone (RFC 7239): name the one that your proxy writes, for it passes the other one on as the
    client sent it. The client is the last address that is not a trusted proxy; its port is 0.
    `client` is None where a trusted proxy claims something that is no address ("unknown") or cannot
    be read. The fields stay as they came. Raises `ConfigurationError`.
    """

    def __init__(
        self, app: ASGIApplication, trusted: Sequence[str], *, forwarded: bool = False
    ) -> None:
        try:
            self._policy = ForwardingPolicy(trusted_proxies=read_proxies(list(trusted)))
        except ValueError as error:
            hint = 'write ["10.0.0.0/8"]'
            raise ConfigurationError(str(error), where="TrustedProxies", hint=hint) from None
        self._forwarded = forwarded
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entrance."""
        if scope["type"] in ("http", "websocket"):
            peer = peer_of(scope, self._policy)
            if peer.trusted:
                scope = {**scope, **self._claims(scope, peer)}
        await self.app(scope, receive, send)

    def _claims(self, scope: Scope, peer: Peer) -> Scope:
        wanted = _FORWARDED if self._forwarded else _X_FORWARDED
        # The values as the server has them, each line by itself: what a client puts into the first
        # ones must not void the last one, which the proxy wrote.
        pairs = [
            (name.lower(), value) for name, value in scope["headers"] if name.lower() in wanted
        ]
        if self._forwarded:
            pairs = x_forwarded([value for _, value in pairs])
        changes: Scope = {}
        address = claimed_address(
            [value for name, value in pairs if name == _FOR], peer, self._policy
        )
        if address != peer.address:
            changes["client"] = (address, 0) if address else None
        protos = [value for name, value in pairs if name == _PROTO]
        if protos:
            scheme = "https" if claimed_secure(protos) else "http"
            if scheme != peer.scheme:
                websocket = scope["type"] == "websocket"
                changes["scheme"] = scheme.replace("http", "ws") if websocket else scheme
        return changes
