"""Routes of what does not run now: of containers at rest, and of those removed a moment ago.

A container that is stopped, or is made anew, is a service without endpoints and not an unknown
host. Its routes give way to those of everything that runs, and have no age, so that they win no
conflict.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Final

from meshlib.discovery.routes import PUBLISHED
from meshlib.model import Contribution, ForwardTo, Route

__all__ = ["KEPT", "MAX_DEPARTED", "Departed", "departed_after", "giving_way", "without_endpoints"]

# Seconds for which the routes of a removed container are known: another one of its name is made
# within them, unless it was removed for good.
KEPT: Final = 30.0
# Of more that are removed within that time, the first ones are kept.
MAX_DEPARTED: Final = 1000

# By key of a group: until when it is kept, and what it was.
Departed = dict[str, tuple[float, Contribution]]


def departed_after(
    before: Departed, last: Mapping[str, Contribution], present: Container[str], now: float
) -> Departed:
    """Those removed a moment ago, at `now`: of `before`, and of the `last` contributions by key,
    the ones that are not `present` and have routes.
    """
    found = {
        key: (until, contribution)
        for key, (until, contribution) in before.items()
        if until > now and key not in present
    }
    for key, contribution in last.items():
        if key in present or len(found) >= MAX_DEPARTED:
            continue
        gone = without_endpoints(contribution)
        if gone.routes:
            found.setdefault(key, (now + KEPT, gone))
    return found


def without_endpoints(contribution: Contribution) -> Contribution:
    """The contribution of something that does not run: no endpoints, no age, nothing to tell. Ports
    that it published itself are not its routes any more.
    """
    routes = tuple(
        replace(route, action=ForwardTo(replace(route.upstream, endpoints=())))
        if route.upstream is not None
        else route
        for route in contribution.routes
        if route.schema != PUBLISHED
    )
    return replace(contribution, created_at=0, routes=routes, diagnostics=())


def giving_way(
    resting: Iterable[Contribution], running: Iterable[Contribution]
) -> list[Contribution]:
    """The contributions of what does not run, without routes that one that runs asks for; nor is a
    name kept from another owner's that runs.
    """
    resting = list(resting)
    if not resting:
        return []
    matches = set()
    owners: dict[str, set[str]] = {}
    for contribution in running:
        for route in contribution.routes:
            matches.add(route.match)
            owners.setdefault(route.claimed_name, set()).add(contribution.owner)

    def stays(route: Route, owner: str) -> bool:
        return route.match not in matches and owners.get(route.claimed_name, {owner}) == {owner}

    found = []
    for contribution in resting:
        routes = tuple(r for r in contribution.routes if stays(r, contribution.owner))
        if len(routes) != len(contribution.routes):
            contribution = replace(contribution, routes=routes)
        found.append(contribution)
    return found
