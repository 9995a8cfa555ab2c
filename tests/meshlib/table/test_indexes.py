"""Indexes share what did not change, and count the slots that use an upstream."""

from __future__ import annotations

from meshlib.decision import Respond
from meshlib.model import Contribution, ListeningPort, Scheme, Snapshot
from meshlib.ownership import OwnershipRules
from meshlib.table.indexes import Indexes
from meshlib.upstream_key import UpstreamKey
from tests.support.tables import indexes_of, service, table_of

_SHOP = service(
    "stack a", "http://b.example", "http://a.example/x", "http://a.example", name="shop"
)
_TLS = service("stack a", "sni://c.example", "tcp://:5432", name="tls")


def names(indexes: Indexes) -> list[str]:
    return [slot.route.name for slot in indexes.slots()]


def keys(indexes: Indexes) -> set[str]:
    return {key.name for key in indexes.upstreams}


def test_indexes_of_nothing_are_empty() -> None:
    empty = Indexes()
    assert (names(empty), keys(empty), list(empty.diagnostics())) == ([], set(), [])
    assert empty.barred(Scheme.HTTP, "a.example") is None


def test_slots_in_order_of_scheme_host_and_path() -> None:
    indexes = indexes_of(_TLS, _SHOP)
    assert names(indexes) == [
        "http://a.example/x",
        "http://a.example",
        "http://b.example",
        "sni://c.example",
        "tcp://:5432",
    ]
    assert keys(indexes) == {"shop:80", "tls:80", "tls:1"}


def test_an_upstream_stays_while_a_slot_uses_it() -> None:
    full = indexes_of(_TLS, _SHOP)
    fewer = indexes_of(
        service("stack a", "http://a.example", name="shop"), gone=[_SHOP], before=full
    )
    assert names(fewer) == ["http://a.example", "sni://c.example", "tcp://:5432"]
    assert keys(fewer) == keys(full)
    assert fewer.upstreams[UpstreamKey("shop", 80)] is full.upstreams[UpstreamKey("shop", 80)]
    assert fewer.sni.sites["c.example"] is full.sni.sites["c.example"]
    assert fewer.ports is full.ports
    without = indexes_of(gone=[_TLS], before=fewer)
    assert keys(without) == {"shop:80"}
    assert keys(full) == {"shop:80", "tls:80", "tls:1"}


def test_an_upstream_that_differs_takes_the_place_of_the_one_before() -> None:
    redirect = service("stack a", "http://a.example -> https://b.example", name="shop")
    first = indexes_of(redirect)
    assert keys(first) == set()
    second = indexes_of(_SHOP, gone=[redirect], before=first)
    moved = Contribution("p/shop", "shop", 1, service("stack a", "http://a.example").routes)
    third = indexes_of(moved, gone=[_SHOP], before=second)
    assert keys(third) == {"a:80"}
    (slot,) = third.slots()
    assert slot.upstream is third.upstreams[UpstreamKey("a", 80)]


def test_decisions_are_those_of_the_given_function() -> None:
    empty = service("stack a", "http://a.example", name="shop")
    (slot,) = indexes_of(empty).slots()
    assert not isinstance(slot.decision, Respond)


def test_conflicts_and_what_is_not_admitted() -> None:
    later = service("stack b", "http://a.example", "sni://c.example", "tcp://:5432", age=2)
    twice = Contribution("p/tls", "tls", 1, _TLS.routes * 2, owner="stack a")
    rules = OwnershipRules()
    table = table_of(_SHOP, twice, later, rules=rules)
    assert table.snapshot == Snapshot.of([_SHOP, twice, later])
    assert table.barred(Scheme.HTTP, "a.example") is not None
    assert table.barred(Scheme.SNI, "c.example") is not None
    assert table.barred(Scheme.TCP, "5432") is not None
    conflicts = indexes_of(_SHOP, twice)
    assert [item.code for item in conflicts.diagnostics()] == ["TBL002", "TBL002"]
    assert conflicts.ports.slots[ListeningPort(Scheme.TCP, 5432)].lost != ()
