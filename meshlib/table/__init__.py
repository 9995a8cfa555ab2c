"""From a snapshot to decisions: compile once, look up often, explain on request."""

from meshlib.table.explain import Explanation, Reason, explain
from meshlib.table.routing import RoutingTable

__all__ = ["Explanation", "Reason", "RoutingTable", "explain"]
