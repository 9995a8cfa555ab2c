"""Loops, as a fixture."""

from __future__ import annotations

from tests.support.tcp_fixtures import run

__all__ = ["run"]
