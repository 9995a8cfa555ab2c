"""Terms of tables: what two tables must have alike to share what was compiled."""

from __future__ import annotations

from meshlib.ownership import OwnershipRules
from meshlib.table.terms import NO_TERMS, Terms


def test_terms_are_compared_by_value() -> None:
    assert Terms() == NO_TERMS == Terms(404, 1, 443, OwnershipRules(), frozenset())
    assert Terms(hooks=frozenset({"auth"})) != NO_TERMS
