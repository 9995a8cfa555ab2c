"""The program about attackers in a short form: of each kind one is there and does its worst, and a
bystander gets its response beside it.
"""

from __future__ import annotations

import pytest

from tests.benchmarks.fairness import KINDS, measure


@pytest.mark.parametrize(
    "kind",
    [
        "pipelined requests for an unknown host",
        "response chunks of 1 byte",
        "TLS: records of 1 byte",
    ],
)
def test_a_bystander_gets_its_response(kind: str) -> None:
    notice = measure(kind, 1, "asyncio", 0.3)
    assert len(notice.seconds) >= 3
    assert notice.moved > 0
    assert 0 <= notice.turn <= notice.longest


def test_every_kind_says_what_it_sends() -> None:
    for name, kind in KINDS.items():
        assert name == "nobody" or kind.first or kind.again
