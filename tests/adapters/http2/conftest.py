"""Gateways that speak HTTP/2, as fixtures."""

from __future__ import annotations

from tests.support.http2_fixtures import backend, loop_factory, stack, start

__all__ = ["backend", "loop_factory", "stack", "start"]
