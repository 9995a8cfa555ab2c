"""What a service's routing labels have left of their limits, and what is said when nothing is left.

Labels count in order of key, so what is left out does not depend on anything but the labels. This
module reads no label.
"""

from __future__ import annotations

from meshlib.labels import codes
from meshlib.labels.diagnostics import DiagnosticKind, Diagnostics
from meshlib.labels.limits import LabelLimits, label_size
from meshlib.labels.result import LabelRoute
from meshlib.model import Diagnostic, ListeningPort

__all__ = ["Room"]


class Room:
    """What a service has left of its limits; `exceeded` says once of each that it is over."""

    def __init__(self, diagnostics: Diagnostics, limits: LabelLimits) -> None:
        self.exceeded: list[Diagnostic] = []
        self._diagnostics = diagnostics
        self._limits = limits
        self._labels = limits.labels
        self._characters = limits.characters
        self._routes = limits.routes
        self._ports = limits.ports

    def for_label(self, name: str, key: str, value: str) -> bool:
        """Whether the label is read."""
        self._labels -= 1
        self._characters -= label_size([(key, value)])
        if self._labels < 0:
            what = (
                f"the service has more than {self._limits.labels} routing labels; "
                "this one and those after it are not read"
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
                "this one and those after it are not read"
            )
            return self._exceed(
                codes.TOO_MUCH_TEXT,
                name,
                what,
                "write less into its labels, or spread the routes over several services",
            )
        # Nothing that it asks for could be made.
        return bool(self._routes) or self._no_route(name)

    def for_route(self, route: LabelRoute) -> bool:
        """Whether the route is made."""
        if not self._routes:
            return self._no_route(route.label)
        if isinstance(route.match, ListeningPort):
            if not self._ports:
                what = (
                    f"the service asks for more than {self._limits.ports} ports; "
                    "this one and those after it are not made"
                )
                return self._exceed(
                    codes.TOO_MANY_PORTS, route.label, what, "spread them over several services"
                )
            self._ports -= 1
        self._routes -= 1
        return True

    def _no_route(self, label: str) -> bool:
        what = (
            f"the service asks for more than {self._limits.routes} routes; "
            "this one and those after it are not made"
        )
        return self._exceed(
            codes.TOO_MANY_ROUTES,
            label,
            what,
            "spread them over several services, or use a wildcard host",
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
