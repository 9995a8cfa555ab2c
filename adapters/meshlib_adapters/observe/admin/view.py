"""What the admin side sees of a gateway and of its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from meshlib.mesh import Mesh
from meshlib_adapters.providers.provider import Provider

__all__ = ["CertificateEnds", "GatewayView", "WorkersView"]


class CertificateEnds(Protocol):
    """When each certificate in use ends (seconds since 1970), by name."""

    @property
    def not_after(self) -> Mapping[str, float]: ...


class GatewayView(Protocol):
    """What the admin side sees of a gateway. `not_ready` is "" when it is ready, else why it is
    not.
    """

    @property
    def mesh(self) -> Mesh: ...
    @property
    def providers(self) -> Sequence[Provider]: ...
    @property
    def not_ready(self) -> str: ...
    @property
    def started_at(self) -> float: ...
    @property
    def certificates(self) -> CertificateEnds | None: ...
    @property
    def from_disk(self) -> Sequence[str]: ...


class WorkersView(Protocol):
    """What the page tells of workers: how many are in which state, and for each its restarts."""

    def states(self) -> Mapping[str, int]: ...

    def restarts(self) -> Mapping[str, int]: ...
