"""Strategies: they order candidates by preference and do nothing else.

They do not connect, keep health, set cookies or know HTTP. A strategy has a little state (a cursor)
and is used by one event loop; its order depends on its arguments, on that state and, where it
looks at it, on the load of candidates. Candidates need only a `weight` and must be hashable. As
long as it is called with the same tuple, the cost of `first` does not depend on their number,
except that of `LeastConnections`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, Protocol, TypeAlias, TypeVar

__all__ = [
    "STRATEGIES",
    "LeastConnections",
    "Load",
    "RoundRobin",
    "Strategy",
    "Weighted",
    "WeightedRoundRobin",
]


# Endpoints that are gone are remembered (their turn waits for them) until their number exceeds
# twice that of the present ones by this.
_REMEMBERED: Final = 64
# Sets of weights whose place in the cycle is remembered: as many as a rolling update or a flapping
# endpoint makes.
_CYCLES: Final = 8
# Picks after which a cycle repeats at the latest. Weights with a larger sum are rounded to shares
# of it, at least one.
_LONGEST_CYCLE: Final = 4096


class Weighted(Protocol):
    """A candidate; a weight of 0 means "only when nothing else is left"."""

    @property
    def weight(self) -> int:
        """0 or more."""


T = TypeVar("T", bound=Weighted)

# How much a candidate has to do at the moment: requests or connections, 0 or more.
Load: TypeAlias = Callable[[Any], int]


class Strategy(Protocol):
    """Orders candidates, best first. `candidates` offers each of them once; the caller takes the
    first it accepts.
    """

    def first(self, endpoints: Sequence[T]) -> T | None:
        """The first of `candidates`, at the cost of one; None when there are none."""

    def candidates(self, endpoints: Sequence[T]) -> Iterator[T]:
        """Every one of `endpoints`, best first, computed as far as it is consumed. Counts as one
        pick.
        """

    def others(self, endpoints: Sequence[T], refused: T) -> list[T]:
        """All but the one that `first` has just returned and the caller could not use, best first.
        Counts as no further pick.
        """


class RoundRobin:
    """Picks the least recently picked one. Weights are ignored, but those of weight 0 come last.

    With the same endpoints this is one after the other; when they change, those that stay keep
    their place and new ones come first, so that no pattern of changes leaves anybody out.
    """

    __slots__ = ("_before", "_last", "_picks", "_rotation", "_seen", "_spare")

    def __init__(self) -> None:
        self._seen: tuple[Weighted, ...] = ()
        self._rotation: list[
            int
        ] = []  # indexes, the one to be picked next at `_picks` modulo the length
        self._spare: list[int] = []
        self._picks = 0  # since the endpoints changed
        self._before = 0  # until then
        self._last: dict[Weighted, int] = {}  # the number of the last pick, as of then

    def first(self, endpoints: Sequence[T]) -> T | None:
        """The next pick; see `Strategy`."""
        if endpoints is not self._seen and tuple(endpoints) != self._seen:
            self._adopt(endpoints)
        rotation = self._rotation
        if not rotation:
            return None
        picks = self._picks
        self._picks = picks + 1
        return endpoints[rotation[picks % len(rotation)]]

    def candidates(self, endpoints: Sequence[T]) -> Iterator[T]:
        """All endpoints; see `Strategy`."""
        if self.first(endpoints) is None:
            return iter(())
        rotation = self._rotation
        start = (self._picks - 1) % len(rotation)
        order = chain(islice(rotation, start, None), islice(rotation, start), self._spare)
        return map(endpoints.__getitem__, order)

    def others(self, endpoints: Sequence[T], refused: T) -> list[T]:
        """Those that come after it; see `Strategy`."""
        return _after(endpoints, refused)

    def _adopt(self, endpoints: Sequence[T]) -> None:
        last, count = self._last, len(self._rotation)
        for back in range(min(count, self._picks)):
            number = self._picks - 1 - back
            last[self._seen[self._rotation[number % count]]] = self._before + number + 1
        self._before += self._picks
        self._picks = 0
        if len(last) > 2 * len(endpoints) + _REMEMBERED:
            last = self._last = {
                endpoint: last[endpoint] for endpoint in endpoints if endpoint in last
            }
        indexes = range(len(endpoints))
        weighty = [index for index in indexes if endpoints[index].weight] or list(indexes)
        self._rotation = sorted(weighty, key=lambda index: last.get(endpoints[index], 0))
        self._spare = (
            [index for index in indexes if not endpoints[index].weight]
            if len(weighty) < len(endpoints)
            else []
        )
        self._seen = tuple(endpoints)


class WeightedRoundRobin:
    """Picks in proportion to the weights, as evenly interleaved as nginx's smooth weighted round
    robin.

    Each pick raises every credit by its weight, takes the highest, and lowers that by the sum of
    the weights. The picks repeat after as many as that sum; they are computed once, as they are
    needed. A recently seen set of weights resumes where it stopped.
    """

    __slots__ = ("_cycle", "_cycles", "_seen")

    def __init__(self) -> None:
        self._seen: tuple[Weighted, ...] = ()
        self._cycle = _Cycle(())
        self._cycles: dict[tuple[int, ...], _Cycle] = {}

    def first(self, endpoints: Sequence[T]) -> T | None:
        """The next pick; see `Strategy`."""
        if endpoints is not self._seen and tuple(endpoints) != self._seen:
            self._adopt(endpoints)
        return endpoints[self._cycle.pick()] if endpoints else None

    def candidates(self, endpoints: Sequence[T]) -> Iterator[T]:
        """All endpoints (see `Strategy`): after the pick the others follow in the order of the next
        picks, as far as these are known.
        """
        if self.first(endpoints) is None:
            return iter(())
        return map(endpoints.__getitem__, self._cycle.order_from(self._cycle.position - 1))

    def others(self, endpoints: Sequence[T], refused: T) -> list[T]:
        """Those that come after it, whatever their weights; see `Strategy`."""
        return _after(endpoints, refused)

    def _adopt(self, endpoints: Sequence[T]) -> None:
        weights = tuple([endpoint.weight for endpoint in endpoints])
        cycle = self._cycles.pop(weights, None) or _Cycle(weights)
        self._cycles[weights] = cycle
        if len(self._cycles) > _CYCLES:
            del self._cycles[next(iter(self._cycles))]
        self._cycle = cycle
        self._seen = tuple(endpoints)


def _after(endpoints: Sequence[T], refused: T) -> list[T]:
    at = endpoints.index(refused)
    return sorted(chain(endpoints[at + 1 :], endpoints[:at]), key=_is_spare)


def _is_spare(endpoint: Weighted) -> bool:
    return not endpoint.weight


class _Cycle:
    # The picks of one tuple of weights, as indexes.

    __slots__ = ("_credit", "_given", "_period", "_picks", "_weights", "position")

    def __init__(self, weights: tuple[int, ...]) -> None:
        self._given = weights
        if not any(weights):
            weights = (1,) * len(weights)
        divisor = math.gcd(*weights) or 1
        total = sum(weights)
        if total > divisor * _LONGEST_CYCLE:
            self._weights = [
                max(weight * _LONGEST_CYCLE // total, 1) if weight else 0 for weight in weights
            ]
        else:
            self._weights = [weight // divisor for weight in weights]
        self._period = sum(self._weights)
        self._credit = [0] * len(weights)
        self._picks: list[int] = []
        self.position = 0

    def pick(self) -> int:
        position = self.position
        if position == self._period:
            position = 0
        self.position = position + 1
        if position == len(self._picks):
            self._picks.append(self._next())
        return self._picks[position]

    def _next(self) -> int:
        credit = self._credit
        best = -1
        for index, weight in enumerate(self._weights):
            credit[index] += weight
            if weight and (best < 0 or credit[index] > credit[best]):
                best = index
        credit[best] -= self._period
        return best

    def order_from(self, position: int) -> Iterator[int]:
        picks = self._picks
        yield picks[position]
        seen = {picks[position]}
        known = set(picks)
        heaviest_first = sorted(
            range(len(self._given)), key=lambda index: (-self._given[index], index)
        )
        never_picked = [
            index for index in heaviest_first if self._weights[index] and index not in known
        ]
        for index in chain(
            islice(picks, position, None), never_picked, islice(picks, position), heaviest_first
        ):
            if index not in seen:
                seen.add(index)
                yield index


class LeastConnections:
    """Picks the one with the smallest (load + 1) / weight, of equal ones the least recently picked,
    so that endpoints of one weight that have nothing to do get one request each in turn.

    After HAProxy's `leastconn` and nginx's `least_conn`. `load` is asked for each candidate at each
    pick, so a pick costs time in proportion to their number: some 30 microseconds among a hundred
    are nothing to a request; among thousands take round robin. The caller keeps the loads: a pick
    changes none.
    """

    __slots__ = ("_last", "_load", "_picks", "_seen")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._seen: tuple[Weighted, ...] = ()
        self._last: list[int] = []  # the number of the last pick of each of those, 0 for none
        self._picks = 0

    def first(self, endpoints: Sequence[T]) -> T | None:
        """The next pick; see `Strategy`."""
        if endpoints is not self._seen:
            self._adopt(endpoints)
        load, turns = self._load, self._last
        found = -1
        least, turn = math.inf, 0
        for index, endpoint in enumerate(endpoints):
            weight = endpoint.weight
            if weight:
                rank = (load(endpoint) + 1) / weight
                if rank < least or (rank == least and turns[index] < turn):
                    found, least, turn = index, rank, turns[index]
        if found < 0:  # nothing else is left
            return next(self.candidates(endpoints), None)
        return self._pick(endpoints, found)

    def candidates(self, endpoints: Sequence[T]) -> Iterator[T]:
        """All endpoints, in the order of their loads at this moment; see `Strategy`."""
        order = [rank[3] for rank in sorted(self._ranks(endpoints))]
        if order:
            self._pick(endpoints, order[0])
        return map(endpoints.__getitem__, order)

    def others(self, endpoints: Sequence[T], refused: T) -> list[T]:
        """Those with the smallest loads first; see `Strategy`. The pick is the first one's now."""
        order = [
            rank[3] for rank in sorted(self._ranks(endpoints)) if endpoints[rank[3]] != refused
        ]
        if order:
            self._last[order[0]] = self._picks
        return [endpoints[index] for index in order]

    def _ranks(self, endpoints: Sequence[T]) -> list[tuple[bool, float, int, int]]:
        # What to compare, the smallest first, and the index. Divisions of whole numbers of this
        # size are equal exactly where the fractions are.
        if endpoints is not self._seen:
            self._adopt(endpoints)
        load = self._load
        return [
            (not endpoint.weight, (load(endpoint) + 1) / (endpoint.weight or 1), last, index)
            for index, (endpoint, last) in enumerate(zip(endpoints, self._last, strict=True))
        ]

    def _adopt(self, endpoints: Sequence[T]) -> None:
        known = dict(zip(self._seen, self._last, strict=True))
        self._last = [known.get(endpoint, 0) for endpoint in endpoints]
        self._seen = tuple(endpoints)

    def _pick(self, endpoints: Sequence[T], index: int) -> T:
        self._picks += 1
        self._last[index] = self._picks
        return endpoints[index]


STRATEGIES: Final[dict[str, Callable[[Load], Strategy]]] = {
    "round_robin": lambda load: RoundRobin(),
    "weighted_round_robin": lambda load: WeightedRoundRobin(),
    "least_connections": LeastConnections,
}
