"""Provider, as the gateway sees it: a name, a status, and snapshots.

A provider does I/O and nothing else: pure code (`meshlib.discovery`) interprets its source, and
`meshlib.mesh` decides what becomes of a snapshot. This module knows no source.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from meshlib.model import Snapshot

__all__ = ["Provider", "ProviderStatus"]


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """Status of a provider.

    "starting": nothing known yet. "ok". "degraded": `reason` holds the cause and the cure; the last
    snapshot stays in force. `last_success` is the time of the last successful read, on
    `time.monotonic`'s clock (None: never). `cut_off`: the source itself cannot be read, so nothing
    of what changes there is seen.
    """

    state: Literal["starting", "ok", "degraded"]
    last_success: float | None
    reason: str
    cut_off: bool = False


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
        """Yield the first snapshot as soon as there is one, then each that differs from the
        previous one.

        Never ends by itself and never raises for trouble with the source, which is retried for
        ever, with growing pauses. Closing or cancelling the iterator releases everything it holds,
        at once. One iterator at a time.
        """
        ...
