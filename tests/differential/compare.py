"""Comparing readings, and how many are compared: MESHLIB_DIFFERENTIAL is the number of streams
(default 30,000).
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random
from typing import Final

import pytest

from tests.differential.differences import explained, unlike
from tests.differential.grammar import split
from tests.differential.readers import (
    Reading,
    by_h11,
    by_h11_response,
    by_httptools,
    by_httptools_response,
    ours,
    ours_response,
)

__all__ = ["STREAMS", "TIMEOUT", "Census", "compared_requests", "compared_response"]

_DEFAULT: Final = 30_000
STREAMS: Final = int(os.environ.get("MESHLIB_DIFFERENTIAL", _DEFAULT))
# The usual one for the usual number; none for more.
TIMEOUT: Final = pytest.mark.timeout(120 if STREAMS <= _DEFAULT else 0)


class Census(Counter[str]):
    """What was seen, counted: "accepted", "refused", "refused: <reason>", "<reader> takes:
    <reason>", "known: <reason>".
    """

    def refused(self, us: Reading, others: dict[str, Reading]) -> None:
        """They may take what we refuse; it is only counted."""
        reason = us.refused or "waits for more"
        self["refused"] += 1
        self[f"refused: {reason}"] += 1
        for name, them in others.items():
            if them.end >= 0:
                self[f"{name} takes: {reason}"] += 1

    def accepted(self, us: Reading, others: dict[str, Reading], data: bytes) -> None:
        """What we accept they must read the same, or the difference must be a known one."""
        self["accepted"] += 1
        for name, them in others.items():
            for aspect in unlike(us, them):
                known = explained(name, aspect, data, them.refused)
                assert known is not None, (
                    f"{name}: {aspect}\n{data!r}\nours:   {us}\ntheirs: {them}"
                )
                self[f"known: {known.reason}"] += 1


def compared_requests(random: Random, data: bytes, census: Census) -> int:
    """Every message of a stream, each from where we say that it begins, by all readers. Returns how
    many.
    """
    count = at = 0
    while at < len(data):
        count += 1
        rest = data[at:]
        us = ours([rest])
        same_in_pieces(us, ours(split(random, rest)), rest)
        others = {"h11": by_h11([rest]), "httptools": by_httptools(rest, us.end)}
        if not us.heads:
            census.refused(us, others)
            break
        census.accepted(us, others, rest[: us.end] if us.end >= 0 else rest)
        if us.end < 0:
            break
        at += us.end
    return count


def compared_response(random: Random, data: bytes, method: bytes, census: Census) -> None:
    """The response that a stream begins with, interim ones included, by all readers."""
    us = ours_response([data], method)
    same_in_pieces(us, ours_response(split(random, data), method), data)
    others = {"h11": by_h11_response([data], method)}
    if method != b"HEAD":
        others["httptools"] = by_httptools_response(data, us.end)
        if us.until_close and others["httptools"].end < 0:
            others["httptools"].end = us.end  # it waits for the end of the stream, as it must
    if us.heads:
        census.accepted(us, others, data[: us.end] if us.end >= 0 else data)
    else:
        census.refused(us, others)


def same_in_pieces(whole: Reading, cut: Reading, data: bytes) -> None:
    """However the bytes arrive, they say the same. (What precedes an error in a body may have been
    handed on already; which of several errors is named depends on what was read first.)
    """
    assert (whole.heads, whole.end, bool(whole.refused), whole.trailers) == (
        cut.heads,
        cut.end,
        bool(cut.refused),
        cut.trailers,
    ), data
    assert cut.body == whole.body or (whole.refused and cut.body.startswith(whole.body)), data
