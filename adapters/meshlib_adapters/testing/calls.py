"""Calls of a scripted engine: how many, which a gateway must not make, and their faults."""

from __future__ import annotations

import collections
import threading
import urllib.parse

from meshlib_adapters.testing.server import Fault

__all__ = ["ScriptedCalls"]

_ALLOWED = frozenset(
    {"/version", "/events", "/containers/json", "/services", "/tasks", "/networks"}
)


class ScriptedCalls:
    """The calls so far, and what becomes of the next ones. `calls` counts them by path, `queries`
    has the last thousand of each path; `forbidden` are those that no gateway makes.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.calls: dict[str, int] = {}
        self.queries: dict[str, collections.deque[dict[str, str]]] = {}
        self.forbidden: list[str] = []
        self._faults: dict[str, Fault] = {}

    def fault(self, path: str, fault: Fault) -> None:
        """Make `path` respond as `fault` describes from now on."""
        with self.lock:
            self._faults[path] = fault

    def lift(self, path: str | None = None) -> None:
        """Lift the fault on `path`, or all faults; hanging calls get their responses."""
        with self.lock:
            for name in [path] if path else list(self._faults):
                if fault := self._faults.pop(name, None):
                    fault.lifted.set()

    def count(self, path: str) -> int:
        """Number of requests for `path`."""
        with self.lock:
            return self.calls.get(path, 0)

    def begin(self, method: str, path: str, query: str = "") -> Fault | None:
        """Count a call, and return its fault, if any."""
        with self.lock:
            found = self.queries.setdefault(path, collections.deque(maxlen=1000))
            found.append(dict(urllib.parse.parse_qsl(query)))
            self.calls[path] = self.calls.get(path, 0) + 1
            if method != "GET" or path not in _ALLOWED:
                self.forbidden.append(f"{method} {path}")
            fault = self._faults.get(path)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    del self._faults[path]
            return fault
