"""The compiled build is the same gateway: built from the checkout, and the tests of what is
compiled hold for it too.

What runs against it are copies of the tests, beside what the wheel holds, in a directory where
nothing of the checkout can take its place.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.tree import ADAPTERS, CORE, ROOT, modules_under

pytestmark = pytest.mark.timeout(600)

# Each with the modules it is about; those of the adapters are few, since their time is mostly
# waiting.
_TESTS: Final = [
    "tests/meshlib/http1",
    "tests/meshlib/balancing",
    "tests/meshlib/table",
    "tests/meshlib/test_client_claims.py",
    "tests/meshlib/test_forwarding.py",
    "tests/meshlib/test_messages.py",
    "tests/adapters/observe/test_access_log.py",
    "tests/adapters/http1/test_bodies.py",
    "tests/adapters/http1/test_fields.py",
    "tests/adapters/proxy/test_request_cache.py",
    "tests/adapters/http1/test_requests.py",
    "tests/adapters/listeners/test_reuse.py",
    "tests/adapters/observe/test_end_reasons.py",
    "tests/adapters/http2/test_requests.py",
    "tests/adapters/http2/test_http2_endpoints.py",
    "tests/adapters/http2/test_upstream.py",
    "tests/adapters/upstream/test_messages.py",
    "tests/adapters/tls/test_upstreams.py",
    "tests/adapters/cli/test_main.py",
    "tests/differential",
]
# It counts look-ups by a subclass of dict, whose methods compiled code does not call.
_PURE_ONLY: Final = (
    "tests/meshlib/table/test_index.py::test_a_look_up_costs_the_same_among_many_hosts"
)


def _missing() -> str:
    if shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) is None:
        return "the compiled build needs a C compiler (Debian: apt-get install gcc)"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "the compiled build needs Python's headers (Debian: apt-get install python3-dev)"
    return ""


def _run(command: list[str | Path], cwd: Path, **more: str) -> str:
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in {"PYTHONPATH", "MESHLIB_DIFFERENTIAL"}
    }
    result = subprocess.run(
        command, cwd=cwd, env={**environment, **more}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def _named() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        modules: list[str] = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"][
            "hooks"
        ]["custom"]["modules"]
    return modules


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the compiled wheel installs, the tests, and nothing else."""
    if missing := _missing():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    directory = tmp_path_factory.mktemp("compiled")
    wheels, tree = directory / "wheels", directory / "tree"
    build: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        wheels,
        ROOT,
    ]
    _run(build, directory, HATCH_BUILD_HOOK_ENABLE_CUSTOM="true")
    (wheel,) = wheels.glob("*.whl")
    assert not wheel.name.endswith("-none-any.whl")
    _run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--target",
            tree,
            wheel,
        ],
        directory,
    )
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def test_who_inherits_from_a_compiled_class_is_compiled_too() -> None:
    """Compiled code refuses other subclasses, and only when one is made."""
    trees = {
        path: ast.parse(path.read_text("utf-8"))
        for package in (CORE, ADAPTERS)
        for path in modules_under(package)
    }
    named = {
        path
        for path in trees
        if path.relative_to(CORE.parent if CORE in path.parents else ADAPTERS.parent).as_posix()
        in _named()
    }
    assert len(named) == len(_named())
    classes = [
        (path, node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    compiled = {
        node.name
        for path, node in classes
        # A named tuple stays a class of Python's, of which anybody may make another.
        if path in named and "NamedTuple" not in [ast.unparse(base) for base in node.bases]
    }
    heirs = [
        (path, node.name)
        for path, node in classes
        for base in node.bases
        if ast.unparse(base).split(".")[-1] in compiled
    ]
    assert heirs
    assert [(path, name) for path, name in heirs if path not in named] == []


def test_every_named_module_is_compiled_and_no_other(compiled: Path) -> None:
    found = [
        path
        for package in ("meshlib", "meshlib_adapters")
        for path in (compiled / package).rglob("*.so")
    ]
    extensions = {path.relative_to(compiled).as_posix() for path in found}
    assert extensions == {name.removesuffix(".py") + EXTENSION_SUFFIXES[0] for name in _named()}
    names = [name.removesuffix(".py").replace("/", ".") for name in _named()]
    tell = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: print(importlib.import_module(name).__file__)"
    )
    loaded = _run([sys.executable, "-c", tell, *names], compiled).split()
    assert {Path(file).relative_to(compiled).as_posix() for file in loaded} == extensions
    # The sources come along: for tracebacks, and for who looks.
    assert all((compiled / name).exists() for name in _named())


def test_it_says_that_it_is_compiled(compiled: Path) -> None:
    told = _run([sys.executable, "-m", "meshlib_adapters.cli", "version"], compiled)
    assert told.endswith(" (compiled)\n")


def test_the_tests_of_what_is_compiled_hold(compiled: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--deselect",
        _PURE_ONLY,
        *_TESTS,
    ]
    summary = _run(command, compiled).splitlines()[-1]
    assert " passed" in summary
    assert " skipped" not in summary
