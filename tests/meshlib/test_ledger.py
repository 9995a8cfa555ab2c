"""Owners of names over time: who has a name first, who keeps it, who loses it, and at what cost."""

from __future__ import annotations

import itertools
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.ledger import Ledger, changes
from meshlib.model import Contribution, ForwardTo, Route, Scheme, Tenure, Upstream
from meshlib.ownership import OwnershipRules, Right, right_of
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import UpstreamKey
from tests.support.routes import match_of

_DAY = 86400


def route(
    name: str, path: str = "/", scheme: Scheme = Scheme.HTTP, share_with: tuple[str, ...] = ()
) -> Route:
    if "://:" in name:
        scheme, number = Scheme(name.partition(":")[0]), int(name.rpartition(":")[2])
        return Route(
            match_of(scheme, "", "/", number),
            ForwardTo(Upstream(UpstreamKey("s", 80))),
            service="s",
            label=name,
            schema="hrm",
        )
    return Route(
        match_of(scheme, name, path),
        ForwardTo(Upstream(UpstreamKey("s", 80))),
        RouteOptions(share_with=share_with),
        service="s",
        label=f"{scheme}{path}",
        schema="hrm",
    )


def service(
    owner: str, *names: str | Route, age: int = 1, key: str = "", networks: tuple[str, ...] = ()
) -> Contribution:
    routes = tuple(route(name) if isinstance(name, str) else name for name in names)
    return Contribution(key or owner, owner, age, routes, owner=owner, networks=networks)


def owners(ledger: Ledger) -> dict[str, str]:
    return {name: tenure.owner for name, tenure in ledger.tenures.items()}


def settle(
    *contributions: Contribution,
    before: Ledger | None = None,
    now: int = 100,
    rules: OwnershipRules | None = None,
) -> Ledger:
    return (before or Ledger(rules)).updated(tuple(contributions), now)


# Who has a name first.


def test_the_older_one_has_a_name_first_and_an_unknown_age_is_the_youngest() -> None:
    for found in itertools.permutations(
        [
            service("stack a", "x", age=5),
            service("stack b", "x", age=2),
            service("stack c", "x", age=0),
        ]
    ):
        assert owners(settle(*found)) == {"x": "stack b"}


def test_a_redeployed_owner_keeps_its_name_although_the_other_is_older_now() -> None:
    victim, other = service("service shop", "x", age=10), service("service evil", "x", age=20)
    ledger = settle(victim, other)
    ledger = settle(other, before=ledger, now=200)
    assert ledger.tenures["x"] == Tenure("x", "service shop", 100, 200)
    again = settle(service("service shop", "x", age=30), other, before=ledger, now=260)
    assert again.tenures["x"] == Tenure("x", "service shop", 100)


def test_all_that_belongs_to_a_host() -> None:
    ledger = settle(service("stack a", "shop.example", "*.wild.example", "", age=1))
    ledger = settle(
        *(service("stack a", "shop.example", "*.wild.example", "", age=1),),
        service(
            "stack b",
            "*.shop.example",
            "x.wild.example",
            "*.y.wild.example",
            "",
            "wild.example",
            "x.shop.example",
            age=2,
        ),
        before=ledger,
    )
    assert {name for name, owner in owners(ledger).items() if owner == "stack b"} == {
        "wild.example",
        "x.shop.example",
    }


def test_a_wildcard_that_comes_later_takes_nothing() -> None:
    host, wildcard = service("stack a", "a.example", age=9), service("stack b", "*.example", age=1)
    ledger = settle(host, wildcard, before=settle(host))
    assert owners(ledger) == {"a.example": "stack a", "*.example": "stack b"}
    # When both are new the older one was there first.
    assert owners(settle(host, wildcard)) == {"*.example": "stack b"}


def test_an_owner_gets_its_own_name_below_what_it_has() -> None:
    assert owners(settle(service("stack a", "*.example", "a.example"))) == {
        "*.example": "stack a",
        "a.example": "stack a",
    }


def test_a_name_is_free_when_its_owner_has_been_away_for_long() -> None:
    first, second = service("stack a", "x"), service("stack b", "x", age=2)
    ledger = settle(second, before=settle(first, second), now=200)
    kept = settle(second, before=ledger, now=199 + 7 * _DAY)
    assert kept is ledger
    assert settle(second, before=ledger, now=200 + 7 * _DAY).tenures["x"] == Tenure(
        "x", "stack b", 200 + 7 * _DAY
    )
    assert owners(settle(second, before=settle(first, rules=OwnershipRules(keep=0)))) == {
        "x": "stack b"
    }
    # Of several that are away only those that were for long.
    pair = settle(
        before=settle(
            service("stack b", "y"), before=settle(first, service("stack b", "y"), now=100), now=100
        ),
        now=150,
    )
    assert owners(settle(before=pair, now=100 + 7 * _DAY)) == {"y": "stack b"}


