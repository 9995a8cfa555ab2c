"""What README and docs name exists, and what exists is named there: settings, commands and their
options, metrics, codes of diagnostics.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

import click
import pytest

from meshlib_adapters.cli.main import cli
from meshlib_adapters.config.plugins import PluginSettings
from meshlib_adapters.config.sources import KEYS
from meshlib_adapters.observe.metrics.catalogue import FAMILIES
from tests.architecture.tree import ADAPTERS, CORE, ROOT, modules_under

_PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_SECTIONS: Final = {key.partition(".")[0] for key in KEYS if "." in key}
_CODE: Final = re.compile(r"\b(?:HRM|LIM|NET|SVC|TBL)[0-9]{3}\b")
_SPAN_ATTRIBUTES: Final = {"meshlib.route"}
_ENTRY_POINTS: Final = {f"meshlib.{one.name}" for one in fields(PluginSettings)}
_FILE: Final = re.compile(r"\.(?:yml|yaml|toml|py|json|md)$")


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for word, part in command.commands.items():
            yield from _commands(part, f"{name} {word}")


_COMMANDS: Final = dict(_commands(cli, "meshlib"))
_OPTIONS: Final = {
    name: {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for name, command in _COMMANDS.items()
}


def unknown_names(text: str) -> list[str]:
    """The names in a page that nothing has."""
    found: list[str] = []
    for section, key in re.findall(r"`([a-z0-9]+)\.([a-z0-9_.]*[a-z0-9_])(?: = [^`]*)?`", text):
        name = f"{section}.{key}"
        if section in _SECTIONS and name not in KEYS and not _FILE.search(name):
            found.append(f"setting {name}")
    for name in re.findall(r"\bmeshlib_[a-z0-9_]+", text):
        family = re.sub(r"_(?:bucket|sum|count)$", "", name)
        if not name.startswith("meshlib_adapters") and {name, family}.isdisjoint(FAMILIES):
            found.append(f"metric {name}")
    # A command stands alone in a code span, or begins a line of a block.
    lines = re.findall(r"`meshlib ([^`]+)`", text)
    lines += re.findall(r"^(?: {4}|\$ )?(?:[A-Z_]+=\S+ )*meshlib ((?:[a-z-]+ )*-.*)$", text, re.M)
    for line in lines:
        words = line.partition("#")[0].split()
        name = "meshlib"
        while words and f"{name} {words[0]}" in _COMMANDS:
            name = f"{name} {words.pop(0)}"
        if name == "meshlib" and words and not words[0].startswith("-"):
            found.append(f"command {words[0]}")
        given = {word for word in words if re.fullmatch(r"--[a-z][a-z-]*", word)}
        found += [f"option {name} {option}" for option in sorted(given - _OPTIONS[name])]
    return found


def missing_places(text: str) -> list[str]:
    """The modules, names in modules, and files in a page that are not there."""
    found = [
        path
        for path in re.findall(
            r"`((?:adapters|docs|examples|meshlib|scripts|tests)/[\w./-]*)(?: [^`]*)?`", text
        )
        if not (ROOT / path).exists()
    ]
    for name in re.findall(r"\b((?:meshlib|meshlib_adapters|tests)(?:\.[A-Za-z_]\w*)+)", text):
        # Attributes of spans and groups of entry points begin with the name of the package.
        if name not in _SPAN_ATTRIBUTES | _ENTRY_POINTS:
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                found.append(name)
    return found


# Decisions keep the names of their day.
@pytest.mark.parametrize(
    "page",
    [page for page in _PAGES if page.parent.name != "decisions"],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_every_place_in_a_page_exists(page: Path) -> None:
    assert missing_places(page.read_text()) == []


@pytest.mark.parametrize("text", ["`tests/none.py`", "`meshlib.none`", "`meshlib.mesh.None_`"])
def test_a_planted_place_is_found(text: str) -> None:
    assert missing_places(text) == [text.strip("`")]


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_name_in_a_page_exists(page: Path) -> None:
    assert unknown_names(page.read_text()) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`log.form`", "setting log.form"),
        ('`log.form = "json"`', "setting log.form"),
        ("`meshlib_requests`", "metric meshlib_requests"),
        ("`meshlib demo`", "command demo"),
        ("`meshlib serve --port 80`", "option meshlib serve --port"),
        ("    meshlib routes --json --all\n", "option meshlib routes --all"),
    ],
)
def test_a_planted_name_is_found(text: str, found: str) -> None:
    assert unknown_names(text) == [found]


def _everything() -> str:
    return "\n".join(page.read_text() for page in _PAGES)


def test_every_command_and_option_is_documented() -> None:
    text = _everything()
    names = [name for name in _COMMANDS if f"`{name}" not in text]
    options = {option for found in _OPTIONS.values() for option in found if option != "-h"}
    missing = [option for option in options if not re.search(rf"{option}(?![\w-])", text)]
    assert (names, sorted(missing)) == ([], [])


def test_the_codes_of_diagnostics_are_those_documented() -> None:
    modules = [*modules_under(CORE), *modules_under(ADAPTERS)]
    sources = "\n".join(path.read_text() for path in modules)
    codes = {code.strip('"') for code in re.findall(rf'"{_CODE.pattern}"', sources)}
    assert codes
    assert codes == set(_CODE.findall(_everything()))


def test_every_setting_is_documented() -> None:
    text = _everything()
    assert [key for key in KEYS if f"`{key}`" not in text] == []
