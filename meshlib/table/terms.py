"""`Terms`: what holds for all decisions of a table, besides the snapshot."""

from __future__ import annotations

from typing import Final, NamedTuple

from meshlib.ownership import OwnershipRules

__all__ = ["NO_TERMS", "Terms"]


class Terms(NamedTuple):
    """Settings of a table, as `RoutingTable.build` describes them."""

    unmatched_status: int = 404
    retry_after: int = 1
    https_port: int = 443
    rules: OwnershipRules = OwnershipRules()
    hooks: frozenset[str] = frozenset()


NO_TERMS: Final = Terms()
