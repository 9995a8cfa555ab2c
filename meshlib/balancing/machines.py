"""Machines that endpoints run on. When a machine loses its power, or its network, all of its
endpoints fall silent at once; to find that out for one after the other would cost a request each.
Time is an argument.
"""

from __future__ import annotations

from typing import Final

from meshlib.balancing.health import DOUBT_SECONDS
from meshlib.model import Endpoint

__all__ = ["Machines", "machine_of"]

# Endpoints of a machine that are silent within `DOUBT_SECONDS` before the others are doubted, too.
_ENOUGH: Final = 2
# Machines remembered at most, the last ones. A Swarm has hundreds; where no nodes are known each
# address counts as one.
_MAX_MACHINES: Final = 1000


def machine_of(endpoint: Endpoint) -> str:
    """The machine that an endpoint runs on, as far as that is known: its node, or its host."""
    return endpoint.node or endpoint.host


class Machines:
    """Silent endpoints of each machine (`machine_of` them), as far as it matters whether there are
    several.
    """

    __slots__ = ("_silent",)

    def __init__(self) -> None:
        # By machine, the last silent addresses and when they were.
        self._silent: dict[str, dict[str, float]] = {}

    def __repr__(self) -> str:
        return f"<Machines {len(self._silent)} with silent endpoints>"

    def note_silence(self, machine: str, address: str, now: float) -> bool:
        """Note that an endpoint is silent at `now`. Return whether its machine is doubted from now
        on, and was not before.
        """
        before = self.doubted(machine, now)
        known = self._silent.pop(machine, {})
        known.pop(address, None)
        known[address] = now
        if len(known) > _ENOUGH:
            del known[next(iter(known))]
        self._silent[machine] = known
        if len(self._silent) > _MAX_MACHINES:
            del self._silent[next(iter(self._silent))]
        return not before and self.doubted(machine, now)

    def note_response(self, machine: str) -> None:
        """Note that an endpoint of the machine has responded."""
        self._silent.pop(machine, None)

    def doubted(self, machine: str, now: float) -> bool:
        """Return whether endpoints of other machines are to be tried first at `now`."""
        known = self._silent.get(machine)
        if known is None or len(known) < _ENOUGH:
            return False
        return all(now - at < DOUBT_SECONDS for at in known.values())
