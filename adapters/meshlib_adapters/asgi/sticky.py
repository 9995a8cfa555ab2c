"""`Sticky`: the cookie by which a gateway keeps a session on one endpoint."""

from __future__ import annotations

import re
import secrets
import time
from typing import Final, Literal

from meshlib.balancing import cookie_values, set_cookie_value
from meshlib.errors import ConfigurationError
from meshlib_adapters.asgi.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["Sticky"]

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Sticky:
    """Sets the cookie `cookie` to a value of its own where a client brings none and `app` sets
    none. For an application that has no session cookie and runs in several endpoints behind a route
    with `sticky_sessions=NAME` (`Service(..., sticky=NAME)`): a gateway binds sessions to endpoints
    by such a cookie, and sets none itself.

        app = Sticky(app, "SID")

    Also in front of a `MeshApp`, for services that cannot be changed: the new value is in the
    request that `app` gets, so its first endpoint stays its endpoint. The cookie lasts for the
    browser's session or `max_age` seconds, is HttpOnly, and Secure where the client uses TLS. It
    says nothing about the client and proves nothing.
    """

    def __init__(
        self,
        app: ASGIApplication,
        cookie: str,
        *,
        max_age: int | None = None,
        same_site: Literal["lax", "strict", "none"] = "lax",
    ) -> None:
        if not _TOKEN.fullmatch(cookie):
            hint = 'write letters and digits, "SID"'
            raise ConfigurationError(f"{cookie!a} names no cookie", where="Sticky", hint=hint)
        age = "" if max_age is None else f"; Max-Age={int(max_age)}"
        self._attributes = f"; Path=/{age}; HttpOnly; SameSite={same_site.capitalize()}".encode()
        self._name = cookie.encode()
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entrance."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        brought = [value for name, value in scope["headers"] if name.lower() == b"cookie"]
        if cookie_values(brought, self._name):
            return await self.app(scope, receive, send)
        pair = self._name + b"=" + secrets.token_urlsafe(18).encode()
        secure = b"; Secure" if scope.get("scheme") in ("https", "wss") else b""

        async def sending(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                fields = list(message.get("headers", ()))
                own = [value for name, value in fields if name.lower() == b"set-cookie"]
                if set_cookie_value(own, self._name, time.time()) is None:
                    fields.append((b"set-cookie", pair + self._attributes + secure))
                message = {**message, "headers": fields}
            await send(message)

        others = [item for item in scope["headers"] if item[0].lower() != b"cookie"]
        headers = [*others, (b"cookie", b"; ".join([*brought, pair]))]
        return await self.app({**scope, "headers": headers}, receive, sending)
