"""Outcomes of requests that are not simply forwarded."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

from meshlib.decision import Redirect, Respond
from meshlib.hook_values import Response

__all__ = ["PENDING", "Outcome", "Pending"]


class Pending(enum.Enum):
    """Hooks have still to decide: nothing of the request may be sent or responded to until the
    front's `decided` is called.
    """

    PENDING = "pending"


PENDING: Final = Pending.PENDING

# A response of the gateway itself.
Outcome: TypeAlias = Redirect | Respond | Response
