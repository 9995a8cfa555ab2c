"""The one mutable cell: what is known now. Providers publish into it, data paths read it once per request."""

from __future__ import annotations

from collections.abc import Callable

from meshlib.model import Snapshot
from meshlib.table import RoutingTable

__all__ = ["CurrentSnapshot"]


class CurrentSnapshot:
    """Holds `snapshot` (of all providers), the `table` compiled from it, and `version`, which grows with each change.

    To be used from the event loop's thread alone. Publishing is one assignment, so whoever took `table` before keeps a consistent one.
    """

    def __init__(self, snapshot: Snapshot | None = None, *, unmatched_status: int = 404, retry_after: int = 1) -> None:
        self.snapshot = snapshot or Snapshot()
        self.version = 0
        self._options = {"unmatched_status": unmatched_status, "retry_after": retry_after}
        self._parts: dict[str, Snapshot] = {"": self.snapshot} if snapshot else {}
        self._subscribers: list[Callable[[CurrentSnapshot], None]] = []
        self.table = RoutingTable.build(self.snapshot, unmatched_status=unmatched_status, retry_after=retry_after)

    def publish(self, provider_name: str, snapshot: Snapshot) -> bool:
        """Replace what one provider knows. False when the whole is equal to before, and then nothing happens.

        Raises ValueError when two providers use the same contribution key.
        """
        if self._parts.get(provider_name) == snapshot:
            return False
        parts = {**self._parts, provider_name: snapshot}
        merged = snapshot if len(parts) == 1 else Snapshot.merge(parts.values())
        table = RoutingTable.build(merged, self.table, **self._options)
        self._parts = parts
        if merged == self.snapshot:
            return False
        self.snapshot = merged
        self.table = table
        self.version += 1
        for subscriber in list(self._subscribers):
            subscriber(self)
        return True

    def subscribe(self, callback: Callable[[CurrentSnapshot], None]) -> Callable[[], None]:
        """Have `callback` called after each change; returns what ends that. It must not raise."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe
