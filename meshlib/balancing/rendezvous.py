"""The same endpoint for the same key, in every process that knows the same endpoints: weighted
rendezvous hashing.

Every endpoint draws a lot for the key, made of both by a hash; the order of the lots is the order
of preference. When an endpoint goes, only its keys move; when one comes, it takes its share from
all others. Nothing is remembered. Keys are seldom as many and as different as one would like (a
NAT, a load balancer in front: one address for everybody), so `within_load` gives up the preference
when an endpoint has more than its share, after consistent hashing with bounded loads (Mirrokni,
Thorup, Zadimoghaddam 2016).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

__all__ = ["Placed", "rendezvous_order", "within_load"]

# How much more than its share of the load an endpoint may have. Less would break keys apart for a
# small lead, more would let one endpoint run hot; 1.25 is what the paper's authors and HAProxy's
# documentation (hash-balance-factor 125 to 200) begin with.
FACTOR: Final = 1.25
# An endpoint with no more load than this is never passed over: a browser opens six connections to
# one host.
FREE: Final = 8


class Placed(Protocol):
    """What an endpoint must tell: its stable identity and its weight (0: only when nothing else is
    left).
    """

    @property
    def id(self) -> str: ...
    @property
    def weight(self) -> int: ...


T = TypeVar("T", bound=Placed)


def rendezvous_order(endpoints: Sequence[T], key: bytes) -> list[T]:
    """`endpoints` in the order of preference for `key`; first places are shared in proportion to
    the weights.

    Endpoints of one id keep their order among themselves (a task that is replaced, and the one that
    replaces it).
    """
    if len(endpoints) < 2:
        return list(endpoints)
    return sorted(endpoints, key=lambda endpoint: _lot(endpoint, key))


def _lot(endpoint: Placed, key: bytes) -> tuple[bool, float]:
    # The smallest wins. -ln(u)/w with u evenly between 0 and 1 is exponential with rate w: the
    # smallest of several is the one with weight w in w of all cases in the sum of the weights
    # (Schindelhauer and Schomaker 2005).
    digest = hashlib.blake2b(
        endpoint.id.encode("utf-8", "surrogatepass") + b"\0" + key, digest_size=8
    ).digest()
    draw = -math.log((int.from_bytes(digest, "big") + 0.5) / 2.0**64)
    return not endpoint.weight, draw / (endpoint.weight or 1)


def within_load(order: Sequence[T], loads: Sequence[int]) -> list[T]:
    """`order` while its first has room; else the least loaded first. `loads` are the connections
    (or whatever) that each has now.

    A share is in proportion to the weight; `FACTOR` of it, and in any case `FREE`, is allowed.
    Endpoints without weight stay last.
    """
    if not order:
        return []
    weights = [endpoint.weight for endpoint in order]
    allowed = (sum(loads) + 1) * FACTOR * (weights[0] or 1) / (sum(weights) or len(order))
    if loads[0] < max(math.ceil(allowed), FREE):
        return list(order)
    ranks = sorted(
        range(len(order)),
        key=lambda index: (not weights[index], loads[index] / (weights[index] or 1)),
    )
    return [order[index] for index in ranks]
