"""The admin side's view of a gateway and of its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from meshlib.mesh import Mesh
from meshlib_adapters.providers.provider import Provider, ProviderStatus

__all__ = ["CertificateEnds", "GatewayView", "WorkersView", "provider_status"]


class CertificateEnds(Protocol):
    """Expiry of each certificate in use (seconds since 1970), by name."""

    @property
    def not_after(self) -> Mapping[str, float]: ...


class GatewayView(Protocol):
    """A gateway as the admin side sees it. `not_ready` is "" when it is ready, otherwise the
    reason.
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
    @property
    def refused(self) -> Mapping[str, str]: ...


class WorkersView(Protocol):
    """Workers as the metrics page sees them: how many are in which state, and the restarts
    of each.
    """

    def states(self) -> Mapping[str, int]: ...

    def restarts(self) -> Mapping[str, int]: ...


def provider_status(view: GatewayView, provider: Provider) -> ProviderStatus:
    """The status of a provider, which is degraded when its newest snapshot cannot be served, too:
    reading its source is not all of its purpose.
    """
    status, refused = provider.status, view.refused.get(provider.name, "")
    if not refused:
        return status
    reason = "; ".join(filter(None, (refused, status.reason)))
    return replace(status, state="degraded", reason=reason)
