"""Weighted rendezvous hashing: the same endpoint for the same key, in every process with the same
endpoints.

Every endpoint draws a lot for the key, a hash of both; the order of the lots is the order of
preference. When an endpoint goes, only its keys move; when one comes, it takes its share from all
others. Nothing is remembered. Keys are seldom numerous and diverse enough (a NAT or a load balancer
in front has one address for everybody), so `within_load` gives up the preference when an endpoint
has more than its share, after consistent hashing with bounded loads (Mirrokni, Thorup,
Zadimoghaddam 2016).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

__all__ = ["Placed", "rendezvous_order", "within_load"]

# Factor by which an endpoint may exceed its share of the load. Less would split keys for a small
# lead, more would let one endpoint run hot; 1.25 is where the paper's authors and HAProxy's
# documentation (hash-balance-factor 125 to 200) begin.
FACTOR: Final = 1.25
# An endpoint with no more load than this is never passed over: a browser opens six connections to
# one host.
FREE: Final = 8


class Placed(Protocol):
    """An endpoint for hashing: its stable identity and its weight (0: only when nothing else is
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

    Endpoints of one id keep their relative order (a replaced task, and its replacement).
    """
    if len(endpoints) < 2:
        return list(endpoints)
    return sorted(endpoints, key=lambda endpoint: _lot(endpoint, key))


def _lot(endpoint: Placed, key: bytes) -> tuple[bool, float]:
    # The smallest wins. -ln(u)/w with u uniform between 0 and 1 is exponential with rate w, and the
    # smallest of several belongs to weight w with the probability of w in the sum of the weights
    # (Schindelhauer and Schomaker 2005).
    digest = hashlib.blake2b(
        endpoint.id.encode("utf-8", "surrogatepass") + b"\0" + key, digest_size=8
    ).digest()
    draw = -math.log((int.from_bytes(digest, "big") + 0.5) / 2.0**64)
    return not endpoint.weight, draw / (endpoint.weight or 1)


def within_load(order: Sequence[T], loads: Sequence[int]) -> list[T]:
    """`order` while its first endpoint has room; otherwise the least loaded first. `loads` are the
    connections (or another load) that each has now.

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
