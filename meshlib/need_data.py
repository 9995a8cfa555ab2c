"""The result of a reader whose part of the stream is not complete yet."""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["NEED_DATA", "NeedData"]


class NeedData(enum.Enum):
    """Type of `NEED_DATA`, the result "so far so good, but not complete"."""

    NEED_DATA = "need_data"


NEED_DATA: Final = NeedData.NEED_DATA
