"""Routes that a provider of a program's own has read: what is a row, and what a mistake costs."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib.model import Contribution, Snapshot
from meshlib.provided import provided_snapshot
from meshlib.routes import Service, redirect


def read(found: Any, previous: Snapshot | None = None) -> Snapshot:
    return provided_snapshot(found, "rows", previous)


def endpoints(snapshot: Snapshot) -> dict[str, list[tuple[str, int]]]:
    return {
        route.name: [(one.address, one.weight) for one in route.upstream.endpoints]
        for route in snapshot.routes
        if route.upstream is not None
    }


def test_a_mapping_is_that_of_a_mesh() -> None:
    snapshot = read({"b": redirect("https://c"), "a/x": Service(["h:1"], sticky="SID")})
    assert [one.key for one in snapshot.contributions] == ["rows/http://a/x", "rows/http://b"]
    assert {one.owner for one in snapshot.contributions} == {"file rows"}
    assert endpoints(snapshot) == {"http://a/x": [("h:1", 1)]}
    assert snapshot.diagnostics == ()


def test_rows_of_a_host_are_its_endpoints() -> None:
    rows = [("a", "h:1"), ["b", "h:3", 5], ("a", "h:2"), ("b", "h:4", None), ("c", None)]
    assert endpoints(read(iter(rows))) == {
        "http://a": [("h:1", 1), ("h:2", 1)],
        "http://b": [("h:3", 5), ("h:4", 1)],
        "http://c": [],
    }


def test_rows_may_be_mappings_with_options() -> None:
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    found = database.execute(
        "SELECT 'a' host, 'h:1' address, NULL sticky, 1 h2c"
        " UNION SELECT 'a', 'h:2', 'SID', NULL ORDER BY address"
    ).fetchall()
    database.close()
    # SQLite has no true: 1 is not one.
    assert "h2c is 1" in read(found).diagnostics[0].message
    (route,) = read([{"host": "a", "address": "h:1", "sticky": "SID", "weight": 2}]).routes
    assert route.options.sticky_cookie == "SID"


def test_a_snapshot_is_checked_and_taken() -> None:
    before = read({"a": ["h:1"]})
    assert read(before) is before
    wrong: Any = (1,)
    with pytest.raises(ConfigurationError):
        read(Snapshot((Contribution("k", "s", routes=wrong),)))


def test_what_did_not_change_is_the_same_object() -> None:
    before = read({"a": ["h:1"], "b": ["h:2"]})
    after = read({"a": ["h:1"], "b": ["h:3"]}, before)
    assert after.contributions[0] is before.contributions[0]
    assert after.contributions[1] != before.contributions[1]


@pytest.mark.parametrize("found", [5, "a", b"a", None])
def test_what_has_no_routes(found: Any) -> None:
    with pytest.raises(ConfigurationError, match="has no routes") as caught:
        read(found)
    assert caught.value.where == "rows"


@pytest.mark.parametrize(
    ("found", "label", "message"),
    [
        ({"a:80": ["h:1"], "b": ["h:1"]}, "a:80", "a route has no port"),
        ({5: ["h:1"], "b": ["h:1"]}, "5", "does not name a route"),
        ({"b": ["h:1"], "b/": ["h:2"]}, "b/", "the entry 'b' is the same route"),
        (
            {"b": Service(["h:1"], name="s"), "c": Service(["h:2"], name="s")},
            "c",
            "the entry 'b' has another service of this name",
        ),
        ([("b", "h:1"), ("x",)], "row 2", "('x',) (tuple) is not a row"),
        ([("b", "h:1"), "xy"], "row 2", "is not a row"),
        ([("b", "h:1"), 7], "row 2", "7 (int) is not a row"),
        ([("b", "h:1"), (None, "h:1")], "row 2", "the host of the row is None"),
        ([("b", "h:1"), {"host": "a"}], "row 2", "the row has no address"),
        (
            [("b", "h:1"), {"host": "a", "address": "h:1", "colour": 1}],
            "row 2",
            "the row has 'colour', which is not an option",
        ),
        ([("b", "h:1"), ("a", "h")], "a", "has no port"),
        ([("b", "h:1"), ("a", "h:1", -1)], "a", "is not a weight"),
    ],
)
def test_a_mistake_costs_its_own_route(found: Any, label: str, message: str) -> None:
    snapshot = read(found)
    assert list(endpoints(snapshot)) == ["http://b"]
    (diagnostic,) = snapshot.diagnostics
    assert (diagnostic.code, diagnostic.label) == ("PRV001", label)
    assert message in diagnostic.message
    assert diagnostic.hint


def test_a_wrong_entry_keeps_its_last_good_route() -> None:
    before = read({"a": ["h:1"], "b": ["h:2"]})
    after = read({"a": ["h"], "b": ["h:2"]}, before)
    assert endpoints(after) == {"http://a": [("h:1", 1)], "http://b": [("h:2", 1)]}
    assert [route.degraded for route in sorted(after.routes, key=lambda r: r.name)] == [True, False]
    again = read({"a": ["h"], "b": ["h:2"]}, after)
    assert again == after
    assert all(map(lambda one, other: one is other, again.contributions, after.contributions))
    # Unless another entry has taken its place.
    taken = read({"a/": ["h:9"], "a": ["h"]}, before)
    assert endpoints(taken) == {"http://a": [("h:9", 1)]}
