"""README.md and the pages of docs/ do what they say: code blocks run, links lead somewhere,
commands exist.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from meshlib.discovery.files.services import resolve_document
from meshlib_adapters.config.sources import resolve_settings, toml_layer
from meshlib_adapters.providers.file import load_document
from tests.architecture.tree import ROOT, source_environment
from tests.support.code_blocks import code_blocks, serves, try_gateway

_PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
_ANCHOR = re.compile(r"\]\(([^)#:\s]*)#([^)\s]+)\)")


def _blocks(language: str = "python") -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(ROOT)}:{line}", block)
        for page in _PAGES
        for line, block in code_blocks(page, language)
    ]


def _run(directory: Path, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-W", "error", program, *arguments]
    environment = source_environment()
    return subprocess.run(
        command,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(("place", "block"), _blocks(), ids=[place for place, _ in _blocks()])
def test_python_block_runs(place: str, block: str, tmp_path: Path) -> None:
    if serves(block):
        try_gateway(sys.executable, block, tmp_path, source_environment())
        return
    program = tmp_path / "block.py"
    program.write_text(block)
    result = _run(tmp_path, program)
    assert result.returncode == 0, f"{place}\n{result.stdout}{result.stderr}"
    # A comment after a print says what it prints.
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE)
    if promised:
        assert result.stdout.splitlines() == promised


def test_python_blocks_are_typed(tmp_path: Path) -> None:
    """A program that somebody copies from a page passes a type checker."""
    for place, block in _blocks():
        name = re.sub(r"[^a-z0-9]", "_", place.lower())
        (tmp_path / f"{name}.py").write_text(block)
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", ROOT / ".mypy_cache", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("place", "block"), _blocks("yaml"))
def test_yaml_block_is_of_services_that_are_routed(place: str, block: str) -> None:
    snapshot = resolve_document(load_document(block, where=place))
    assert snapshot.routes, place
    assert snapshot.diagnostics == ()


@pytest.mark.parametrize(("place", "block"), _blocks("toml"))
def test_toml_block_is_of_settings(place: str, block: str, tmp_path: Path) -> None:
    (file := tmp_path / "settings.toml").write_text(block)
    _, origins = resolve_settings([toml_layer(str(file))])
    assert origins, place


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert [
        link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()
    ] == []


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_anchors_are_headings(page: Path) -> None:
    links = [
        (page.parent / path if path else page, anchor)
        for path, anchor in _ANCHOR.findall(page.read_text())
    ]
    assert [anchor for target, anchor in links if anchor not in _anchors(target)] == []
