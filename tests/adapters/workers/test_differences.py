"""A difference leads to exactly the snapshot it was made for, and leaves the unchanged alone."""

from __future__ import annotations

import pickle
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meshlib.mesh import Mesh
from meshlib.model import Contribution, Diagnostic, Severity, Snapshot, Tenure
from meshlib.name_records import NameKind, NameRecord
from meshlib.table import RoutingTable
from meshlib_adapters.workers.differences import SnapshotDifference, apply, difference
from meshlib_adapters.workers.messages import NO_VERSION, make_snapshot, read_snapshot
from tests.support.tables import route, service

_HOSTS = ("http://a.example.com", "http://b.example.com/x", "http://*.example.com", "sni://a.com")
_CONTRIBUTIONS = st.builds(
    lambda name, hosts, owner, age, told: replace(
        service(owner, *hosts, age=age, name=name),
        diagnostics=tuple(Diagnostic("HRM001", Severity.ERROR, name, "", text) for text in told),
    ),
    st.sampled_from("abcdef"),
    st.lists(st.sampled_from(_HOSTS), max_size=3, unique=True),
    st.sampled_from(["stack one", "stack two", "stack three"]),
    st.integers(1, 2),
    st.lists(st.sampled_from(["one", "two"]), max_size=1),
)
_TENURES = st.none() | st.dictionaries(
    st.sampled_from(["a.example.com", "b.example.com", "*.example.com", "a.com"]),
    st.sampled_from(["stack one", "stack two"]),
).map(lambda owners: {name: Tenure(name, owner) for name, owner in owners.items()})
_SNAPSHOTS = st.builds(
    lambda found, tenures: Snapshot(Snapshot.of(found).contributions, tenures),
    st.lists(_CONTRIBUTIONS, max_size=5, unique_by=lambda item: item.key),
    _TENURES,
)

A = service("stack one", "http://a.example.com", name="a")
B = service("stack two", "http://b.example.com", name="b")


def sent(change: SnapshotDifference) -> SnapshotDifference:
    """What comes out at the other end of a channel."""
    found = pickle.loads(pickle.dumps(change, 5))
    assert isinstance(found, SnapshotDifference)
    return found


@given(st.lists(_SNAPSHOTS, min_size=1, max_size=5))
def test_a_chain_of_differences_leads_to_the_same_as_a_fresh_start(wanted: list[Snapshot]) -> None:
    known = before = Snapshot()
    table = RoutingTable.build(known)
    for after in wanted:
        previous = {item.key: item for item in known.contributions}
        change = sent(difference(before, after))
        known = apply(known, change)
        assert known == after
        assert known.tenures == after.tenures
        changed = {item.key for item in change.changed}
        for item in known.contributions:
            assert item.key in changed or item is previous[item.key]
        table = RoutingTable.build(known, table)
        fresh = RoutingTable.build(after)
        assert (table.routes, table.diagnostics) == (fresh.routes, fresh.diagnostics)
        assert table.tenures == fresh.tenures
        before = after


@given(_SNAPSHOTS, _SNAPSHOTS)
def test_only_what_changed_is_in_it(before: Snapshot, after: Snapshot) -> None:
    change = difference(before, after)
    old = {item.key: item for item in before.contributions}
    new = {item.key: item for item in after.contributions}
    assert change.changed == tuple(item for item in new.values() if old.get(item.key) != item)
    assert sorted(change.gone) == sorted(old.keys() - new.keys())
    assert difference(after, after) == SnapshotDifference(
        (), (), None if after.tenures is None else (), ()
    )


def test_a_service_made_anew_that_is_the_same_is_not_sent() -> None:
    again = service("stack one", "http://a.example.com", name="a")
    assert again is not A
    assert difference(Snapshot((A, B)), Snapshot((again, B))).changed == ()


def test_whose_the_names_are_travels_along() -> None:
    mesh = Mesh()
    mesh.publish("p", Snapshot.of([A, B]), now=1)
    before = mesh.snapshot
    mesh.publish(
        "p", Snapshot.of([replace(A, routes=(route("http://b.example.com", "a"),))]), now=5
    )
    mesh.release(["b.example.com"], now=6)
    change = sent(difference(before, mesh.snapshot))
    assert {tenure.name for tenure in change.tenures or ()} == {"a.example.com", "b.example.com"}
    assert change.gone == (B.key,)
    assert apply(before, change).tenures == mesh.snapshot.tenures
    mesh.release(["a.example.com"], now=7)
    freed = difference(before, mesh.snapshot)
    assert freed.released == ("a.example.com",)
    assert apply(before, freed).tenures == mesh.snapshot.tenures


def test_names_for_resolvers_are_not_sent() -> None:
    without = Snapshot.of([A, B])
    names = [NameRecord("front", "nameonly", NameKind.TASKS, ("192.0.2.77",))]
    after = Snapshot.of([A, B], names)
    for before in (Snapshot(), without):
        frame = make_snapshot(NO_VERSION, before, 1, after)
        assert not [text for text in (b"nameonly", b"192.0.2.77", b"Name") if text in frame]
    everything = make_snapshot(NO_VERSION, Snapshot(), 1, after)
    assert everything == make_snapshot(NO_VERSION, Snapshot(), 1, without)
    assert read_snapshot(everything[5:], NO_VERSION, Snapshot()) == (1, without)
    assert difference(without, after) == difference(without, without)


def test_contributions_stay_in_order_and_keys_are_their_own() -> None:
    first = Contribution("a", "a")
    last = Contribution("z", "z")
    found = apply(Snapshot((B,)), difference(Snapshot(), Snapshot((first, last))))
    assert [item.key for item in found.contributions] == ["a", B.key, "z"]
