"""Gateways that terminate TLS, as fixtures."""

from __future__ import annotations

from tests.support.tls_fixtures import authority, backend, loop_factory, stack, start

__all__ = ["authority", "backend", "loop_factory", "stack", "start"]
