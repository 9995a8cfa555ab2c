"""Limits on what the labels of one service may cost.

Anybody who deploys can write labels, and each costs every gateway work and memory. A service that
asks for more than its share is cut down alone, with a diagnostic. This module knows no schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from meshlib.bounds import MAX_NAME

__all__ = ["MAX_VALUE", "LabelLimits", "label_size"]

# Characters of a label's value: a host (253) and a redirect URL as long as every browser accepts
# (2,000), with room to spare; Docker itself has no limit. A longer value is not read at all, and
# costs nothing.
MAX_VALUE = 4096

# IDNA takes some 5 microseconds a character; reading any other character takes 0.7.
_IDNA = 8
# None of these can be in a label of a host, so each label of a host is in one piece.
_BETWEEN = re.compile(r"[./:,=]")


@dataclass(frozen=True, slots=True)
class LabelLimits:
    """Limits of one service; each number is at least 1.

    `labels`: routing labels that are read, in order of their keys. `characters`: in the keys and
    values of those (`label_size`). `routes`: routes that are made. `ports`: those of them that
    match a TCP or UDP port. `diagnostics`: diagnostics that are kept. `suggestions`: words for
    which a suggestion is looked for. `blank_hosts`: whether "http://" and "sni://" mean every host,
    as HRM had it, with a warning, or are an error. "http://*" is every host in any case.
    """

    # Services with a thousand host names, one for each customer, exist; each name costs an entry in
    # the table of every gateway.
    labels: int = 1000
    # A thousand labels as people write them have a third of this. Reading this many takes a fifth
    # of a second, at worst a whole one.
    characters: int = 256 * 1024
    routes: int = 1000
    ports: int = 200
    diagnostics: int = 100
    # More slips than anybody fixes in one go; the next ones show when these are fixed.
    suggestions: int = 50
    # On, so that HRM's stacks run as they are. The same text is what is left of "http://${DOMAIN}"
    # where DOMAIN is empty, and `docker stack deploy` does not warn of that: hence the warning, and
    # that it can be switched off.
    blank_hosts: bool = True


def label_size(labels: Iterable[tuple[str, str]]) -> int:
    """The size of these labels, keys and values, in characters.

    In a piece between dots, slashes, commas, colons and equals signs that is not all ASCII, each
    character counts for eight, because it may be a label of a host, and IDNA takes that much
    longer.
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
