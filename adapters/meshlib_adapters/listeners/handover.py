"""What a TLS listener asks of whoever ends TLS for it. `meshlib_adapters.listeners.terminator`
does; this module knows no TLS.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from meshlib.proxy_protocol import ProxyHeader

__all__ = ["Session", "Terminator"]


class Session(Protocol):
    """A connection that was handed over. `failure` says, for people, why a handshake failed."""

    failure: str

    def idle_since(self) -> float | None:
        """As `limits.Member.idle_since`."""

    def abort(self) -> None:
        """End now."""


class Terminator(Protocol):
    """Takes connections over, with the bytes that were read from them already.

    `on_end(outcome)` is called once, when the socket is closed, perhaps before `begin` returns.
    Outcomes that begin with "handshake_" are refusals. `claimed` is what a trusted proxy in front
    says of the client.
    """

    def covers(self, name: str) -> bool:
        """Whether there is a certificate for a server name in normal form; "" for none."""

    def begin(
        self,
        sock: socket.socket,
        received: bytes,
        server_name: str,
        timeout: float,
        on_end: Callable[[str], None],
        claimed: ProxyHeader | None = None,
    ) -> Session:
        """Take over a client that asks for a name that is covered; its handshake has `timeout`
        seconds.
        """

    def begin_plain(
        self,
        sock: socket.socket,
        received: bytes,
        on_end: Callable[[str], None],
        claimed: ProxyHeader | None = None,
    ) -> Session:
        """Take over a client that speaks HTTP without TLS."""
