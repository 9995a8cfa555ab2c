"""Routes that name hooks that the gateway does not let them name: they are not served."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshlib.labels.diagnostics import show
from meshlib.model import Diagnostic, Route, Severity

__all__ = ["UNKNOWN_HOOK", "unknown_hooks"]

UNKNOWN_HOOK: Final = "TBL006"


def unknown_hooks(routes: Iterable[Route], allowed: frozenset[str]) -> list[Diagnostic]:
    """A diagnostic for each of the `routes` that names a hook that is not `allowed`, in order."""
    return [
        _diagnostic(route, names, allowed)
        for route in routes
        if route.options.hooks
        and (names := [name for name in route.options.hooks if name not in allowed])
    ]


def _diagnostic(route: Route, names: list[str], allowed: frozenset[str]) -> Diagnostic:
    shown = ", ".join(map(show, names))
    known = f"those are {', '.join(sorted(allowed)[:20])}" if allowed else "there are none"
    return Diagnostic(
        UNKNOWN_HOOK,
        Severity.ERROR,
        route.service,
        route.label,
        f"the gateway has no hook {shown}, so {route.name} is not served without it (503)",
        f"name a hook that the operator allows ({known}), or ask for it: routing.hooks",
        names=(route.claimed_name,),
    )
