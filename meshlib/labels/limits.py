"""What the labels of one service may cost.

Labels are written by whoever deploys, and each costs every gateway work and memory; so a service
that asks for more than its part is cut down alone, and told so. This module knows no schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from meshlib.bounds import MAX_NAME

__all__ = ["MAX_VALUE", "LabelLimits", "label_size"]

# Characters of a label's value: a host (253) and a redirect URL as long as browsers are sure to
# take (2,000), with room; Docker itself has no limit. A longer one is not read at all, and costs
# nothing.
MAX_VALUE = 4096

# Some 5 microseconds a character; reading others takes 0.7.
_IDNA = 8
# None of these can be inside a label of a host, so that each is inside one piece as a whole.
_BETWEEN = re.compile(r"[./:,=]")


@dataclass(frozen=True, slots=True)
class LabelLimits:
    """Limits of one service; each is at least 1.

    `labels`: routing labels that are read, in order of key. `characters`: in those, key and value
    (`label_size`). `routes` and, of these, `ports` (TCP and UDP): that are made. `diagnostics`:
    that are kept. `suggestions`: words that are compared with what they may have been meant to be.
    """

    # A service with a thousand host names (one a customer) is real; each costs an entry in the
    # table of every gateway.
    labels: int = 1000
    # A thousand labels as people write them have a third of this; it is read in a fifth of a
    # second, and in one at the worst.
    characters: int = 256 * 1024
    routes: int = 1000
    ports: int = 200
    diagnostics: int = 100
    # Who has mended so many slips sees the next ones.
    suggestions: int = 50


def label_size(labels: Iterable[tuple[str, str]]) -> int:
    """How many characters reading these labels, key and value, counts for.

    Each character of a label of a host (what stands between dots, slashes, commas, colons and
    equals signs) that is not all ASCII counts for eight: IDNA takes so much longer.
    """
    return sum(
        min(len(key), MAX_NAME) + (_size(value) if len(value) <= MAX_VALUE else 0)
        for key, value in labels
    )


def _size(text: str) -> int:
    if text.isascii():
        return len(text)
    return len(text) + (_IDNA - 1) * sum(
        len(piece) for piece in _BETWEEN.split(text) if not piece.isascii()
    )
