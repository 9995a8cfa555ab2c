"""The lab of relays, as fixtures."""

from __future__ import annotations

from tests.support.tcp_fixtures import authority, client_context, lab, run

__all__ = ["authority", "client_context", "lab", "run"]
