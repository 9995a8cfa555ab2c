"""Strategies by name: the built-in ones, and a program's own."""

from __future__ import annotations

from operator import attrgetter

from meshlib.balancing.own_strategy import OwnStrategy
from meshlib.balancing.registered import registered, unknown_strategy
from meshlib.balancing.strategy import STRATEGIES, Load, Strategy

__all__ = ["create_strategy"]


def create_strategy(name: str, load: Load = attrgetter("active")) -> Strategy:
    """Create a strategy by name. `load` tells how many requests or connections a candidate has,
    where the strategy looks at that; by default its attribute `active` does. Raises
    `ConfigurationError` with the nearest known name.
    """
    factory = STRATEGIES.get(name)
    if factory is not None:
        return factory(load)
    own = registered(name)
    if own is None:
        raise unknown_strategy(name)
    return OwnStrategy(own, load)
