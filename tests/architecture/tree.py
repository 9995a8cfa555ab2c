"""What the architecture tests share: where the packages are, and which modules they have."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = [
    "ADAPTERS",
    "CORE",
    "ROOT",
    "core_modules",
    "module_name",
    "modules_under",
    "source_environment",
]

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "meshlib"
ADAPTERS = ROOT / "adapters" / "meshlib_adapters"


def modules_under(package: Path) -> list[Path]:
    """Every source file of a package, in order."""
    return sorted(package.rglob("*.py"))


def module_name(path: Path, package: Path) -> str:
    """ "meshlib.labels.hrm" for a file of the package at `package`; a package's name for its
    `__init__`.
    """
    parts = list(path.relative_to(package.parent).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def core_modules() -> dict[str, Path]:
    """Name -> file, for the whole core."""
    return {module_name(path, CORE): path for path in modules_under(CORE)}


def source_environment(root: Path = ROOT) -> dict[str, str]:
    """The environment in which a child process imports both packages from the checkout at
    `root`.
    """
    paths = os.pathsep.join([str(root), str(root / "adapters")])
    return {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PATH": _path()}


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
