"""The registry of hooks, without anybody who calls them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib.hooks import Hook, HookPoint, Hooks


def one(request: object) -> None:
    """A hook."""


def two(request: object) -> None:
    """Another."""


class Both:
    """As built-in hooks are."""

    def before(self, request: object) -> None:
        """What comes before."""

    def after(self, request: object, response: object) -> None:
        """What comes behind."""


def names(hooks: tuple[Hook, ...]) -> list[str]:
    return [hook.name for hook in hooks]


def test_a_point_is_a_decorator_with_arguments_or_without() -> None:
    calls: list[int] = []
    point = HookPoint("before", lambda: calls.append(len(point.hooks)))
    assert point(one) is one
    assert point(name="first", order=-1)(two) is two
    point(Both(), order=-1)
    point(two, name="last")
    assert names(point.hooks) == ["first", "Both", "one", "last"]
    assert calls == [1, 2, 3, 4]
    assert repr(point) == "<HookPoint before: first, Both, one, last>"
    assert repr(HookPoint("after", print)) == "<HookPoint after: none>"


def test_what_cannot_be_called_is_refused() -> None:
    hooks = Hooks()
    with pytest.raises(ConfigurationError, match="cannot be called"):
        hooks.before(3)
    with pytest.raises(ConfigurationError, match="cannot be called"):
        hooks.name("auth", 3)
    assert not hooks.serving


def test_routes_find_their_hooks_behind_those_of_all() -> None:
    hooks = Hooks()
    both = Both()
    assert hooks.name("both", both) is both
    assert hooks.name("auth")(one) is one
    hooks.after(both)
    for _ in range(2):
        assert names(hooks.afters(("auth", "both"))) == ["Both", "both"]
    with pytest.raises(KeyError):
        hooks.afters(("missing",))
    assert hooks.names == {"auth", "both"}
    assert hooks.named["auth"] == (Hook("auth", one), None)
    assert "names=['auth', 'both']" in repr(hooks)


def test_a_registration_counts_for_later_requests() -> None:
    hooks = Hooks()
    assert hooks.afters(()) == ()
    hooks.after(one)
    assert names(hooks.afters(())) == ["one"]


def test_a_registry_adopts_what_another_has() -> None:
    hooks, other = Hooks(), Hooks()
    hooks.before(one)
    hooks.name("both", Both())
    other.after(two)
    assert other.afters(()) == (Hook("two", two),)
    hooks.on_record(two)
    records = hooks.on_record.hooks
    other.adopt(hooks.before.hooks, hooks.after.hooks, hooks.named, records)
    assert names(other.on_record.hooks) == ["two"]
    assert names(other.before.hooks) == ["one"]
    assert other.afters(()) == ()
    assert (other.names, other.named) == (frozenset({"both"}), hooks.named)
    assert names(other.afters(("both",))) == ["both"]


def test_combinations_of_names_are_bounded() -> None:
    hooks = Hooks()
    hooks.name("a", Both())
    hooks.name("b", Both())
    for number in range(2**10):  # more than are kept
        combination = tuple("ab"[number >> place & 1] for place in range(10))
        assert len(hooks.afters(combination)) == 10


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 65, 3])
def test_a_name_is_one_that_labels_can_have(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not the name of a hook"):
        Hooks().name(name, one)
    with pytest.raises(ConfigurationError, match="is not the name of a hook"):
        Hooks().allow([name])


def test_growth_of_the_allow_list_is_told_once() -> None:
    hooks = Hooks()
    hooks.allow(["early"])
    grown: list[frozenset[str]] = []
    hooks.on_allowed = lambda: grown.append(hooks.names)
    hooks.allow(["early"])
    hooks.name("auth", one)
    hooks.name("auth", two)
    assert grown == [{"early", "auth"}]
    assert hooks.serving


def test_watchers_hear_of_registrations_until_they_leave() -> None:
    hooks = Hooks()
    heard: list[bool] = []
    leave = hooks.watch(lambda: heard.append(hooks.serving))
    hooks.before(one)
    leave()
    leave()
    hooks.after(two)
    assert heard == [True]


async def later(mesh: object) -> None:
    """An asynchronous hook."""


def test_changes_are_told_to_all_and_what_is_asynchronous_goes_to_the_last_adapter() -> None:
    hooks = Hooks()
    told: list[object] = []
    taken: list[tuple[str, str]] = []

    def spawn(name: str, result: Awaitable[object]) -> None:
        taken.append((name, "spawned"))
        result.close()  # type: ignore[attr-defined]

    hooks.on_change(told.append, name="told")
    hooks.on_change(later)
    hooks.tell_change("mesh")  # nobody serves it: `later` is not told, and nothing is left behind
    hooks.attach(lambda name, result: None)
    leave = hooks.attach(spawn)
    hooks.tell_change("mesh again")
    assert told == ["mesh", "mesh again"]
    assert taken == [("later", "spawned")]
    leave()


def test_an_awaitable_that_nobody_takes_is_left() -> None:
    class Future:
        def __await__(self) -> Any:
            raise AssertionError("nobody awaits it")

    Hooks().settle(Hook("x", one), Future())


def test_failures_of_changes_are_raised_behind_all_calls() -> None:
    hooks = Hooks()
    told: list[object] = []

    @hooks.on_change
    def bad(mesh: object) -> None:
        raise LookupError("once")

    hooks.on_change(told.append)
    with pytest.raises(LookupError, match="once") as caught:
        hooks.tell_change("mesh")
    assert caught.value.__notes__ == ["raised by the hook bad"]
    hooks.on_change(bad, name="again")
    with pytest.raises(ExceptionGroup) as group:
        hooks.tell_change("mesh")
    assert len(group.value.exceptions) == 2
    assert told == ["mesh", "mesh"]
