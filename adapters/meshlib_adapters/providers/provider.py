"""What the gateway knows of a provider: a name, how it fares, and its snapshots.

A provider does I/O and nothing else: what its source says is read by pure code
(`meshlib.discovery`), and what becomes of a snapshot is `meshlib.mesh`'s business. This module
knows no source.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from meshlib.model import Snapshot

__all__ = ["Provider", "ProviderStatus"]


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """How a provider fares.

    "starting": nothing known yet. "ok". "degraded": `reason` says why and what to do; the last
    snapshot stands. `last_success` is when its source was last read well, on `time.monotonic`'s
    clock (None: never).
    """

    state: Literal["starting", "ok", "degraded"]
    last_success: float | None
    reason: str


class Provider(Protocol):
    """A source of snapshots.

    `name` is unique in a gateway and begins the keys of the provider's contributions. `status` may
    be read at any time.
    """

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> ProviderStatus: ...

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """The first snapshot as soon as there is one, then each that differs from the one before.

        Never ends by itself and never raises for trouble with the source: it is retried for ever,
        with growing pauses. Closing or cancelling the iterator lets go of everything it holds, at
        once. One iterator at a time.
        """
        ...
