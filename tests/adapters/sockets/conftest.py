"""Loops, gateways and backends, as fixtures."""

from __future__ import annotations

from tests.support.http_fixtures import backend, loop_factory, stack, start
from tests.support.tcp_fixtures import run

__all__ = ["backend", "loop_factory", "run", "stack", "start"]
