"""A draft tells whether it would change something."""

from __future__ import annotations

from meshlib.drafts import Draft
from meshlib.ledger import Ledger
from meshlib.table import RoutingTable


def test_without_a_table_nothing_changes() -> None:
    nothing = Draft({}, False, Ledger(), None, None, ())
    something = Draft({}, False, Ledger(), None, RoutingTable(), ())
    assert not nothing.changes_something
    assert something.changes_something
