"""What people install is what is here: wheel, sdist and editable install, each imported from an
empty directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from trove_classifiers import classifiers

from tests.architecture.tree import ADAPTERS, CORE, ROOT
from tests.support.code_blocks import code_blocks, serves, try_gateway

_PYTHON = "Programming Language :: Python :: 3."
_TELL = (
    "import meshlib, meshlib_adapters; print(meshlib.__file__); print(meshlib_adapters.__file__); "
    "print(meshlib.__version__)"
)
_FROM_THE_WHEEL = (
    "import sys, meshlib, meshlib_adapters\n"
    "for package in (meshlib, meshlib_adapters): assert package.__file__.startswith(sys.prefix)\n"
)


def _run(command: list[str | Path], cwd: Path) -> str:
    # PYTHONPATH would let the checkout stand in for what was installed.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist and the wheel, both built from the checkout."""
    directory = tmp_path_factory.mktemp("dist")
    _run(
        [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--sdist",
            "--wheel",
            "--outdir",
            directory,
            ROOT,
        ],
        directory,
    )
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The Python of a new virtual environment that has nothing but pip."""
    _run([sys.executable, "-m", "venv", tmp_path / "venv"], tmp_path)
    return tmp_path / "venv/bin/python"


def test_wheel_has_every_source_file_and_nothing_else(wheel: Path) -> None:
    expected = {
        path.relative_to(package.parent).as_posix()
        for package in (CORE, ADAPTERS)
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in _contents(wheel) if ".dist-info/" not in name}
    assert packed == expected
    assert {"meshlib/py.typed", "meshlib_adapters/py.typed"} <= packed


def test_wheel_names_itself_its_licence_and_its_command(wheel: Path) -> None:
    contents = {
        name.partition(".dist-info/")[2]: data.decode() for name, data in _contents(wheel).items()
    }
    assert "Name: meshlib-gateway\n" in contents["METADATA"]
    assert "License-Expression: Apache-2.0\n" in contents["METADATA"]
    assert "Apache License" in contents["licenses/LICENSE"]
    assert "Author: The meshlib developers\n" in contents["METADATA"]
    assert "Keywords: asgi," in contents["METADATA"]
    assert "meshlib = meshlib_adapters.cli.__main__:main" in contents["entry_points.txt"]
    plugin = "meshlib_adapters.testing.plugin"
    assert f"[pytest11]\n{plugin} = {plugin}\n" in contents["entry_points.txt"]
    required = [
        line for line in contents["METADATA"].splitlines() if line.startswith("Requires-Dist:")
    ]
    assert [line for line in required if "extra ==" not in line] == []


def test_classifiers_are_real_and_fit_what_is_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["classifiers"]) <= classifiers
    minors = [int(text[len(_PYTHON) :]) for text in project["classifiers"] if _PYTHON in text]
    assert project["requires-python"] == f">=3.{min(minors)}"


def test_wheel_from_the_sdist_is_the_same(built: Path, wheel: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        # Debian 12's Python 3.11.2 has neither the parameter nor the warning where it is not given.
        if hasattr(tarfile, "data_filter"):
            archive.extractall(tmp_path, filter="data")
        else:
            archive.extractall(tmp_path)
    (unpacked,) = tmp_path.iterdir()
    for name in (
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "docs/architecture.md",
        "tests/conftest.py",
    ):
        assert (unpacked / name).exists(), f"the sdist lacks {name}"
    _run(
        [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--wheel",
            "--outdir",
            tmp_path / "again",
            unpacked,
        ],
        tmp_path,
    )
    (again,) = (tmp_path / "again").glob("*.whl")
    assert _contents(again) == _contents(wheel)


def test_wheel_installs_and_imports_from_an_empty_directory(
    wheel: Path, fresh: Path, tmp_path: Path
) -> None:
    (empty := tmp_path / "empty").mkdir()
    _run([fresh, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], empty)
    core, adapters, version = _run([fresh, "-c", _TELL], empty).split()
    assert Path(core).is_relative_to(tmp_path)
    assert Path(adapters).is_relative_to(tmp_path)
    assert version in wheel.name


def test_the_command_without_its_extra_says_so(wheel: Path, fresh: Path, tmp_path: Path) -> None:
    _run([fresh, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], tmp_path)
    result = subprocess.run(
        [fresh.parent / "meshlib", "version"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "meshlib: the command needs click, which is not installed "
        "(write: pip install 'meshlib-gateway[gateway]')\n"
    )


def test_editable_install_is_the_checkout(fresh: Path, tmp_path: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    # The build backend comes from the environment that runs the tests; nothing is fetched.
    site = _run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], empty
    ).strip()
    (linked,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (linked / "backend.pth").write_text(f"{site}\n")
    install: list[str | Path] = [
        fresh,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
    ]
    install += ["--no-build-isolation", "--ignore-installed"]
    _run([*install, "--editable", ROOT], empty)
    (linked / "backend.pth").unlink()
    core, adapters, _version = _run([fresh, "-c", _TELL], empty).split()
    assert Path(core) == CORE / "__init__.py"
    assert Path(adapters) == ADAPTERS / "__init__.py"
    assert (fresh.parent / "meshlib").exists()


def test_what_the_readme_shows_runs_from_the_wheel(
    wheel: Path, fresh: Path, tmp_path: Path
) -> None:
    """As an installed distribution, the other packages beside it; nothing of the checkout."""
    _run([fresh, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], tmp_path)
    site = _run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path
    ).strip()
    environment = {**os.environ, "PYTHONPATH": site}
    blocks = [block for _, block in code_blocks(ROOT / "README.md")]
    assert any(serves(block) for block in blocks)
    for block in blocks:
        program = tmp_path / "block.py"
        program.write_text(_FROM_THE_WHEEL + block)
        if serves(block):
            try_gateway(fresh, _FROM_THE_WHEEL + block, tmp_path, environment)
        else:
            result = subprocess.run(
                [fresh, program],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stderr
