"""HTTP/1.1 inside TLS that is ended here: a `HTTP1Front` that knows for which hosts it may
ask, and who its client proved to be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshlib.decision import Forward, Redirect, Respond
from meshlib.messages import RequestHead
from meshlib_adapters.http1.front import HTTP1Front
from meshlib_adapters.proxy.tls_client import MISDIRECTED, SecuredClient

if TYPE_CHECKING:
    import asyncio

    from meshlib_adapters.listeners.http_clients import HTTPClients

__all__ = ["EarlyConnection", "TLSClientConnection"]


class TLSClientConnection(HTTP1Front):
    """See the module."""

    __slots__ = ("_secured",)

    def __init__(self, clients: HTTPClients, secured: SecuredClient) -> None:
        super().__init__(clients.proxy, clients, "https")
        self._secured = secured

    def _forward(self, decision: Forward, head: RequestHead) -> None:
        if self._secured.allows(head.authority, self.proxy.mesh.table):
            super()._forward(decision, head)
        else:
            super()._answer(MISDIRECTED)

    def _answer(self, decision: Redirect | Respond) -> None:
        head = self.head
        if head is not None and not self._secured.allows(head.authority, self.proxy.mesh.table):
            decision = MISDIRECTED
        super()._answer(decision)

    def _lines_to_send(self, head: RequestHead, wish: bool) -> bytes | None:
        lines = super()._lines_to_send(head, wish)
        secured = self._secured
        if lines is None or not secured.asks_clients:
            return lines
        return secured.proven_lines(lines)


class EarlyConnection(HTTP1Front):
    """Plain HTTP whose first bytes were read before it was known to be that. `on_end` is called
    when the connection is gone.
    """

    __slots__ = ("_early", "_on_end")

    def __init__(self, clients: HTTPClients, early: bytes, on_end: Callable[[str], None]) -> None:
        super().__init__(clients.proxy, clients)
        self._early = early
        self._on_end = on_end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the bytes that are here."""
        super().connection_made(transport)
        early, self._early = self._early, b""
        if not self.transport.is_closing():
            self.data_received(early)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        super().connection_lost(exc)
        self._on_end("closed")
