"""Room that a service's routing labels have left within their limits, and the diagnostics when
there is none.

Labels count in order of their keys, so that nothing but the labels decides which of them are left
out. This module reads no label.
"""

from __future__ import annotations

from meshlib.labels import codes
from meshlib.labels.diagnostics import DiagnosticKind, Diagnostics
from meshlib.labels.limits import LabelLimits, label_size
from meshlib.labels.result import LabelRoute
from meshlib.model import Diagnostic, ListeningPort

__all__ = ["Room"]


class Room:
    """Room of one service; `exceeded` has one diagnostic for each limit that is exceeded."""

    def __init__(self, diagnostics: Diagnostics, limits: LabelLimits) -> None:
        self.exceeded: list[Diagnostic] = []
        self._diagnostics = diagnostics
        self._limits = limits
        self._labels = limits.labels
        self._characters = limits.characters
        self._routes = limits.routes
        self._ports = limits.ports

    def for_label(self, name: str, key: str, value: str) -> bool:
        """Whether there is room to read the label."""
        self._labels -= 1
        self._characters -= label_size([(key, value)])
        if self._labels < 0:
            what = (
                f"the service has more than {self._limits.labels} routing labels; "
                "this one and all after it are not read"
            )
            return self._exceed(
                codes.TOO_MANY_LABELS,
                name,
                what,
                "spread the routes over several services, or use a wildcard host",
            )
        if self._characters < 0:
            most = self._limits.characters
            what = (
                f"the service's routing labels have more than {most} characters; "
                "this one and all after it are not read"
            )
            return self._exceed(
                codes.TOO_MUCH_TEXT,
                name,
                what,
                "shorten the labels, or spread the routes over several services",
            )
        # Without room for a route there is no point in reading it.
        return bool(self._routes) or self._no_route(name)

    def for_route(self, route: LabelRoute) -> bool:
        """Whether there is room for the route."""
        if not self._routes:
            return self._no_route(route.label)
        if isinstance(route.match, ListeningPort):
            if not self._ports:
                what = (
                    f"the service asks for more than {self._limits.ports} ports; "
                    "this one and all after it are left out"
                )
                return self._exceed(
                    codes.TOO_MANY_PORTS,
                    route.label,
                    what,
                    "spread the ports over several services",
                )
            self._ports -= 1
        self._routes -= 1
        return True

    def _no_route(self, label: str) -> bool:
        what = (
            f"the service asks for more than {self._limits.routes} routes; "
            "this one and all after it are left out"
        )
        return self._exceed(
            codes.TOO_MANY_ROUTES,
            label,
            what,
            "spread the routes over several services, or use a wildcard host",
        )

    def _exceed(self, kind: DiagnosticKind, label: str, message: str, hint: str) -> bool:
        self._diagnostics.failed.add(label)
        if all(diagnostic.code != kind.code for diagnostic in self.exceeded):
            self.exceeded.append(
                Diagnostic(
                    kind.code, kind.severity, self._diagnostics.service, label, message, hint
                )
            )
        return False
