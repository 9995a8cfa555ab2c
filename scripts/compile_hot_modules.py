"""The build hook that compiles the hot modules (mypyc) into a wheel of the same sources; off unless
it is asked for.

    HATCH_BUILD_HOOK_ENABLE_CUSTOM=true pip install .

pyproject.toml lists the modules, beside the hook's switch. Their sources stay in the wheel:
tracebacks show them, and Python prefers the extension module that lies beside a source. Editable
installs stay pure, since they are for changing sources.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["HotModules"]

_IGNORED = shutil.ignore_patterns("__pycache__", "*.so")


class HotModules(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's parameter is the builder's configuration
    """See the module; hatchling makes one for each build for which the hook is switched on."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add what came of it to the wheel."""
        if version == "editable":
            return
        self._tree = tempfile.TemporaryDirectory(prefix="meshlib-compiled-")
        tree = Path(self._tree.name)
        for package in self.build_config.packages:
            shutil.copytree(Path(self.root, package), tree / Path(package).name, ignore=_IGNORED)
        _compile(tree, self.config["modules"])
        extensions = [
            path
            for path in tree.rglob("*")
            if path.suffix in (".so", ".pyd") and "build" not in path.relative_to(tree).parts
        ]
        build_data["force_include"].update(
            {str(path): path.relative_to(tree).as_posix() for path in extensions}
        )
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written; the tree it came from goes."""
        if version != "editable":
            self._tree.cleanup()


def _compile(tree: Path, modules: list[str]) -> None:
    # Not strict, silent about other modules, and third parties unknown: whether the types are right
    # is for `make lint`, where everything is installed.
    options = ["--ignore-missing-imports", "--follow-imports=silent", "--config-file="]
    command = [sys.executable, "-m", "mypyc", *options, *modules]
    # `python -m mypyc` takes the modules of the working directory first, so it is the copy that is
    # compiled.
    result = subprocess.run(  # noqa: S603 - our own modules
        command, cwd=tree, capture_output=True, text=True, check=False
    )
    if result.returncode:
        told = result.stdout + result.stderr
        raise SystemExit(
            "mypyc cannot compile the hot modules (a C compiler and Python's headers "
            f"are needed):\n{told}"
        )
