"""Host names whose addresses a test decides, for all that asks the system's resolver."""

from __future__ import annotations

import socket
from typing import Any

import pytest

__all__ = ["KnownNames", "names"]


class KnownNames:
    """`addresses` by name, or the error that looking it up raises; every other name is looked up as
    ever. `asked` counts the look-ups of each.
    """

    def __init__(self, real: Any) -> None:
        self._real = real
        self.addresses: dict[str, list[str] | OSError] = {}
        self.asked: dict[str, int] = {}

    def look_up(self, host: str, port: Any, *args: Any, **options: Any) -> Any:
        """As `socket.getaddrinfo`."""
        if isinstance(host, bytes):
            host = host.decode()
        found = self.addresses.get(host)
        if found is None:
            return self._real(host, port, *args, **options)
        self.asked[host] = self.asked.get(host, 0) + 1
        if isinstance(found, OSError):
            raise found
        return [info for one in found for info in self._real(one, port, *args, **options)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> KnownNames:
    known = KnownNames(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", known.look_up)
    return known
