"""Strategies of a program's own, by name, and what they see: the candidates and the request.

The names are the process's, as those of codecs are: a strategy is defined before the routes, labels
and files that name it are read. What calls it at run time is `own_strategy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from meshlib.balancing.strategy import STRATEGIES
from meshlib.bounds import bounded_name
from meshlib.definitions import check_called, check_name, check_place
from meshlib.errors import ConfigurationError
from meshlib.messages import ClientHello, RequestHead
from meshlib.model import Endpoint
from meshlib.nearest_word import nearest

__all__ = [
    "Candidate",
    "Registered",
    "StrategyFunction",
    "StrategyRequest",
    "check_strategy_name",
    "registered",
    "registered_names",
    "stand_in",
    "strategy",
    "strategy_name",
    "unknown_strategy",
]

_DEFINE: Final = 'define one of your own with @meshlib.strategy("NAME") before its name is read'
# Functions without a name of their own that `Service` may get; each stays as long as the process.
MAX_PASSED: Final = 1000
_FACTORY: Final = "write def NAME():"
_FUNCTION: Final = "write def NAME(candidates, request):"


@dataclass(slots=True, eq=False)
class Candidate:
    """An endpoint that may be picked, as it is at this moment.

    `active` counts its requests or connections under way. `latency` is how many seconds it took to
    begin its latest responses, smoothed (None: none was measured yet, and for connections that are
    not HTTP). `weight` is 0 or more; 0 means "only when nothing else is left".
    """

    endpoint: Endpoint
    active: int
    latency: float | None
    weight: int


@dataclass(frozen=True, slots=True)
class StrategyRequest:
    """The request or connection that an endpoint is picked for.

    `head` is that of an HTTP request (None: a connection that is relayed), `hello` the ClientHello
    of a TLS connection that is passed through (None: it is none, or did not come whole), `client`
    the client's IP address ("": not known), `sticky` the value of the route's sticky cookie (None:
    the route or the request has none). A request that is bound to an endpoint is not picked for.
    """

    head: RequestHead | None = None
    client: str = ""
    sticky: bytes | None = None
    hello: ClientHello | None = None


# A pick, or an order that begins with the best, or None for no preference.
StrategyFunction: TypeAlias = Callable[
    [Sequence[Candidate], StrategyRequest], Candidate | Iterable[Candidate] | None
]
F = TypeVar("F", bound=Callable[..., Any])


class Registered(NamedTuple):
    """A strategy under its `name`. `per_upstream`: `given` makes the function, once for each
    upstream; else it is the function.
    """

    name: str
    given: Callable[..., Any]
    per_upstream: bool

    def create(self) -> StrategyFunction:
        """The function for one more upstream; raises what the program's own code raises."""
        made: StrategyFunction = self.given() if self.per_upstream else self.given
        if not callable(made):
            raise TypeError(f"it made {made!r}, which cannot be called")
        return made


_OWN: dict[str, Registered] = {}
_PASSED: dict[str, Registered] = {}


def strategy(name: str, *, factory: bool = False) -> Callable[[F], F]:
    """Define the strategy `name` for labels, files and `Service(strategy=NAME)`.

        @meshlib.strategy("fewest_first")
        def fewest_first(candidates, request):
            return min(candidates, key=lambda one: one.active)

    The function gets a tuple of `Candidate`s, two at least, and a `StrategyRequest`. It returns one
    of the candidates, or several with the best first (the others come after them), or None or
    nothing for no preference. It is called in the event loop for each request: it must neither wait
    nor change anything. What it raises, or returns besides, harms this pick alone: then round robin
    decides.

    A class is made once for each upstream, without arguments, and its object called; so may a
    function be that returns the function, with `factory=True`. A definition from the same place
    takes the place of an earlier one, as when a module is loaded anew; upstreams that are in use
    keep the function that they have.

    `ConfigurationError` for a name that cannot be written in a label, that of a built-in strategy,
    or one that other code has defined; and for what cannot be called so.
    """
    where = f"strategy({name!r})" if isinstance(name, str) else "strategy"
    check_name(name, where)
    if name in STRATEGIES:
        message = "a built-in strategy has this name"
        raise ConfigurationError(message, where=where, hint="choose another name")

    def define(given: F) -> F:
        per_upstream = factory or isinstance(given, type)
        _check_callable(given, where, per_upstream=per_upstream)
        if name in _OWN:
            check_place(given, _OWN[name].given, where)
        _OWN[name] = Registered(name, given, per_upstream)
        return given

    return define


def registered(name: str) -> Registered | None:
    """The strategy of a program's own that has this name."""
    return _OWN.get(name) or _PASSED.get(name)


def registered_names() -> tuple[str, ...]:
    """The names of all strategies that `strategy` has defined, sorted."""
    return tuple(sorted(_OWN))


def stand_in(name: str, reason: str) -> None:
    """Let `name`, which another process knows, be that of a strategy that fails with `reason` each
    time, unless it is known here: routes that use it are served in turn.
    """

    def fail(candidates: Sequence[Candidate], request: StrategyRequest) -> Candidate:
        raise RuntimeError(reason)

    if name not in STRATEGIES and registered(name) is None:
        _PASSED[name] = Registered(name, fail, per_upstream=False)


def strategy_name(given: object, where: str = "strategy") -> str:
    """The name of a strategy that is given by its name, or as the function or class itself, which
    needs no definition then. `ConfigurationError`, which begins with `where`, when there is none.
    """
    if isinstance(given, str):
        check_strategy_name(given, where)
        return given
    if not callable(given):
        hint = 'write strategy="least_connections", or give a function'
        message = f"strategy is {given!r}, neither a name nor a function"
        raise ConfigurationError(message, where=where, hint=hint)
    for known in (*_OWN.values(), *_PASSED.values()):
        if known.given is given:
            return known.name
    _check_callable(given, where, per_upstream=isinstance(given, type))
    if len(_PASSED) >= MAX_PASSED:
        message = f"{MAX_PASSED} functions are strategies already, and none is forgotten"
        hint = "define it once, outside of what is called again and again, and give that"
        raise ConfigurationError(message, where=where, hint=hint)
    wanted = bounded_name(getattr(given, "__qualname__", type(given).__qualname__))
    name, number = wanted, 1
    while name in _OWN or name in _PASSED or name in STRATEGIES:
        number += 1
        name = f"{wanted}#{number}"
    _PASSED[name] = Registered(name, given, isinstance(given, type))
    return name


def check_strategy_name(name: str, where: str = "strategy") -> None:
    """Raise `ConfigurationError` for a name that neither a built-in strategy nor one of a program's
    own has.
    """
    if name not in STRATEGIES and registered(name) is None:
        raise unknown_strategy(name, where)


def unknown_strategy(name: str, where: str = "strategy") -> ConfigurationError:
    """The error for a name that no strategy has; its hint is the nearest known one, or what to do
    for one of a program's own.
    """
    known = (*sorted(STRATEGIES), *registered_names())
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"known are {', '.join(known)}; {_DEFINE}"
    return ConfigurationError(f"{name!r} is no strategy", where=where, hint=hint)


def _check_callable(given: object, where: str, *, per_upstream: bool) -> None:
    arguments, hint = (0, _FACTORY) if per_upstream else (2, _FUNCTION)
    check_called(given, where, arguments, hint)
