"""Rendezvous hashing: the same choice everywhere, even shares, as little movement as can be, and no
endpoint that runs hot.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing.rendezvous import FACTOR, FREE, rendezvous_order, within_load
from meshlib.model import Endpoint


def endpoints(*weights: int) -> list[Endpoint]:
    return [Endpoint(f"shop.{n}", "10.0.0.1", n + 1, weight) for n, weight in enumerate(weights)]


KEYS = [f"10.1.{n >> 8}.{n & 255}".encode() for n in range(10_000)]
SETS = st.lists(st.integers(0, 4), min_size=1, max_size=12).map(lambda weights: endpoints(*weights))


def test_the_choice_does_not_depend_on_the_process() -> None:
    # As another replica, or another version, works it out: these may never change, or every session
    # moves at an update.
    order = rendezvous_order(endpoints(1, 1, 1, 1, 1), b"192.0.2.7")
    assert [endpoint.id for endpoint in order] == ["shop.4", "shop.0", "shop.1", "shop.2", "shop.3"]


def test_none_and_one() -> None:
    assert rendezvous_order([], b"key") == []
    assert rendezvous_order(endpoints(0), b"key") == endpoints(0)
    assert within_load([], []) == []


@given(SETS, st.binary(max_size=40), st.randoms())
def test_the_order_of_the_endpoints_does_not_matter(
    among: list[Endpoint], key: bytes, random: Random
) -> None:
    mixed = list(among)
    random.shuffle(mixed)
    order = rendezvous_order(among, key)
    assert rendezvous_order(mixed, key) == order
    assert sorted(order, key=lambda e: e.port) == among
    assert [not e.weight for e in order] == sorted(not e.weight for e in order)


@given(SETS.filter(lambda among: len(among) > 1), st.binary(max_size=40), st.data())
def test_who_goes_takes_only_its_own_keys_along(
    among: list[Endpoint], key: bytes, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(among))
    order = rendezvous_order(among, key)
    assert rendezvous_order([e for e in among if e is not gone], key) == [
        e for e in order if e is not gone
    ]


def test_the_shares_are_even_and_follow_the_weights() -> None:
    first = Counter(rendezvous_order(endpoints(1, 1, 1, 1, 1), key)[0].id for key in KEYS)
    assert len(first) == 5
    assert all(1800 < count < 2200 for count in first.values())
    weighted = Counter(rendezvous_order(endpoints(1, 2, 1, 0), key)[0].id for key in KEYS)
    assert weighted["shop.3"] == 0
    assert 4700 < weighted["shop.1"] < 5300
    assert 2300 < weighted["shop.0"] < 2700


def test_a_new_endpoint_takes_its_share_and_nobody_else_moves() -> None:
    before, after = endpoints(1, 1, 1, 1), endpoints(1, 1, 1, 1, 1)
    moved = 0
    for key in KEYS:
        then, now = rendezvous_order(before, key)[0], rendezvous_order(after, key)[0]
        if then != now:
            assert now.id == "shop.4"
            moved += 1
    assert 1800 < moved < 2200


def test_an_address_that_changes_with_the_task_changes_nothing() -> None:
    before = endpoints(1, 1, 1)
    after = [Endpoint(e.id, "10.9.9.9", e.port + 100, e.weight) for e in before]
    assert all(
        rendezvous_order(before, key)[0].id == rendezvous_order(after, key)[0].id
        for key in KEYS[:200]
    )


def test_two_of_one_id_stay_together_in_their_order() -> None:
    old, new = Endpoint("a.1", "10.0.0.1", 80), Endpoint("a.1", "10.0.0.2", 80)
    other = Endpoint("a.2", "10.0.0.3", 80)
    for key in KEYS[:50]:
        order = rendezvous_order([old, other, new], key)
        assert order.index(new) == order.index(old) + 1


@pytest.mark.parametrize("weights", [(1, 1, 1, 1, 1), (1, 2, 3), (0, 0), (2, 0, 1)])
def test_one_key_for_everybody_does_not_make_one_endpoint_hot(weights: tuple[int, ...]) -> None:
    order = rendezvous_order(endpoints(*weights), b"10.0.0.2")
    loads = [0] * len(order)
    for _ in range(1000):
        chosen = within_load(order, loads)[0]
        loads[order.index(chosen)] += 1
    whole = sum(weights) or len(weights)
    for endpoint, load in zip(order, loads, strict=True):
        share = 1000 * (endpoint.weight or (not sum(weights))) / whole
        assert load <= max(share * FACTOR + 1, FREE)
        assert load >= share * 0.45


def test_a_few_connections_of_one_client_stay_together() -> None:
    order = rendezvous_order(endpoints(1, 1, 1, 1, 1), b"10.0.0.2")
    for load in range(FREE):
        assert within_load(order, [load, 0, 0, 0, 0]) == order
    assert within_load(order, [FREE, 2, 1, 0, 1]) == [
        order[3],
        order[2],
        order[4],
        order[1],
        order[0],
    ]


@given(SETS, st.data())
def test_the_first_has_room_or_is_the_least_loaded(
    among: list[Endpoint], data: st.DataObject
) -> None:
    loads = data.draw(st.lists(st.integers(0, 1000), min_size=len(among), max_size=len(among)))
    order = rendezvous_order(among, b"key")
    found = within_load(order, loads)
    assert sorted(found, key=lambda e: e.port) == among
    assert [not e.weight for e in found] == sorted(not e.weight for e in found)
    relative = {e.id: load / (e.weight or 1) for e, load in zip(order, loads, strict=True)}
    preferred = [e for e in order if e.weight] or order
    if found != order:
        assert relative[found[0].id] == min(relative[e.id] for e in preferred)
        assert loads[0] >= FREE
