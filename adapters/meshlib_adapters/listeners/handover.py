"""Protocols between a TLS listener and what terminates TLS for it, so that a listener which only
passes TLS through needs no library for certificates.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from meshlib.proxy_protocol import ProxyHeader

__all__ = ["HandedOver", "PlainService", "TLSTermination"]


class HandedOver(Protocol):
    """A connection that was handed over. `failure` says, for people, why a handshake failed."""

    failure: str

    @property
    def over(self) -> bool:
        """Whether the client was served or refused, and only the end of its connection is waited
        for.
        """

    def idle_since(self) -> float | None:
        """As `Member.idle_since`."""

    def abort(self) -> None:
        """End now."""


class TLSTermination(Protocol):
    """Takes connections over, with the bytes that were read from them already.

    `on_end(outcome)` is called once, when the socket is closed, perhaps before the method returns.
    Outcomes that begin with "handshake_" are refusals. `claimed` is what a trusted proxy in front
    says of the client.
    """

    def covers(self, name: str) -> bool:
        """Whether there is a certificate for a server name in normal form; "" for none."""

    def take_over(
        self,
        sock: socket.socket,
        received: bytes,
        server_name: str,
        timeout: float,
        on_end: Callable[[str], None],
        claimed: ProxyHeader | None = None,
    ) -> HandedOver:
        """Take over a client that asks for a name that is covered; its handshake has `timeout`
        seconds.
        """


class PlainService(Protocol):
    """Takes connections over that turned out to speak HTTP without TLS; `on_end` and `claimed` as
    in `TLSTermination`.
    """

    def take_over_plain(
        self,
        sock: socket.socket,
        received: bytes,
        on_end: Callable[[str], None],
        claimed: ProxyHeader | None = None,
    ) -> HandedOver:
        """Take over a client that has sent `received`."""
