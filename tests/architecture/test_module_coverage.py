"""Each module of the core has its own test module; `make test` then measures that it covers all of
it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.module_coverage import has_logic, mirror_of
from tests.architecture.tree import core_modules


@pytest.mark.parametrize(("name", "path"), core_modules().items(), ids=list(core_modules()))
def test_module_has_its_mirror(name: str, path: Path) -> None:
    assert mirror_of(path).exists() or not has_logic(path), (
        f"{name} has no test module {mirror_of(path)}"
    )


def test_a_package_that_only_re_exports_needs_no_mirror(tmp_path: Path) -> None:
    package = tmp_path / "__init__.py"
    package.write_text(
        '"""Only names."""\n\nfrom meshlib.errors import MeshError\n\n__all__ = ["MeshError"]\n'
    )
    assert not has_logic(package)
    package.write_text("def compute() -> int:\n    return 1\n")
    assert has_logic(package)
