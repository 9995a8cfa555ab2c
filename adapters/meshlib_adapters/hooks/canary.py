"""A share of the requests to another host's route."""

from __future__ import annotations

import hashlib

from meshlib.decision import Forward
from meshlib.errors import ConfigurationError
from meshlib.hook_values import Request

__all__ = ["Canary"]


class Canary:
    """Sends requests to where those for `host` go: those that have the field `field`, with `value`
    unless that is "", and a `share` (0 to 1) of the others. A client stays where it is: its address
    decides. Where that host has no endpoint, nobody is sent there.
    """

    def __init__(self, host: str, *, field: str = "", value: str = "", share: float = 0.0) -> None:
        if not 0 <= share <= 1 or not (field or share):
            hint = 'write Canary("canary.example.com", share=0.05), or field="X-Canary"'
            raise ConfigurationError("nobody would be sent there", where="Canary", hint=hint)
        self.host = host
        self.field = field
        self.value = value
        self.share = share

    def __repr__(self) -> str:
        return f"<Canary {self.host} {self.field} {self.share:g}>"

    def before(self, request: Request) -> Forward | None:
        """Send it there, or leave it."""
        if not isinstance(request.decision, Forward) or not self._is_chosen(request):
            return None
        decision = request.at(self.host)
        return decision if isinstance(decision, Forward) else None

    def _is_chosen(self, request: Request) -> bool:
        given = request.field(self.field) if self.field else None
        if given is not None:
            return not self.value or given == self.value
        digest = hashlib.blake2b(request.address.encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") < self.share * 2**32
