"""Plain HTTP on the TLS port."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshlib_adapters.http1.front import HTTP1Front

if TYPE_CHECKING:
    import asyncio

    from meshlib_adapters.listeners.http_clients import HTTPClients

__all__ = ["EarlyConnection"]


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
