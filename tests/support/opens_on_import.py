"""A module that must not be: it opens a file when it is imported."""

from __future__ import annotations

import os

__all__ = ["OPENED"]

OPENED = os.open(os.devnull, os.O_RDONLY)
