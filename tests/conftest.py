"""Fixtures for all tests."""

from tests.lab.fixtures import lab, lab_engine

__all__ = ["lab", "lab_engine"]
