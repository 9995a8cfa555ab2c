"""Fixtures for pytest: found by the entry point, free for those who do not use them, and no
obstacle to others of their names.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import ROOT, source_environment
from tests.support.code_blocks import code_blocks
from tests.support.kit import run_pytest

USES = """
import meshlib
from meshlib_adapters.testing import FakeClock, FakeEngine

def test_all(mesh_client, fake_engine, fake_upstream, fake_clock):
    assert isinstance(fake_engine, FakeEngine) and isinstance(fake_clock, FakeClock)
    one = fake_upstream("one")
    two = fake_upstream(name="two", status=418)
    mesh = meshlib.Mesh({"a.example.com": [one.address], "b.example.com": [two.address]})
    client = mesh_client(mesh, clock=fake_clock)
    assert client.get("http://a.example.com/").text == "one"
    assert client.get("http://b.example.com/").status_code == 418
    assert mesh_client(mesh) is not client
"""
OTHERS = """
import pytest

@pytest.fixture
def mesh_client():
    return "mine"

def test_mine(mesh_client):
    assert mesh_client == "mine"
"""
HEAVY = ("httpx", "asyncio", "anyio", "ssl", "docker", "meshlib.mesh", "meshlib_adapters.asgi")


def test_the_fixtures_are_there_and_end_with_the_test(tmp_path: Path) -> None:
    (tmp_path / "test_uses.py").write_text(USES)
    (tmp_path / "test_others.py").write_text(OTHERS)
    (tmp_path / "test_misuse.py").write_text(
        "def test_it(fake_engine):\n    fake_engine.begin('DELETE', '/services')\n"
    )
    assert run_pytest(tmp_path, expect=1) == {"passed": 3, "error": 1}


def test_it_costs_nothing_where_it_is_not_used() -> None:
    program = (
        "import sys, pytest\nbefore = set(sys.modules)\n"
        "import meshlib_adapters.testing.plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=source_environment(), capture_output=True, text=True, check=True
    )
    found = done.stdout.split()
    assert [name for name in found if name in HEAVY] == []
    assert len(found) < 20, found


def test_each_block_of_the_page_is_a_test_module_that_passes(tmp_path: Path) -> None:
    count = 0
    for line, block in code_blocks(ROOT / "docs/testing.md"):
        (tmp_path / f"test_line_{line}.py").write_text(block)
        count += block.count("\ndef test_")
    assert count >= 8
    # To name the plugin as well is no mistake.
    plugin = ("-p", "meshlib_adapters.testing.plugin")
    assert run_pytest(tmp_path, *plugin) == {"passed": count}
