"""Owners of names in the state file, and their release, for `meshlib owners`."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from meshlib.errors import ConfigurationError, MeshError
from meshlib.model import Tenure
from meshlib.ownership import owner_text
from meshlib.patterns import parse_host_pattern
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.observe.logs import escape_control
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.state import KeptState, StateDirectory
from meshlib_adapters.providers.state_keeper import existing_directory

__all__ = ["kept_state", "owners_data", "release_names", "render_owners"]


def kept_state(settings: Settings) -> tuple[StateDirectory, KeptState]:
    """State directory of the gateway on this machine, and its content; what cannot be read is
    reported on stderr. `ConfigurationError` when no gateway keeps its state here.
    """
    directory = existing_directory(settings.state, os.environ)
    if directory is None:
        raise ConfigurationError(
            "no gateway keeps its state here", where="state", hint="name its directory: --state DIR"
        )
    state = directory.peek()
    for complaint in state.complaints:
        click.echo(f"meshlib: warning: {escape_control(complaint)}", err=True)
    return directory, state


def owners_data(tenures: Iterable[Tenure]) -> dict[str, Any]:
    """The object documented for `meshlib owners --json`; times in seconds since 1970."""
    return {
        "owners": [
            {
                "name": tenure.name,
                "owner": owner_text(tenure.owner),
                "since": tenure.since,
                "unused_since": tenure.left or None,
                "guests": list(tenure.guests),
            }
            for tenure in sorted(tenures)
        ]
    }


def render_owners(data: Mapping[str, Any]) -> RenderableType:
    """`owners_data` as a table."""
    if not data["owners"]:
        return Text("No name has an owner.")
    table = Table(
        "Name",
        "Owner",
        "Since",
        "Unused since",
        "Guests",
        title="Owners",
        title_justify="left",
    )
    for item in data["owners"]:
        unused = _day(item["unused_since"]) if item["unused_since"] else ""
        cells = (
            item["name"] or "(any host)",
            item["owner"],
            _day(item["since"]),
            unused,
            ", ".join(item["guests"]),
        )
        table.add_row(*(Text(escape_control(cell)) for cell in cells))
    return table


def _day(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def release_names(directory: StateDirectory, state: KeptState, names: Sequence[str]) -> list[str]:
    """Have the gateway release `names` (as people write them, "*" for any host) from their owners;
    the names in normal form.

    `ConfigurationError` for a name without an owner, and when the directory cannot be written; then
    nothing is released.
    """
    known = {tenure.name for tenure in state.tenures}
    found = [_name(text) for text in names]
    for name, text in zip(found, names, strict=True):
        if name not in known:
            raise ConfigurationError(
                f"{text} has no owner",
                where=str(directory.file),
                hint="meshlib owners lists the names",
            )
    try:
        directory.ask_release(found)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written: {explain_os_error(error)}", where=str(directory.path)
        ) from None
    return found


def _name(text: str) -> str:
    if text == "*":
        return ""
    if "://:" in text:
        return text
    try:
        return parse_host_pattern(text)
    except MeshError as error:
        raise ConfigurationError(
            f"{text!r} is not a name: {error}", hint="write HOST, *.HOST, * or tcp://:PORT"
        ) from None
