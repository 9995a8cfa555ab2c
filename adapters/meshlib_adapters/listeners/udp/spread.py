"""Datagrams to which nobody replies (syslog, metrics): each goes to the next endpoint, so that one
client that sends for days does not keep one endpoint busy, or lose all when that one is gone.

Nothing is remembered of clients, so there is nothing to be exhausted either.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from meshlib.authority import is_ip_address
from meshlib.balancing import Observation
from meshlib.model import Endpoint, Upstream
from meshlib_adapters.os_errors import NO_ROOM, UNREACHABLE
from meshlib_adapters.sockets.datagrams import connected_datagrams
from meshlib_adapters.upstream.choice.chooser import EndpointChooser

__all__ = ["Spread"]

# Endpoints that have a socket at a time, those used last: each costs a descriptor.
_MAX_SOCKETS: Final = 64
# Endpoints tried for one datagram.
_MAX_TRIES: Final = 3


class Spread:
    """Sends each datagram to the endpoint that `chooser` prefers, or to the next one where the
    system says that nobody is there. It says so only at the next datagram: that one is not lost.
    """

    def __init__(self, chooser: EndpointChooser) -> None:
        self._chooser = chooser
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._ready: tuple[Endpoint, ...] = ()

    def __repr__(self) -> str:
        return f"<Spread {len(self._sockets)} sockets>"

    def send(self, data: bytes | memoryview, upstream: Upstream) -> str:
        """Pass a datagram on. Returns "", or the reason why it is lost."""
        ready = self._chooser.ready(upstream)
        if ready is not self._ready:
            self._ready = ready
            self._keep({(endpoint.host, endpoint.port) for endpoint in ready})
        tries, reason = 0, "no_endpoint"
        for endpoint in self._chooser.candidates(upstream):
            if not is_ip_address(endpoint.host):  # it is being looked up
                reason = "no_address"
                continue
            tries += 1
            trouble = self._send_to(endpoint, data)
            if trouble is None:
                return ""
            self._observe(upstream, endpoint, trouble)
            if trouble.errno in NO_ROOM:
                return "no_socket"
            if isinstance(trouble, BlockingIOError):
                return "busy"
            reason = "refused" if _is_gone(trouble) else "unsendable"
            if reason == "unsendable" or tries == _MAX_TRIES:  # the former: too large for the way
                break
        return reason

    def close(self) -> None:
        """Close the sockets. May be called twice."""
        self._keep(set())

    def _send_to(self, endpoint: Endpoint, data: bytes | memoryview) -> OSError | None:
        place = (endpoint.host, endpoint.port)
        try:
            sock = self._sockets.pop(place, None) or connected_datagrams(*place)
        except OSError as error:
            return error
        self._sockets[place] = sock
        if len(self._sockets) > _MAX_SOCKETS:
            self._sockets.pop(next(iter(self._sockets))).close()
        try:
            sock.send(data)
        except OSError as error:
            return error
        return None

    def _observe(self, upstream: Upstream, endpoint: Endpoint, trouble: OSError) -> None:
        if trouble.errno in UNREACHABLE:
            self._chooser.observe(upstream, endpoint, Observation.SILENT)
        if _is_gone(trouble):
            self._chooser.observe(upstream, endpoint, Observation.CONNECT_FAILED)

    def _keep(self, places: set[tuple[str, int]]) -> None:
        for place in [place for place in self._sockets if place not in places]:
            with contextlib.suppress(OSError):
                self._sockets.pop(place).close()


def _is_gone(trouble: OSError) -> bool:
    return isinstance(trouble, ConnectionRefusedError) or trouble.errno in UNREACHABLE
