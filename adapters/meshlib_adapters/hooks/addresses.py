"""Networks that may ask, and no others."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from meshlib.client_claims import is_trusted
from meshlib.decision import Respond
from meshlib.errors import ConfigurationError
from meshlib.hook_values import Request

__all__ = ["AllowAddresses"]


class AllowAddresses:
    """Lets clients of these networks ("10.0.0.0/8", "2001:db8::1"); all others get 403. The client
    is the one that `Request.address` finds: behind proxies, name these in
    `forwarding.trusted_proxies`.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        given = [networks] if isinstance(networks, str) else list(networks)
        try:
            self.networks = tuple(ipaddress.ip_network(network) for network in given)
        except ValueError as error:
            hint = 'write AllowAddresses(["10.0.0.0/8"])'
            raise ConfigurationError(str(error), where="AllowAddresses", hint=hint) from None

    def __repr__(self) -> str:
        return f"<AllowAddresses {', '.join(map(str, self.networks))}>"

    def before(self, request: Request) -> Respond | None:
        """Refuse who is in none of the networks, or has no address."""
        return None if is_trusted(request.address, self.networks) else Respond(403, "address")
