"""The pieces of the ASGI package stay small: what they do is the core's."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.tree import ADAPTERS


@pytest.mark.parametrize("name", ["redirects", "sticky", "host_router", "trusted_proxies"])
def test_a_piece_has_under_60_lines(name: str) -> None:
    tree = ast.parse((ADAPTERS / "asgi" / f"{name}.py").read_text())
    for node in ast.walk(tree):  # docstrings are no code
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body.remove(first)
    lines = [line for line in ast.unparse(tree).splitlines() if line]
    assert 20 < len(lines) < 60
