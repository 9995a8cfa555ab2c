"""Balancing: strategies (preference), health (availability) and stickiness (sessions), kept
apart.
"""

from meshlib.balancing.cookies import cookie_values, set_cookie_value
from meshlib.balancing.creation import create_strategy
from meshlib.balancing.health import EndpointHealth, HealthState, Observation, usable
from meshlib.balancing.machines import Machines, machine_of
from meshlib.balancing.own_strategy import OwnStrategy
from meshlib.balancing.registered import (
    Candidate,
    StrategyRequest,
    check_strategy_name,
    registered_names,
    strategy_name,
)
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
)

__all__ = [
    "STRATEGIES",
    "Binding",
    "Candidate",
    "EndpointHealth",
    "HealthState",
    "LearnedTable",
    "LeastConnections",
    "Load",
    "Machines",
    "Observation",
    "OwnStrategy",
    "RoundRobin",
    "SessionLimits",
    "SessionTables",
    "SlowStart",
    "Standing",
    "Strategy",
    "StrategyRequest",
    "Weighted",
    "WeightedRoundRobin",
    "check_strategy_name",
    "cookie_values",
    "create_strategy",
    "machine_of",
    "registered_names",
    "rendezvous_order",
    "session_key",
    "set_cookie_value",
    "strategy_name",
    "usable",
    "within_load",
]
