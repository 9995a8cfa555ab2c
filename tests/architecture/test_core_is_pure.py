"""The core computes: it imports an allow-list of the standard library and itself, wherever the
import stands.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.tree import core_modules

# Modules without I/O, clock, randomness, threads, logging or environment in what they are for. A
# module that has some of it beside what we need (`datetime.now`) is allowed, and the names to keep
# away from stand in _FORBIDDEN_NAMES.
ALLOWED = {
    "__future__",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "difflib",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
}
_FORBIDDEN_CALLS = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"}
_FORBIDDEN_NAMES = {"fromtimestamp", "import_module", "now", "today", "utcnow"}


def findings(source: str, name: str) -> list[str]:
    """What is impure in a module's source, as "line: what"."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [
                f"{node.lineno}: import {alias.name}"
                for alias in node.names
                if not _allowed(alias.name)
            ]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                found.append(f"{node.lineno}: relative import")
            elif not _allowed(node.module or ""):
                found.append(f"{node.lineno}: import {node.module}")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _FORBIDDEN_CALLS
        ):
            found.append(f"{node.lineno}: {node.func.id}()")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _FORBIDDEN_NAMES
        ):
            found.append(f"{node.lineno}: .{node.func.attr}()")
    return [f"{name}:{finding}" for finding in found]


def _allowed(module: str) -> bool:
    # `http` holds the names of statuses and methods; what opens sockets are its modules.
    return module == "http" or any(
        module == name or module.startswith(f"{name}.") for name in (*ALLOWED, "meshlib")
    )


@pytest.mark.parametrize(("name", "path"), core_modules().items(), ids=list(core_modules()))
def test_module_is_pure(name: str, path: Path) -> None:
    # The package itself loads its parts on first use (PEP 562), so that `import meshlib` takes no
    # time.
    lazy = {"importlib", ".import_module()"} if name == "meshlib" else set()
    assert [
        found for found in findings(path.read_text(), name) if found.split()[-1] not in lazy
    ] == []


@pytest.mark.parametrize(
    "planted",
    [
        "import socket",
        "import os.path",
        "from asyncio import Protocol",
        "from time import monotonic",
        "import docker",
        "import meshlib_adapters.listeners",
        "from . import errors",
        "import urllib.request",
        "import http.client",
        "def look() -> None:\n    import random",
        "if typing.TYPE_CHECKING:\n    import logging",
        "print('x')",
        "def look() -> str:\n    return open('x').read()",
        "datetime.datetime.now()",
        "importlib.import_module('socket')",
    ],
)
def test_a_planted_violation_is_found(planted: str) -> None:
    source = core_modules()["meshlib.authority"].read_text()
    assert len(findings(f"{source}\n\n{planted}\n", "planted")) == 1
