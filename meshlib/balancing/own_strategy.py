"""A strategy of a program's own at run time, for one upstream: calls the function, checks what it
returns, and lets round robin decide where it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from meshlib.balancing.registered import Candidate, Registered, StrategyFunction, StrategyRequest
from meshlib.balancing.strategy import Load, RoundRobin, Weighted
from meshlib.model import Endpoint

__all__ = ["OwnStrategy"]

T = TypeVar("T", bound=Weighted)

_NO_REQUEST: Final = StrategyRequest()
# Repetitions in an order for each candidate, before it counts as one without end.
_MOST_REPEATED: Final = 10


class OwnStrategy:
    """A `Strategy` whose order is a program's own (`meshlib.balancing.registered.strategy`).

    Candidates are endpoints, or have one as `endpoint`. `load` tells how many requests or
    connections one has, `latency` how fast it responds (None: not known). `request` is what the
    next picks are for. The function is not asked about fewer than two. What it raises or returns
    wrongly is counted in `failures` and given to `on_failure`.
    """

    __slots__ = (
        "_fallback",
        "_function",
        "_load",
        "_order",
        "failures",
        "latency",
        "name",
        "on_failure",
        "request",
    )

    def __init__(self, own: Registered, load: Load) -> None:
        self.name = own.name
        self.latency: Callable[[Any], float | None] = _unknown
        self.on_failure: Callable[[Exception], None] = _unreported
        self.request = _NO_REQUEST
        self.failures = 0
        self._load = load
        self._fallback = RoundRobin()
        self._order: list[int] = []
        try:
            self._function = own.create()
        except Exception as error:  # noqa: BLE001
            self._function = _raising(f"it could not be made: {error!r}")

    def __repr__(self) -> str:
        return f"<OwnStrategy {self.name} failures={self.failures}>"

    def first(self, endpoints: Sequence[T]) -> T | None:
        """The pick; see `Strategy`."""
        order = self._order = self._asked(endpoints)
        return endpoints[order[0]] if order else self._fallback.first(endpoints)

    def candidates(self, endpoints: Sequence[T]) -> Iterator[T]:
        """All endpoints; see `Strategy`."""
        order = self._order = self._asked(endpoints)
        if not order:
            return self._fallback.candidates(endpoints)
        return map(endpoints.__getitem__, self._whole(endpoints, order))

    def others(self, endpoints: Sequence[T], refused: T) -> list[T]:
        """Those that come after it; see `Strategy`."""
        if not self._order:
            return self._fallback.others(endpoints, refused)
        whole = self._whole(endpoints, self._order)
        return [endpoints[index] for index in whole if endpoints[index] != refused]

    def _whole(self, endpoints: Sequence[T], order: list[int]) -> list[int]:
        left = [index for index in range(len(endpoints)) if index not in order]
        left.sort(key=lambda index: not endpoints[index].weight)
        return order + left

    def _asked(self, endpoints: Sequence[Any]) -> list[int]:
        """The indexes that the function names, best first; none where it has no preference."""
        if len(endpoints) < 2:
            return []
        load, latency = self._load, self.latency
        offered = [
            Candidate(_endpoint_of(one), load(one), latency(one), one.weight) for one in endpoints
        ]
        try:
            return _indexes(self._function(tuple(offered), self.request), offered)
        except Exception as error:  # noqa: BLE001
            self.failures += 1
            self.on_failure(error)
            return []


def _indexes(found: object, offered: list[Candidate]) -> list[int]:
    if found is None:
        return []
    places = {id(one): index for index, one in enumerate(offered)}
    if isinstance(found, Candidate):
        found = (found,)
    if not isinstance(found, Iterable):
        raise TypeError(f"it returned {_shown(found)}, neither a candidate nor an order of them")
    order: dict[int, None] = {}
    left = _MOST_REPEATED * len(offered)
    for one in found:
        index = places.get(id(one))
        if index is None:
            raise ValueError(
                f"{_shown(one)} in its order is not one of the candidates of this pick"
            )
        order[index] = None
        left -= 1
        if left < 0:
            raise ValueError("its order repeats the candidates without end")
    return list(order)


def _shown(value: object) -> str:
    return f"a value of the type {type(value).__name__}"


def _endpoint_of(one: Any) -> Endpoint:
    endpoint: Endpoint = one if isinstance(one, Endpoint) else one.endpoint
    return endpoint


def _unknown(endpoint: object) -> float | None:
    return None


def _unreported(error: Exception) -> None:
    """Nobody has asked for failures; `failures` counts them."""


def _raising(message: str) -> StrategyFunction:
    def fail(candidates: Sequence[Candidate], request: StrategyRequest) -> Candidate:
        raise RuntimeError(message)

    return fail
