"""Drafts of publications: computed in any thread, they take effect in the mesh's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshlib.ledger import Ledger
from meshlib.model import Snapshot
from meshlib.table import RoutingTable

__all__ = ["Draft"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Draft:
    """A publication that has not taken effect; made by `Mesh.draft` for `Mesh.commit`.

    `parts`, `gathering`, `ledger` and `now` are what the mesh will hold; `table` is the new table,
    None where the snapshot stays the same. `basis` is what the draft was made from.
    """

    parts: Mapping[str, Snapshot]
    gathering: bool
    ledger: Ledger
    now: float | None
    table: RoutingTable | None
    basis: tuple[object, ...]

    @property
    def changes_something(self) -> bool:
        """Whether the snapshot would be another one."""
        return self.table is not None
