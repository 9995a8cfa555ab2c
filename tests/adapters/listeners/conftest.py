"""Gateways and backends and the lab of relays, as fixtures."""

from __future__ import annotations

from tests.support.http_fixtures import backend, loop_factory, stack, start
from tests.support.tcp_fixtures import authority, client_context, lab, run

__all__ = ["authority", "backend", "client_context", "lab", "loop_factory", "run", "stack", "start"]
