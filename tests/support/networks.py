"""IP networks of texts, for settings that trust them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from meshlib.client_claims import Network

__all__ = ["parse_networks"]


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks of "10.0.0.0/8", "2001:db8::/32" or single addresses."""
    return tuple(map(ipaddress.ip_network, texts))
