"""Balancing: strategies (preference), health (availability) and stickiness (sessions), kept
apart.
"""

from meshlib.balancing.cookies import cookie_values, set_cookie_value
from meshlib.balancing.health import EndpointHealth, HealthState, Observation, usable
from meshlib.balancing.machines import Machines, machine_of
from meshlib.balancing.rendezvous import rendezvous_order, within_load
from meshlib.balancing.sessions import Binding, SessionLimits, SessionTables
from meshlib.balancing.slow_start import SlowStart
from meshlib.balancing.stickiness import LearnedTable, Standing, session_key
from meshlib.balancing.strategy import (
    STRATEGIES,
    LeastConnections,
    Load,
    RoundRobin,
    Strategy,
    Weighted,
    WeightedRoundRobin,
    create_strategy,
)

__all__ = [
    "STRATEGIES",
    "Binding",
    "EndpointHealth",
    "HealthState",
    "LearnedTable",
    "LeastConnections",
    "Load",
    "Machines",
    "Observation",
    "RoundRobin",
    "SessionLimits",
    "SessionTables",
    "SlowStart",
    "Standing",
    "Strategy",
    "Weighted",
    "WeightedRoundRobin",
    "cookie_values",
    "create_strategy",
    "machine_of",
    "rendezvous_order",
    "session_key",
    "set_cookie_value",
    "usable",
    "within_load",
]
