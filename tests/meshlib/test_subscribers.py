"""Everybody is called, in order, whatever one of them raises."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib.subscribers import Subscribers


def test_called_in_order_until_ended() -> None:
    subscribers: Subscribers[str] = Subscribers()
    called: list[tuple[int, str]] = []
    end = subscribers.add(lambda changed: called.append((1, changed)))
    subscribers.add(lambda changed: called.append((2, changed)))
    subscribers.call("a", None, "failed")
    end()
    end()
    subscribers.call("b", None, "failed")
    assert called == [(1, "a"), (2, "a"), (2, "b")]


def test_one_callback_may_subscribe_twice() -> None:
    subscribers: Subscribers[str] = Subscribers()
    called: list[str] = []
    end = subscribers.add(called.append)
    subscribers.add(called.append)
    subscribers.call("a", None, "failed")
    end()
    subscribers.call("b", None, "failed")
    assert called == ["a", "a", "b"]


def test_one_that_ends_another_while_they_are_called() -> None:
    subscribers: Subscribers[str] = Subscribers()
    called: list[str] = []
    subscribers.add(lambda _: end())
    end = subscribers.add(called.append)
    subscribers.call("a", None, "failed")
    subscribers.call("b", None, "failed")
    assert called == ["a"]


def test_what_cannot_be_called_is_refused() -> None:
    wrong: Any = 3
    with pytest.raises(ConfigurationError, match="subscribe: 3 cannot be called"):
        Subscribers[str]().add(wrong)


def test_what_they_raise() -> None:
    subscribers: Subscribers[str] = Subscribers()
    called: list[str] = []

    def broken(changed: str) -> None:
        raise ValueError(changed)

    subscribers.add(broken)
    subscribers.add(called.append)
    subscribers.add(broken)
    with pytest.raises(ExceptionGroup, match="subscribers failed") as caught:
        subscribers.call("a", None, "subscribers failed")
    assert [str(error) for error in caught.value.exceptions] == ["a", "a"]
    reported: list[str] = []
    subscribers.call("b", lambda error: reported.append(str(error)), "failed")
    assert (called, reported) == (["a", "b"], ["b", "b"])
