"""Explanation of a decision as text, for `meshlib explain`, from the data of `/-/explain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from meshlib_adapters.observe.admin.explanation import SERVED
from meshlib_adapters.observe.logs import escape_control

__all__ = ["render_explanation"]


def render_explanation(data: Mapping[str, Any]) -> RenderableType:
    """`explanation_data` as text: the decision, its meaning, and the reasons."""
    style = "green" if data["decision"] in SERVED else "red"
    lines = [Text.assemble((str(data["decision"]), f"bold {style}"))]
    if data["status"]:
        lines.append(Text(f"status    {data['status']}"))
    for name in ("location", "route", "service", "owner"):
        if data[name]:
            lines.append(Text(f"{name:<9} {escape_control(str(data[name]))}"))
    for number, endpoint in enumerate(data["endpoints"]):
        state = "" if endpoint["state"] == "ready" else f" ({endpoint['state']})"
        lines.append(
            Text(f"{'' if number else 'endpoints':<9} {escape_control(endpoint['address'])}{state}")
        )
    lines.append(Text("why", style="bold"))
    lines += [Text(f"  {escape_control(reason)}") for reason in data["reasons"]]
    return Group(*lines)
