"""The order of an upstream's endpoints, whoever finds them."""

from __future__ import annotations

from collections.abc import Iterable

from meshlib.model import Endpoint

__all__ = ["ordered"]


def ordered(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Endpoints in the order that `Upstream` requires."""
    return tuple(
        sorted(endpoints, key=lambda endpoint: (endpoint.id, endpoint.host, endpoint.port))
    )
