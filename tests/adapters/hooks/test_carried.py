"""Hooks on their way to workers."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib.hooks import Hooks
from meshlib_adapters.hooks.carried import pack_hooks, unpack_hooks


def one(request: object) -> None:
    """A hook that can be imported."""


class Counting:
    """A hook with a method for each side."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def before(self, request: object) -> int:
        return self.limit

    def after(self, request: object, response: object) -> int:
        return self.limit


def test_hooks_are_the_same_on_the_other_side() -> None:
    hooks, other = Hooks(), Hooks()
    hooks.before(one)
    hooks.on_record(one)
    hooks.name("count", Counting(3))
    unpack_hooks(pack_hooks(hooks), other)
    assert other.on_record.hooks == hooks.on_record.hooks
    assert other.before.hooks == hooks.before.hooks
    before, after = other.named["count"]
    assert before is not None
    assert after is not None
    assert before.function(None) == 3
    functions: Any = before.function, after.function
    assert functions[0].__self__ is functions[1].__self__
    assert other.names == {"count"}


def test_nothing_is_nothing() -> None:
    hooks = Hooks()
    hooks.on_change(print)
    assert pack_hooks(hooks) == b""
    unpack_hooks(b"", hooks)
    assert hooks.before.hooks == ()


def local() -> Callable[[object], None]:
    def inner(request: object) -> None:
        """Nobody can import it."""

    return inner


def test_a_hook_that_nobody_can_import_is_refused() -> None:
    hooks = Hooks()
    hooks.after(local())
    with pytest.raises(ConfigurationError, match="cannot have the hook inner"):
        pack_hooks(hooks)


def test_a_hook_of_the_main_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(request: object) -> None:
        """As in a program."""

    own.__module__ = "__main__"
    hooks = Hooks()
    hooks.before(own)
    with pytest.raises(ConfigurationError, match="defined in the program's main module"):
        pack_hooks(hooks)


def test_a_module_is_found_where_the_supervisor_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_hooks.py").write_text("def auth(request):\n    return None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    own_hooks = importlib.import_module("own_hooks")

    hooks = Hooks()
    hooks.before(own_hooks.auth)
    packed = pack_hooks(hooks)
    script = (
        "import sys; from meshlib.hooks import Hooks; "
        "from meshlib_adapters.hooks.carried import unpack_hooks; hooks = Hooks(); "
        "unpack_hooks(sys.stdin.buffer.read(), hooks); print(hooks.before.hooks[0].name)"
    )
    said = subprocess.run([sys.executable, "-c", script], input=packed, capture_output=True)
    assert said.stdout == b"auth\n", said.stderr


def test_a_module_that_is_gone_is_said() -> None:
    packed: Any = pickle.dumps(([], b"cno_such_module\nauth\n."))
    with pytest.raises(ConfigurationError, match="No module named 'no_such_module'"):
        unpack_hooks(packed, Hooks())
