"""What the gateway knows of a provider: a name, how it fares, and its snapshots.

A provider does I/O and nothing else: what its source says is read by pure code (`meshlib.discovery`), and what becomes
of a snapshot is `meshlib.mesh`'s business. This module knows no source.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from meshlib.model import Snapshot

__all__ = ["MAX_PAUSE", "Backoff", "Provider", "ProviderStatus"]

# An engine that comes back after a day must be seen soon: longer pauses would save nothing that matters.
MAX_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """How a provider fares.

    "starting": nothing known yet. "ok". "degraded": `reason` says why and what to do; the last snapshot stands.
    `last_success` is when its source was last read well, on `time.monotonic`'s clock (None: never).
    """

    state: Literal["starting", "ok", "degraded"]
    last_success: float | None
    reason: str


class Provider(Protocol):
    """A source of snapshots.

    `name` is unique in a gateway and begins the keys of the provider's contributions. `status` may be read at any time.
    """

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> ProviderStatus: ...

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """The first snapshot as soon as there is one, then each that differs from the one before.

        Never ends by itself and never raises for trouble with the source: it is retried for ever, with growing pauses.
        Closing or cancelling the iterator lets go of everything it holds, at once. One iterator at a time.
        """
        ...


class Backoff:
    """Pauses between tries: `first`, then twice as long each time, at most `longest` seconds; `reset()` after a success.

    There is no random part: a gateway is one client of its engine, not one of thousands.
    """

    def __init__(self, first: float = 0.25, longest: float = MAX_PAUSE) -> None:
        self.failures = 0
        self._first = first
        self._longest = longest

    def fail(self) -> float:
        """Count one more failure in a row; the seconds to wait before the next try."""
        # 2 ** 40 is far above any limit, and a bounded exponent stays a small number after years of failures.
        pause = min(self._first * 2.0 ** min(self.failures, 40), self._longest)
        self.failures += 1
        return pause

    def reset(self) -> None:
        self.failures = 0
