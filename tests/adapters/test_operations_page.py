"""docs/operations.md is true: its tables are what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshlib_adapters.config.settings import Settings
from meshlib_adapters.config.sources import KEYS, resolve_settings, toml_text
from meshlib_adapters.observe.metrics.catalogue import FAMILIES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()


def settings_rows() -> dict[str, str]:
    """The row that each setting should have, up to what the client sees."""
    _, origins = resolve_settings([])
    section, rows = "", {}
    for line in toml_text(Settings(), origins).splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif line:
            key, _, rest = line.partition(" = ")
            about = KEYS[section + key].declaration.about
            default = rest.removesuffix(f"  # {about}")
            rows[section + key] = f"| `{section}{key}` | `{default}` | {about} |"
    return rows


@pytest.mark.parametrize(("name", "row"), settings_rows().items())
def test_every_setting_has_its_row(name: str, row: str) -> None:
    (found,) = re.findall(rf"^\| `{re.escape(name)}` \|.*$", PAGE, re.MULTILINE) or [
        f"none; it should begin: {row}"
    ]
    assert found.startswith(row)
    seen = found.removeprefix(row).strip(" |")
    assert bool(seen) == name.startswith(("limits.", "timeouts.")), (
        "limits and time-outs say what the client sees"
    )


def test_no_row_is_of_something_that_is_not_there() -> None:
    part = PAGE.partition("## Signals")[0]
    assert set(re.findall(r"^\| `([a-z0-9_.]+)` \|", part, re.MULTILINE)) == set(KEYS)


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    rows = re.findall(r"^\| `(meshlib_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    documented = {
        name: (kind, tuple(re.findall(r"`(\w+)`", names)), about.strip())
        for name, kind, names, about in rows
    }
    assert len(documented) == len(rows)
    assert documented == {
        family.name: (family.kind, family.labels, family.about) for family in FAMILIES.values()
    }


def test_alerts_name_metrics_that_exist() -> None:
    named = set(re.findall(r"meshlib_\w+", PAGE.partition("### Alerts")[2]))
    suffixes = {
        f"{name}{suffix}"
        for name, family in FAMILIES.items()
        for suffix in ("", "_bucket", "_sum", "_count")
        if not suffix or family.buckets
    }
    assert named
    assert named <= suffixes


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", PAGE))))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / "docs" / path).exists()
