"""Whom to prefer: strategies order candidates and do nothing else.

They do not connect, keep health, set cookies or know HTTP. A strategy has a little state (a cursor) and is used by
one event loop; its order depends on its arguments and that state alone. What is ordered needs only a `weight`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from meshlib.errors import ConfigurationError

__all__ = ["STRATEGIES", "RoundRobin", "Strategy", "Weighted", "WeightedRoundRobin", "create_strategy"]


class Weighted(Protocol):
    """What can be ordered; a weight of 0 means "only when nothing else is left"."""

    @property
    def weight(self) -> int:
        """0 or more."""


T = TypeVar("T", bound=Weighted)


class Strategy(Protocol):
    """Orders candidates, best first. `candidates` offers each of them once; the caller takes the first it accepts."""

    def first(self, endpoints: Sequence[T]) -> T | None:
        """The first of `candidates`, for the price of one; None when there are none."""

    def candidates(self, endpoints: Sequence[T]) -> Iterator[T]:
        """Every one of `endpoints`, best first, worked out as far as it is consumed. Counts as one pick."""


class RoundRobin:
    """One after the other. Weights are ignored, but those of weight 0 come last."""

    __slots__ = ("_cursor",)

    def __init__(self) -> None:
        self._cursor = 0

    def first(self, endpoints: Sequence[T]) -> T | None:
        """See `Strategy`."""
        count = len(endpoints)
        if not count:
            return None
        cursor = self._cursor
        self._cursor = cursor + 1
        chosen = endpoints[cursor % count]
        if chosen.weight:
            return chosen
        return next(_weightless_last(endpoints, cursor % count))

    def candidates(self, endpoints: Sequence[T]) -> Iterator[T]:
        """See `Strategy`."""
        if not endpoints:
            return iter(())
        cursor = self._cursor
        self._cursor = cursor + 1
        return _weightless_last(endpoints, cursor % len(endpoints))


def _weightless_last(endpoints: Sequence[T], start: int) -> Iterator[T]:
    last = []
    for index in range(start, start + len(endpoints)):
        endpoint = endpoints[index % len(endpoints)]
        if endpoint.weight:
            yield endpoint
        else:
            last.append(endpoint)
    yield from last


class WeightedRoundRobin:
    """In proportion to the weights, as evenly interleaved as nginx's smooth weighted round robin.

    Each pick raises every credit by its weight, takes the highest, and lowers that by the sum of the weights. Credits are kept
    by position and begin anew when the set of weights changes.
    """

    __slots__ = ("_credit", "_weights")

    def __init__(self) -> None:
        self._weights: tuple[int, ...] = ()
        self._credit: list[int] = []

    def first(self, endpoints: Sequence[T]) -> T | None:
        """See `Strategy`."""
        if not endpoints:
            return None
        return endpoints[self._pick(endpoints)]

    def candidates(self, endpoints: Sequence[T]) -> Iterator[T]:
        """See `Strategy`; behind the pick the others follow in the order of their credit."""
        if not endpoints:
            return iter(())
        picked = self._pick(endpoints)
        rest = [index for index in range(len(endpoints)) if index != picked]
        rest.sort(key=lambda index: (not endpoints[index].weight, -self._credit[index], index))
        return iter([endpoints[index] for index in (picked, *rest)])

    def _pick(self, endpoints: Sequence[T]) -> int:
        weights = tuple([endpoint.weight for endpoint in endpoints])
        if weights != self._weights:
            self._weights = weights
            self._credit = [0] * len(weights)
        if not any(weights):
            weights = (1,) * len(weights)
        credit = self._credit
        best = -1
        for index, weight in enumerate(weights):
            credit[index] += weight
            if weight and (best < 0 or credit[index] > credit[best]):
                best = index
        credit[best] -= sum(weights)
        return best


STRATEGIES: dict[str, Callable[[], Strategy]] = {"round_robin": RoundRobin, "weighted_round_robin": WeightedRoundRobin}


def create_strategy(name: str) -> Strategy:
    """A new strategy of that name. Raises `ConfigurationError` with the nearest known name."""
    factory = STRATEGIES.get(name)
    if factory is None:
        near = difflib.get_close_matches(name, STRATEGIES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(STRATEGIES))}"
        raise ConfigurationError(f"{name!r} is no strategy", where="strategy", hint=hint)
    return factory()
