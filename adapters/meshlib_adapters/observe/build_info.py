"""Build information: the version, and whether the hot modules are compiled."""

from __future__ import annotations

from typing import Final

import meshlib
from meshlib.http1 import fields

__all__ = ["COMPILED", "VERSION"]

# All of them are compiled or none (one list in pyproject.toml), so one is enough to check.
COMPILED: Final = not str(fields.__file__).endswith((".py", ".pyc"))
VERSION: Final = meshlib.__version__ + (" (compiled)" if COMPILED else "")
