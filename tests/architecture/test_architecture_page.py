"""docs/architecture.md is true: its layers are the linted ones, and it names every part that
exists.
"""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.architecture.tree import ADAPTERS, CORE, ROOT

_PAGE = (ROOT / "docs/architecture.md").read_text()
_LAYERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][
    0
]["layers"]


def _parts(package: str) -> list[str]:
    root = CORE if package == "meshlib" else ADAPTERS
    names = {path.stem for path in root.glob("*.py")} | {
        path.name for path in root.iterdir() if (path / "__init__.py").exists()
    }
    return sorted(name for name in names if not name.startswith("__"))


def test_layers_block_is_the_linted_contract() -> None:
    block = re.search(r"^```layers\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert block.group(1).splitlines() == _LAYERS


@pytest.mark.parametrize("name", _parts("meshlib"))
def test_every_core_part_has_a_layer(name: str) -> None:
    assert f"meshlib.{name}" in re.split(r"[ |\n]+", "\n".join(_LAYERS))


@pytest.mark.parametrize("name", _parts("meshlib_adapters"))
def test_every_adapter_is_named(name: str) -> None:
    assert re.search(rf"`(meshlib_adapters\.)?{name}`", _PAGE), (
        f"docs/architecture.md says nothing of meshlib_adapters.{name}"
    )


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", _PAGE))))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / "docs" / path).exists()


def test_where_to_look_is_where_it_is() -> None:
    """Each question of "Where to look" has at most three files, and they exist."""
    part = _PAGE.partition("## Where to look")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+\?) \| ([^|]+) \|$", part, re.MULTILINE)
    assert len(rows) == part.count("?") >= 5
    for question, places in rows:
        paths = re.findall(r"`([^`]+)`", places)
        assert 1 <= len(paths) <= 3, question
        assert [path for path in paths if not (ROOT / path).is_file()] == [], question
