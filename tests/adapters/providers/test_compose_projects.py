"""Compose and stack files as people publish them: routes and diagnostics of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest

from meshlib.model import Route, Snapshot
from meshlib_adapters.providers.file import FileProvider

PROJECTS = Path(__file__).parents[2] / "vectors" / "compose"
EXPECTED = sorted(PROJECTS.glob("*/expected*.json"))


def read(directory: Path, vector: dict[str, Any]) -> Snapshot:
    async def first() -> Snapshot:
        files = [directory / name for name in vector.get("files", ())]
        provider = FileProvider(
            files or directory,
            variables=vector.get("variables"),
            profiles=vector.get("profiles"),
        )
        with anyio.fail_after(20):
            async for snapshot in provider.snapshots():
                return snapshot
        raise AssertionError(provider.status)

    return anyio.run(first)


def shape(route: Route) -> list[object]:
    name = f"{route.scheme}://*{route.path}" if route.name.startswith("http:///") else route.name
    if route.redirect is not None:
        return [name, route.redirect.target, []]
    assert route.upstream is not None
    addresses = [endpoint.address for endpoint in route.upstream.endpoints]
    return [name, route.upstream.name, addresses]


@pytest.mark.parametrize(
    "path", EXPECTED, ids=lambda path: path.relative_to(PROJECTS).with_suffix("").as_posix()
)
def test_a_project_gives_its_routes(path: Path, tmp_path: Path) -> None:
    vector = json.loads(path.read_text())
    # A copy, so that files outside are certainly that.
    directory = tmp_path / path.parent.name
    shutil.copytree(path.parent, directory)
    snapshot = read(directory, vector)
    assert sorted(map(shape, snapshot.routes), key=str) == sorted(vector["routes"], key=str)
    said = [[one.code, one.label.replace(f"{directory}/", "")] for one in snapshot.diagnostics]
    assert sorted(said) == sorted(vector["diagnostics"])


def test_there_are_a_dozen_projects() -> None:
    assert len({path.parent for path in EXPECTED}) >= 12
