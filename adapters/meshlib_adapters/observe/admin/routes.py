"""Routes, endpoints and diagnostics as the admin API shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshlib.model import Diagnostic, Endpoint, Route
from meshlib.ownership import owner_text
from meshlib.table import RoutingTable
from meshlib_adapters.observe.admin.listening import ALL_OPEN, Listening

__all__ = ["diagnostic_data", "endpoint_data", "route_data", "routes_data"]


def routes_data(table: RoutingTable, listeners: Listening = ALL_OPEN) -> dict[str, Any]:
    """`{"routes": [...], "diagnostics": [...]}` as documented for `meshlib routes --json`."""
    return {
        "routes": [
            {
                **route_data(route, owner, listeners),
                "endpoints": endpoint_data(route.upstream.endpoints if route.upstream else ()),
            }
            for route, owner in zip(table.routes, table.owners, strict=True)
        ],
        "diagnostics": [diagnostic_data(item) for item in table.diagnostics],
    }


def endpoint_data(endpoints: Iterable[Endpoint]) -> list[dict[str, str]]:
    """Endpoints as the output of `routes` and `explain` shows them."""
    return [{"address": e.address, "id": e.id, "state": str(e.state)} for e in endpoints]


def route_data(route: Route, owner: str, listeners: Listening = ALL_OPEN) -> dict[str, Any]:
    """A route as the output of `routes` shows it, without its endpoints, which come last."""
    return {
        "scheme": str(route.scheme),
        "host": route.host,
        "path": route.path,
        "port": route.listening_port.port if route.listening_port else None,
        "service": route.service,
        "owner": owner_text(owner),
        "internal_port": route.upstream.key.port if route.upstream else None,
        "redirect": route.redirect.target if route.redirect else None,
        "sticky_cookie": route.options.sticky_cookie,
        "degraded": route.degraded,
        "closed": listeners.closed_for(route),
    }


def diagnostic_data(item: Diagnostic) -> dict[str, str]:
    """A diagnostic as the output of `routes` shows it."""
    return {
        "code": item.code,
        "severity": str(item.severity),
        "service": item.service,
        "label": item.label,
        "message": item.message,
        "hint": item.hint,
    }
