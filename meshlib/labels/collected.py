"""Routes and diagnostics of one service, collected from its labels, whatever schema read them."""

from __future__ import annotations

from meshlib.labels import codes
from meshlib.labels.diagnostics import Diagnostics, LabelDiagnostics, show
from meshlib.labels.limits import LabelLimits
from meshlib.labels.result import LabelResult, LabelRoute
from meshlib.labels.room import Room
from meshlib.model import Match, RedirectRule
from meshlib.redirects import is_for_plain

__all__ = ["Collected"]


class Collected:
    """Collector of one service. `room` says which labels may be read; of several labels that ask
    for one route the first counts.
    """

    def __init__(self, service: str, limits: LabelLimits) -> None:
        self.diagnostics = Diagnostics(service, limits)
        self.limits = limits
        self.room = Room(self.diagnostics, limits)
        self._routes: dict[tuple[Match, bool], LabelRoute] = {}

    def add(self, route: LabelRoute, of_label: LabelDiagnostics, column: int) -> None:
        """Take a route that a label asks for at `column`, or report why it is left out."""
        routes = self._routes
        place = route.match, is_for_plain(route.match, route.action)
        first = routes.get(place)
        other = routes.get((place[0], not place[1]))
        if first is None and other is not None and not (route.forwards or other.forwards):
            first = other
        if first is not None:
            message = f"{show(first.label, 100)} asks for the same route; that one counts"
            hint = "keep one of the two labels"
            of_label.add(codes.DUPLICATE_ROUTE, message, hint, column=column)
        elif self.room.for_route(route):
            routes[place] = route

    def result(self) -> LabelResult:
        """All that was read."""
        self._report_strategies()
        diagnostics = self.diagnostics
        kept = (
            *self.room.exceeded,
            *sorted(diagnostics.kept, key=lambda diagnostic: diagnostic.label),
        )
        return LabelResult(
            tuple(self._routes.values()),
            kept,
            frozenset(diagnostics.failed),
            diagnostics.unreported,
        )

    def _report_strategies(self) -> None:
        # A port of a service is one upstream, which has one strategy.
        first: dict[int, tuple[str, str]] = {}
        for route in self._routes.values():
            port = route.action
            if isinstance(port, RedirectRule) or not port.strategy:
                continue
            label, counts = first.setdefault(port.number, (route.label, port.strategy))
            if counts != port.strategy:
                message = f"{show(label, 100)} asks for {counts} at the same port; that one counts"
                hint = "write the same strategy in both, or in one of the two"
                of_label = self.diagnostics.label(route.label)
                of_label.add(codes.SECOND_STRATEGY, message, hint)
