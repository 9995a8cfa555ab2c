"""Whom to prefer (strategies), who is well (health), who belongs together (stickiness): three things, kept apart."""

from meshlib.balancing.health import EndpointHealth, HealthState, Observation, usable
from meshlib.balancing.rendezvous import rendezvous_order, within_load
from meshlib.balancing.slow_start import SlowStart
from meshlib.balancing.stickiness import LearnedTable, cookie_value, set_cookie_value
from meshlib.balancing.strategy import STRATEGIES, RoundRobin, Strategy, Weighted, WeightedRoundRobin, create_strategy

__all__ = [
    "STRATEGIES",
    "EndpointHealth",
    "HealthState",
    "LearnedTable",
    "Observation",
    "RoundRobin",
    "SlowStart",
    "Strategy",
    "Weighted",
    "WeightedRoundRobin",
    "cookie_value",
    "create_strategy",
    "rendezvous_order",
    "set_cookie_value",
    "usable",
    "within_load",
]