def test_nothing_changed_is_the_same_ledger() -> None:
    one = service("stack a", "x")
    ledger = settle(one)
    assert settle(one, before=ledger, now=10**9) is ledger
    assert repr(ledger) == "<Ledger of 1 names, 0 unused>"
    same = service("stack a", "x")
    assert settle(same, before=ledger) is ledger
    assert changes((one,), (same,)) == ([], [])


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1))),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1))),
)
def test_what_changed_is_found_in_whatever_order(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    made = {(n, age): service(f"stack {n}", "x", age=age) for n in range(10) for age in (0, 1)}
    old, new = (tuple(made[n, age] for n, age in dict(side).items()) for side in (left, right))
    gone, come = changes(old, new)
    assert sorted(c.key for c in gone) == sorted(c.key for c in old if c not in new)
    assert sorted(c.key for c in come) == sorted(c.key for c in new if c not in old)


def test_an_update_that_changes_no_name_keeps_the_record_itself() -> None:
    one, other = service("stack a", "x"), service("stack b", "y")
    ledger = settle(one, other)
    moved = service("stack b", route("y", "/p"))
    assert settle(one, moved, before=ledger).tenures is ledger.tenures
    shared = service("stack b", route("y", share_with=("guest",)))
    for changed in ((one,), (one, shared), (one, other, service("stack c", "z"))):
        assert settle(*changed, before=ledger).tenures is not ledger.tenures


def test_a_record_from_before_stands_until_it_is_seen_that_nobody_asks() -> None:
    kept = [Tenure("x", "stack a", 5), Tenure("y", "stack a", 5), Tenure("z", "stack c", 5, 90)]
    ledger = settle(
        service("stack b", "x", "y", "z", age=1),
        service("stack a", "x", age=2),
        before=Ledger(None, kept),
        now=100,
    )
    assert ledger.tenures == {
        "x": Tenure("x", "stack a", 5),
        "y": Tenure("y", "stack a", 5, 100),
        "z": Tenure("z", "stack c", 5, 90),
    }


def test_guests_are_those_of_all_routes_of_the_owner() -> None:
    mine = [
        service(
            "stack a", route("x", share_with=("b",)), route("x", "/p", share_with=("c",)), key="1"
        ),
        service("stack a", route("x", "/q", share_with=("d",)), key="2"),
        service("stack b", route("x", share_with=("stranger",)), age=9),
    ]
    ledger = settle(*mine)
    assert ledger.tenures["x"].guests == ("b", "c", "d")
    assert settle(mine[0], mine[2], before=ledger).tenures["x"].guests == ("b", "c")
    away = settle(mine[2], before=ledger)
    assert (away.tenures["x"].guests, away.tenures["x"].owner) == (("b", "c", "d"), "stack a")


# What the operator says.


def test_only_those_that_the_operator_names_get_a_name() -> None:
    rules = OwnershipRules(
        owners={
            "x.example": ("stack:b", "network:edge"),
            "*.example": ("stack:a",),
            "*": ("stack:c",),
        }
    )
    asked = [
        service("stack a", "x.example", "y.example", "*.x.example", "other", "tcp://:1", age=1),
        service("stack b", "x.example", "y.example", age=2),
        service("stack c", "other", "", age=3),
        service("stack d", "x.example", age=1, key="0", networks=("edge",)),
    ]
    ledger = settle(*asked, rules=rules)
    assert owners(ledger) == {
        "x.example": "stack d",
        "y.example": "stack a",
        "other": "stack c",
        "": "stack c",
        "tcp://:1": "stack a",
    }
    assert right_of("*.x.example", ledger.tenures, rules) == Right(
        None, ("stack:b", "network:edge"), "x.example"
    )
    assert right_of("y.example", ledger.tenures, rules).pattern == "*.example"
    assert right_of("tcp://:1", ledger.tenures, rules).grants is None
    # A record that it no longer agrees with does not stand.
    before = Ledger(
        rules, [Tenure("x.example", "stack a", 1), Tenure("y.example", "stack b", 1, 2)]
    )
    assert owners(settle(asked[0], asked[1], before=before))["x.example"] == "stack b"
    assert "y.example" not in owners(settle(before=before))


def test_a_released_name_goes_to_who_else_asks() -> None:
    a, b = service("stack a", "x", "*.x", age=1), service("stack b", "x", age=2)
    ledger = settle(a, b)
    assert owners(ledger) == {"x": "stack a", "*.x": "stack a"}
    released = ledger.released(["x", "never"], 300)
    assert released.tenures == {"x": Tenure("x", "stack b", 300)}
    # Nobody else asks: who asked keeps it, as if new.
    assert settle(a).released(["x"], 300).tenures["x"] == Tenure("x", "stack a", 300)
    gone = settle(before=settle(a), now=150)
    assert gone.released(["x"], 300).tenures == {}
    # Who else asks for it may still be kept from it by what covers it.
    covered = settle(service("stack c", "*.e"), before=settle(service("stack a", "x.e")))
    covered = settle(service("stack c", "*.e"), service("stack b", "x.e", age=3), before=covered)
    assert owners(covered.released(["x.e"], 300)) == {"*.e": "stack c"}


# Bounds.


def test_a_flood_of_names_costs_its_owner_alone() -> None:
    rules = OwnershipRules(max_names=6, max_names_per_owner=4)
    shop = service("stack shop", "shop", "shop2")
    ledger = settle(shop, rules=rules)
    ledger = settle(before=ledger, now=110)  # away, and its record is the oldest unused one
    flood = [service("stack evil", f"e{i:02}", key=f"e{i:02}") for i in range(20)]
    ledger = settle(*flood, before=ledger, now=120)
    assert [name for name, owner in owners(ledger).items() if owner == "stack evil"] == [
        "e00",
        "e01",
        "e02",
        "e03",
    ]
    assert {"shop", "shop2"} <= ledger.tenures.keys()
    # Its own unused ones make room, the oldest first.
    ledger = settle(flood[3], before=ledger, now=130)
    ledger = settle(flood[3], flood[10], before=ledger, now=140)
    assert {"e01", "e02", "e03", "e10", "shop", "shop2"} == ledger.tenures.keys()
    # One that has less gets room from who has the most.
    ledger = settle(flood[3], service("stack new", "new"), before=ledger, now=150)
    assert {"e02", "e03", "e10", "shop", "shop2", "new"} == ledger.tenures.keys()
    # Nobody that has as little as the one who asks makes room.
    small = settle(
        service("stack b", "b"),
        before=settle(service("stack a", "a"), rules=OwnershipRules(max_names=1)),
    )
    assert owners(small) == {"a": "stack a"}
    # In a full record an owner's own unused names make room, too.
    own = settle(
        service("stack a", "c"),
        before=settle(service("stack a", "a"), rules=OwnershipRules(max_names=1)),
    )
    assert owners(own) == {"c": "stack a"}
    assert own.released(["c"], 1).tenures.keys() == {"c"}


def test_a_full_record_costs_no_more_for_each_name_that_is_asked_for_in_vain() -> None:
    def calls(owners: int) -> int:
        full = settle(
            *(service(f"stack {n}", f"n{n}", f"m{n}") for n in range(owners)),
            rules=OwnershipRules(max_names=2 * owners),
        )
        flood = (*full._contributions, service("stack evil", *(f"e{n}" for n in range(200))))
        counted = 0

        def count(*_: object) -> None:
            nonlocal counted
            counted += 1

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            after = full.updated(flood, 200)
        finally:
            sys.setprofile(before)
        assert after.tenures.keys() == full.tenures.keys()
        return counted

    assert calls(2000) < 3 * calls(200)


def test_a_name_that_came_back_is_not_taken_for_unused() -> None:
    rules = OwnershipRules(max_names_per_owner=2)
    ledger = settle(before=settle(service("stack a", "x", "y"), rules=rules))
    ledger = settle(service("stack a", "x", "p", "q"), before=ledger)
    assert ledger.tenures.keys() == {"x", "p"}


# For whatever happens.

_NAMES = ("a", "*.a", "x.a", "*.x.a", "b.x.a", "", "tcp://:1")
_STEPS = st.lists(
    st.dictionaries(
        st.sampled_from(["stack 1", "stack 2", "service 3"]),
        st.tuples(st.integers(0, 3), st.sets(st.sampled_from(_NAMES), max_size=4)),
    ),
    min_size=1,
    max_size=6,
)


def _snapshot(step: dict[str, tuple[int, set[str]]]) -> list[Contribution]:
    return [service(owner, *sorted(names), age=age) for owner, (age, names) in step.items()]


@settings(max_examples=200)
@given(_STEPS)
def test_ownership_never_moves_while_its_owner_asks(
    steps: list[dict[str, tuple[int, set[str]]]],
) -> None:
    ledger = Ledger()
    for now, step in enumerate(steps, 1):
        contributions = _snapshot(step)
        last, ledger = ledger, ledger.updated(tuple(contributions), now)
        # However they are put in order, the outcome is the same.
        assert last.updated(tuple(reversed(contributions)), now).tenures == ledger.tenures
        asked = {(c.owner, r.claimed_name) for c in contributions for r in c.routes}
        for name, tenure in last.tenures.items():
            assert ledger.tenures[name].owner == tenure.owner, "nobody is away for a week here"
        for name, tenure in ledger.tenures.items():
            assert bool(tenure.left) == ((tenure.owner, name) not in asked)
        for owner, name in asked:
            right = right_of(name, ledger.tenures, ledger.rules)
            assert right.tenure is not None, f"{name} of {owner} is somebody's"


@given(_STEPS)
def test_the_record_is_never_larger_than_its_bounds(
    steps: list[dict[str, tuple[int, set[str]]]],
) -> None:
    ledger = Ledger(OwnershipRules(max_names=3, max_names_per_owner=2, keep=3))
    for now, step in enumerate(steps, 1):
        ledger = ledger.updated(tuple(_snapshot(step)), now)
        found = list(owners(ledger).values())
        assert len(found) <= 3
        assert all(found.count(owner) <= 2 for owner in found)
