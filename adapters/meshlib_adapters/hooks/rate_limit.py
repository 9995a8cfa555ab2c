"""Token buckets against clients that ask too often."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic

from meshlib.decision import Respond
from meshlib.errors import ConfigurationError
from meshlib.hook_values import Request

__all__ = ["RateLimit"]


class RateLimit:
    """Lets each client make `rate` requests a second, and `burst` at once; others get 429.

    A client is the address that `Request.address` finds, or, with `field`, the value of that field
    of the request (a key; those without one count as one client). At most `clients` are remembered:
    the one that was silent for the longest is forgotten first, and begins with a full bucket.
    """

    def __init__(
        self, rate: float, burst: int = 10, *, field: str = "", clients: int = 100_000
    ) -> None:
        if rate <= 0 or burst < 1 or clients < 1:
            hint = "write RateLimit(rate=10, burst=20)"
            raise ConfigurationError("a limit has to be positive", where="RateLimit", hint=hint)
        self.rate = rate
        self.burst = burst
        self.field = field
        self.clients = clients
        # Tokens, and when there were so many.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RateLimit {self.rate:g}/s burst={self.burst} clients={len(self._buckets)}>"

    def before(self, request: Request) -> Respond | None:
        """Take a token, or refuse."""
        key = (request.field(self.field) or "") if self.field else request.address
        now = monotonic()
        tokens, since = self._buckets.pop(key[:256], (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - since) * self.rate)
        allowed = tokens >= 1
        self._buckets[key[:256]] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self.clients:
            self._buckets.popitem(last=False)
        if allowed:
            return None
        return Respond(429, "rate_limit", max(1, round((1 - tokens) / self.rate)))
