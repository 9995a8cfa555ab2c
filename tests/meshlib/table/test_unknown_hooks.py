"""What is told about routes whose hooks nobody allows."""

from __future__ import annotations

from dataclasses import replace

from meshlib.model import Severity
from meshlib.route_options import RouteOptions
from meshlib.table.unknown_hooks import UNKNOWN_HOOK, unknown_hooks
from tests.support.tables import route

OPEN = route("http://open", "open")
CLOSED = replace(route("http://shop/api", "shop"), options=RouteOptions(hooks=("auth", "limit")))


def test_each_route_with_an_unknown_hook_has_a_diagnostic() -> None:
    (found,) = unknown_hooks([OPEN, CLOSED], frozenset({"limit"}))
    assert (found.code, found.severity) == (UNKNOWN_HOOK, Severity.ERROR)
    assert (found.service, found.label, found.names) == ("shop", CLOSED.label, ("shop",))
    assert "no hook 'auth', so http://shop/api is not served" in found.message
    assert "(those are limit)" in found.hint


def test_hooks_that_are_there_are_not_told_of() -> None:
    assert unknown_hooks([OPEN, CLOSED], frozenset({"auth", "limit"})) == []


def test_without_any_hook_all_are_named() -> None:
    (found,) = unknown_hooks([CLOSED], frozenset())
    assert "'auth', 'limit'" in found.message
    assert "(there are none)" in found.hint
