"""Routing table as text, for `meshlib routes`, from the data of `/-/routes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from meshlib_adapters.observe.logs import escape_control

__all__ = ["create_console", "render_routes"]


_STYLES = {
    "ready": "green",
    "starting": "yellow",
    "unhealthy": "red",
    "draining": "yellow",
    "error": "red",
    "warning": "yellow",
    "info": "cyan",
}
_SHOWN_ENDPOINTS = 8


def create_console() -> Console:
    """Console on stdout; in a pipe or a file nothing wraps at 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def render_routes(data: Mapping[str, Any]) -> RenderableType:
    """`routes_data` as a table of routes and, when there are any, one of diagnostics."""
    routes = Table("Route", "Service", "Owner", "Goes to", title="Routes", title_justify="left")
    for route in data["routes"]:
        host = route["host"] or ("(any host)" if route["port"] is None else f":{route['port']}")
        path = route["path"] if route["path"] != "/" else ""
        routes.add_row(
            _text(f"{route['scheme']}://{host}{path}"),
            _text(route["service"]),
            _text(route["owner"]),
            _goes_to(route),
        )
    parts: list[RenderableType] = [routes if data["routes"] else Text("No routes.")]
    if data["diagnostics"]:
        found = Table(
            "Code",
            "Service",
            "Label",
            "What is wrong, and what to do",
            title="Diagnostics",
            title_justify="left",
        )
        for item in data["diagnostics"]:
            message = _text(item["message"])
            if item["hint"]:
                message.append("\n" + escape_control(item["hint"]), style="dim")
            found.add_row(
                _text(item["code"], _STYLES.get(item["severity"], "")),
                _text(item["service"]),
                _text(item["label"]),
                message,
            )
        parts.append(found)
    return Group(*parts)


def _goes_to(route: Mapping[str, Any]) -> Text:
    result = _target(route)
    if route["closed"]:
        result.append(f"\nnot open: {escape_control(route['closed'])}", style="red")
    if route["degraded"]:
        result.append("\nlast good version: its label is wrong now", style="yellow")
    return result


def _target(route: Mapping[str, Any]) -> Text:
    if route["redirect"]:
        return _text(f"redirect to {route['redirect']}", "blue")
    result = Text()
    for endpoint in route["endpoints"][:_SHOWN_ENDPOINTS]:
        state = endpoint["state"]
        result.append(
            f"{endpoint['address']}" + (f" ({state})" if state != "ready" else ""),
            style=_STYLES.get(state, ""),
        )
        result.append("\n")
    left = len(route["endpoints"]) - _SHOWN_ENDPOINTS
    if left > 0:
        result.append(f"and {left} more\n")
    if not route["endpoints"]:
        result.append(
            "no endpoint: 503\n" if route["scheme"] == "http" else "no endpoint\n", style="red"
        )
    if route["sticky_cookie"]:
        result.append(f"sticky by cookie {escape_control(route['sticky_cookie'])}\n", style="dim")
    result.rstrip()
    return result


def _text(value: str, style: str = "") -> Text:
    # Not a str: rich would read "[red]" in somebody's label as markup.
    return Text(escape_control(value), style=style)
