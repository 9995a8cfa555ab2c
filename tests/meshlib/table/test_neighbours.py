"""What is known of hosts that meet is found anew only where something changed."""

from __future__ import annotations

from dataclasses import replace

from meshlib.ledger import Ledger
from meshlib.model import Contribution, Snapshot
from meshlib.table import RoutingTable
from meshlib.table.indexes import Indexes
from meshlib.table.neighbours import Neighbours
from tests.support.tables import service, told


def settled(
    ledger: Ledger, now: int, *contributions: Contribution, previous: RoutingTable | None = None
) -> tuple[Ledger, RoutingTable]:
    ledger = ledger.updated(contributions, now)
    return ledger, RoutingTable.build(Snapshot(contributions, ledger.tenures), previous)


def test_nobody_meets_in_an_empty_table() -> None:
    nothing = Indexes()
    assert list(Neighbours().diagnostics(nothing.http, nothing.sni, {})) == []


def test_meetings_and_orphans_follow_every_change() -> None:
    a, b = (
        service("stack a", "http://x.wild", "http://*.wild", age=1),
        service("stack b", "http://y.wild", age=2),
    )
    beside = service("stack a", "sni://x.wild", age=3, name="beside")
    ledger, table = settled(Ledger(), 1, a, b, beside)
    assert table.neighbours.orphans == {"y.wild"}
    assert told(table) == [("TBL004", "b"), ("TBL202", "beside")]
    ledger, table = settled(ledger, 2, a, b, previous=table)
    assert told(table) == [("TBL004", "b")]
    ledger, table = settled(ledger, 3, a, previous=table)
    assert (table.neighbours.orphans, told(table)) == (frozenset(), [])
    # The wildcard is let go: what waited below it has its own name.
    less = replace(a, routes=a.routes[:1])
    ledger, table = settled(ledger, 4, less, b, previous=table)
    assert told(table) == [("TBL004", "b")]
    freed = RoutingTable.build(Snapshot((less, b), ledger.released(["*.wild"], 5).tenures), table)
    assert (freed.neighbours.orphans, told(freed)) == (frozenset(), [])
    assert freed.compiled_hosts == 1


def test_one_change_among_many_hosts_looks_at_few() -> None:
    many = tuple(
        service(f"stack s{i:05}", f"http://h{i:05}.example", age=i + 1) for i in range(2000)
    )
    ledger, table = settled(Ledger(), 1, *many)
    changed = (*many[:-1], replace(many[-1], created_at=9999))
    ledger, after = settled(ledger, 2, *changed, previous=table)
    assert after.compiled_hosts == 1
    wild = service("stack wild", "http://*.example", age=1, name="wild")
    ledger, after = settled(ledger, 3, *changed, wild, previous=after)
    assert after.compiled_hosts == 1
    assert [
        item.message.endswith("and 1999 more hosts of others") for item in after.diagnostics
    ] == [True]
    # Without a wildcard's change what is known of others stays.
    gone = (*changed[1:], wild)
    ledger, after = settled(ledger, 4, *gone, previous=after)
    assert [
        item.message.endswith("and 1998 more hosts of others") for item in after.diagnostics
    ] == [True]
    assert told(settled(ledger, 5, *changed, previous=after)[1]) == []
