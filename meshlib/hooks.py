"""Hooks: functions of the user's own that see requests, responses, records and changes.

Only the registry is here, and no event loop: what an `async def` returns is awaited by the adapter
that serves the mesh. Where no hook is registered, adapters do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, overload

from meshlib.errors import ConfigurationError

__all__ = ["HOOK_NAME", "Hook", "HookPoint", "Hooks", "Spawn"]

F = TypeVar("F")
T = TypeVar("T")

# Takes over what an asynchronous hook has returned, with the hook's name for the log.
Spawn: TypeAlias = Callable[[str, Awaitable[object]], None]

# Combinations of names that are kept; services choose them.
_KEPT: Final = 1000

# The names that labels may use.
HOOK_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class Hook(NamedTuple):
    """A function, and its name in logs. Those of a smaller `order` are called first."""

    name: str
    function: Callable[..., object]
    order: int = 0


class HookPoint:
    """A place where hooks are called, and the decorator that registers one:

        @mesh.before
        def auth(request): ...

        @mesh.before(name="auth", order=-1)
        async def auth(request): ...

    Also an object with a method of the point's name. `hooks` are in the order in which they are
    called: by `order`, then as they were registered. Without `name` it is the function's own.
    """

    def __init__(self, point: str, changed: Callable[[], None]) -> None:
        self.point = point
        self.hooks: tuple[Hook, ...] = ()
        self._changed = changed

    def __repr__(self) -> str:
        return f"<HookPoint {self.point}: {', '.join(hook.name for hook in self.hooks) or 'none'}>"

    @overload
    def __call__(self, function: F, *, name: str = "", order: int = 0) -> F: ...
    @overload
    def __call__(self, *, name: str = "", order: int = 0) -> Callable[[F], F]: ...
    def __call__(self, function: Any = None, *, name: str = "", order: int = 0) -> Any:
        """Register `function`, or return a decorator that does. `ConfigurationError` for what
        cannot be called.
        """
        if function is None:
            return lambda given: self(given, name=name, order=order)
        called = _method(function, self.point) or function
        if not callable(called):
            raise ConfigurationError(
                f"{function!a} cannot be called",
                where=f"mesh.{self.point}",
                hint="give a function, or an object with a method of that name",
            )
        hook = Hook(name or _name_of(function), called, order)
        self.hooks = tuple(sorted((*self.hooks, hook), key=lambda one: one.order))
        self._changed()
        return function


class Hooks:
    """All hooks of a mesh: those that are called everywhere (`before`, `after`, `on_change`,
    `on_record`), and those that routes name.

    `names` is the allow-list: a route that names another hook is not served (503). It may have
    names for which nothing is registered here, as in a supervisor whose workers have the functions;
    `on_allowed` is called when it grows, `watch` tells of every registration.
    """

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset()
        self.before = HookPoint("before", self._tell)
        self.after = HookPoint("after", self._tell)
        self.on_change = HookPoint("on_change", self._tell)
        self.on_record = HookPoint("on_record", self._tell)
        self.on_allowed: Callable[[], None] | None = None
        self._named: dict[str, tuple[Hook | None, Hook | None]] = {}
        self._watchers: dict[object, Callable[[], None]] = {}
        self._spawners: dict[object, Spawn] = {}
        self._afters: dict[tuple[str, ...], tuple[Hook, ...]] = {}

    def __repr__(self) -> str:
        return f"<Hooks {self.before!r} {self.after!r} names={sorted(self.names)}>"

    @overload
    def name(self, name: str, hook: F) -> F: ...
    @overload
    def name(self, name: str) -> Callable[[F], F]: ...
    def name(self, name: str, hook: Any = None) -> Any:
        """Have `hook` called for the requests of the routes that name it; without it, a decorator.

        A function is called before, an object by its methods `before` and `after`, of which it has
        one or both. `ConfigurationError` for another thing, or a name that no label could have.
        """
        if hook is None:
            return lambda given: self.name(name, given)
        where = f"mesh.hook({name!a})"
        _check_name(name, where)
        before, after = _method(hook, "before"), _method(hook, "after")
        if before is None and after is None:
            if not callable(hook):
                hint = "give a function, or an object with a method before or after"
                raise ConfigurationError(f"{hook!a} cannot be called", where=where, hint=hint)
            before = hook
        self._named[name] = (
            Hook(name, before) if before is not None else None,
            Hook(name, after) if after is not None else None,
        )
        self.allow((name,))
        self._tell()
        return hook

    def allow(self, names: Iterable[str]) -> None:
        """Let routes name these hooks."""
        more = frozenset(names)
        for name in more:
            _check_name(name, "hooks")
        if not more <= self.names:
            self.names |= more
            if self.on_allowed is not None:
                self.on_allowed()

    @property
    def serving(self) -> bool:
        """Whether a request may meet a hook."""
        return bool(self.before.hooks or self.after.hooks or self.names)

    @property
    def named(self) -> Mapping[str, tuple[Hook | None, Hook | None]]:
        """The registered ones of `names`: what is called before, and after."""
        return dict(self._named)

    def adopt(
        self,
        before: tuple[Hook, ...],
        after: tuple[Hook, ...],
        named: Mapping[str, tuple[Hook | None, Hook | None]],
        on_record: tuple[Hook, ...] = (),
    ) -> None:
        """Have the hooks of another registry in the place of one's own, as a worker has those of
        its supervisor.
        """
        self.before.hooks, self.after.hooks = before, after
        self.on_record.hooks = on_record
        self._named = dict(named)
        self.allow(named)
        self._tell()

    def afters(self, names: tuple[str, ...]) -> tuple[Hook, ...]:
        """The hooks for the response to a request to a route that names `names`: first those of all
        requests. KeyError when one is not registered.
        """
        found = self._afters.get(names)
        if found is None:
            own = [self._named[name][1] for name in names]
            found = (*self.after.hooks, *[hook for hook in own if hook is not None])
            if len(self._afters) >= _KEPT:
                self._afters.clear()
            self._afters[names] = found
        return found

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called after each registration; returns a function that ends that."""
        return _enter(self._watchers, callback)

    def _tell(self) -> None:
        self._afters.clear()
        for watcher in list(self._watchers.values()):
            watcher()

    # What is asynchronous.

    def attach(self, spawn: Spawn) -> Callable[[], None]:
        """Have `spawn` take over what asynchronous hooks return when nobody waits for them; returns
        a function that ends that. The last one attached counts.
        """
        return _enter(self._spawners, spawn)

    def tell_change(self, mesh: object) -> None:
        """Call the hooks of `on_change` with the `mesh`, all of them before what they have raised
        is raised. An asynchronous one is told only while an adapter serves the mesh.
        """
        errors = []
        for hook in self.on_change.hooks:
            try:
                self.settle(hook, hook.function(mesh))
            except Exception as error:  # noqa: BLE001
                error.add_note(f"raised by the hook {hook.name}")
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("hooks failed", errors)

    def settle(self, hook: Hook, result: object) -> None:
        """Have what `hook` has returned awaited, if it wants that."""
        if not hasattr(result, "__await__"):
            return
        if self._spawners:
            spawn = next(reversed(self._spawners.values()))
            spawn(hook.name, result)
        elif hasattr(result, "close"):  # a coroutine that nobody can await
            result.close()


def _enter(register: dict[object, T], value: T) -> Callable[[], None]:
    key = object()
    register[key] = value

    def leave() -> None:
        register.pop(key, None)

    return leave


def _method(hook: object, name: str) -> Callable[..., object] | None:
    # Of an instance: a function's own attributes are no methods.
    found = getattr(type(hook), name, None)
    return getattr(hook, name) if callable(found) else None


def _name_of(hook: object) -> str:
    return getattr(hook, "__name__", "") or type(hook).__name__


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not HOOK_NAME.fullmatch(name):
        hint = "write letters, digits and _ . - alone, 64 at most"
        raise ConfigurationError(f"{name!a} is not the name of a hook", where=where, hint=hint)
