"""Every module can be the first one imported, and the core brings nothing but the standard
library.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.tree import (
    ADAPTERS,
    core_modules,
    module_name,
    modules_under,
    source_environment,
)

# Imports each module in a fork of its own of one small process: what one loads, the next does not
# see.
_IMPORT_EACH = """
import importlib, os, sys, traceback
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
            status = 0
        except BaseException:
            print("failed alone:", name)
            traceback.print_exc(file=sys.stdout)
            status = 1
        sys.stdout.flush()
        os._exit(status)
    os.waitpid(child, 0)
"""

# Prints what is loaded beyond the standard library and beyond what the interpreter's own start has
# loaded.
_IMPORT_ALL = """
import sys
before = set(sys.modules)
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
known = sys.stdlib_module_names | {"meshlib"}
print(*sorted(name for name in set(sys.modules) - before if name.partition(".")[0] not in known))
"""


def _run(program: str, names: list[str]) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program, *names],
        env=source_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def _adapters() -> list[str]:
    return [
        module_name(path, ADAPTERS)
        for path in modules_under(ADAPTERS)
        if path.name != "__main__.py"
    ]


@pytest.mark.timeout(
    600
)  # an interpreter's start for each module: a minute alone, more beside others
@pytest.mark.parametrize(
    "names", [list(core_modules()), _adapters()], ids=["meshlib", "meshlib_adapters"]
)
def test_each_module_imports_alone(names: list[str]) -> None:
    assert _run(_IMPORT_EACH, names) == ""


def test_import_meshlib_loads_the_standard_library_only() -> None:
    assert _run(_IMPORT_ALL, ["meshlib"]) == ""


def test_the_whole_core_loads_the_standard_library_only() -> None:
    assert _run(_IMPORT_ALL, list(core_modules())) == ""


def test_import_meshlib_loads_nothing_heavy() -> None:
    heavy = {
        "asyncio",
        "ssl",
        "socket",
        "logging",
        "http.client",
        "multiprocessing",
        "threading",
        "subprocess",
        "unittest",
    }
    program = "import sys, meshlib; print(*sorted(set(sys.argv[1:]) & set(sys.modules)))"
    assert _run(program, sorted(heavy)) == ""


def test_what_is_not_the_standard_library_would_be_seen() -> None:
    assert "click" in _run(_IMPORT_ALL, ["click"]).split()
