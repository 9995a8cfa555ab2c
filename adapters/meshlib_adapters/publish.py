"""The one mutable cell: what is known now. Providers publish into it, data paths read it once per request."""

from __future__ import annotations

import logging
from collections.abc import Callable

from meshlib.model import Snapshot
from meshlib.table import RoutingTable

__all__ = ["CurrentSnapshot"]

_logger = logging.getLogger(__name__)


class CurrentSnapshot:
    """Holds `snapshot` (of all providers), the `table` compiled from it, and `version`, which grows with each change.

    To be used from the event loop's thread alone: a provider that works in another thread hands its snapshot over first. Who
    took `table` before a change keeps a consistent one; nothing under way is touched.
    """

    def __init__(self, snapshot: Snapshot | None = None, *, unmatched_status: int = 404, retry_after: int = 1) -> None:
        self.snapshot = snapshot or Snapshot()
        self.version = 0
        self._unmatched_status = unmatched_status
        self._retry_after = retry_after
        self._parts: dict[str, Snapshot] = {"": self.snapshot} if snapshot else {}
        self._subscribers: dict[object, Callable[[CurrentSnapshot], None]] = {}
        self.table = self._build(self.snapshot, None)

    def __repr__(self) -> str:
        return f"<CurrentSnapshot version {self.version} of {', '.join(filter(None, self._parts)) or 'nobody'}: {self.table!r}>"

    def publish(self, provider_name: str, snapshot: Snapshot) -> bool:
        """Replace what one provider knows. False when the whole is equal to before, and then nothing happens.

        Only what changed is compiled anew. Raises ValueError when two providers use the same contribution key; then everything
        stays as it was.
        """
        if self._parts.get(provider_name) == snapshot:
            return False
        parts = {**self._parts, provider_name: snapshot}
        merged = snapshot if len(parts) == 1 else Snapshot.merge(parts.values())
        if merged == self.snapshot:
            self._parts = parts
            return False
        table = self._build(merged, self.table)
        self._parts = parts
        self.snapshot, self.table = merged, table
        self.version += 1
        for callback in list(self._subscribers.values()):
            try:
                callback(self)
            except Exception:  # the change has happened: all others must hear of it
                _logger.exception("a subscriber failed on version %d", self.version)
        return True

    def subscribe(self, callback: Callable[[CurrentSnapshot], None]) -> Callable[[], None]:
        """Have `callback` called after each change, in the order of subscription; returns what ends that (any number of times).

        What it raises is logged and keeps no other from being called. It must not publish.
        """
        key = object()
        self._subscribers[key] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def _build(self, snapshot: Snapshot, previous: RoutingTable | None) -> RoutingTable:
        return RoutingTable.build(
            snapshot, previous, unmatched_status=self._unmatched_status, retry_after=self._retry_after
        )
