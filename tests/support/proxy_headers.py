"""Addresses that PROXY protocol headers name, and the networks they are believed from."""

from __future__ import annotations

import ipaddress

from meshlib.client_claims import Network
from meshlib.proxy_protocol import ProxyAddress

__all__ = ["DESTINATION", "SOURCE", "US"]

US: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"),)
SOURCE, DESTINATION = ProxyAddress("198.51.100.7", 40000), ProxyAddress("203.0.113.9", 8443)
