"""What tests use is installed by the project's own files: commands and libraries by
debian-parts.txt, packages by pyproject.toml.
"""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.commands import commands_in, sources_under
from tests.architecture.tree import ADAPTERS, ROOT

_PARTS: Final = ROOT / "scripts/debian-parts.txt"
# Of Debian's essential packages, which every system has.
_ESSENTIAL: Final = {
    **dict.fromkeys(["nsenter", "prlimit", "setpriv", "unshare"], "util-linux"),
    **dict.fromkeys(["sleep", "true"], "coreutils"),
    "dpkg-query": "dpkg",
    "hostname": "hostname",
    "ldd": "libc-bin",
    "sh": "dash",
}
# Peers that only `make bench` starts, and says when they are missing; benchmarks/requirements.txt
# has them.
_PEERS: Final = {"envoy"}
# What wheels may rely on (manylinux), so that it is there where Python is.
_SYSTEM_LIBRARIES: Final = {
    *("libc.so", "libdl.so", "libm.so", "libpthread.so", "librt.so", "libutil.so"),
    *("libgcc_s.so", "libstdc++.so"),
}
# Names for type checkers alone.
_TYPING_ONLY: Final = {"_typeshed"}


def _declared() -> list[tuple[str, str]]:
    rows = [
        line.split()
        for line in _PARTS.read_text().splitlines()
        if line and not line.startswith("#")
    ]
    return [(package, proof) for package, proof in rows]


@functools.cache
def _started() -> dict[str, set[str]]:
    return commands_in(
        sources_under(ROOT / "tests", ROOT / "scripts", ROOT / "examples", root=ROOT)
    )


def test_every_command_that_is_started_is_installed_by_us_or_by_debian() -> None:
    proofs = {proof for _, proof in _declared()}
    started = _started()
    unknown = {
        command: modules
        for command, modules in started.items()
        if command not in {*proofs, *_ESSENTIAL, *_PEERS}
    }
    assert unknown == {}, "put the package and the command into scripts/debian-parts.txt"
    # The search can see: through functions, fixtures, `sh -c` and nsenter.
    assert {
        "curl",
        "dockerd",
        "h2load",
        "hostname",
        "ip",
        "openssl",
        "prlimit",
        "redis-server",
        "wrk",
    } <= started.keys()


@pytest.mark.parametrize(
    "text",
    [
        "subprocess.run(['tcpdump', '-n'])",
        "command = ['tcpdump']\nsubprocess.Popen([*command, '-n'], stdin=None)",
        "async def main():\n    await asyncio.create_subprocess_exec('tcpdump', '-n')",
        (
            "from asyncio import create_subprocess_exec as start\n"
            "from subprocess import run\nrun('tcpdump')"
        ),
        "def ask(*words): return subprocess.run(words)\ndef more(): ask('tcpdump', '-n')",
        (
            "class A:\n    def ask(self, words): subprocess.run(['nsenter', *words])\n"
            "def more(): A().ask(['tcpdump'])"
        ),
        "missing = [name for name in ('curl', 'tcpdump') if shutil.which(name) is None]",
        (
            "TOOLS = {'tcpdump': 'package'}\n"
            "missing = [p for tool, p in TOOLS.items() if shutil.which(tool)]"
        ),
        "@pytest.fixture(params=['tcpdump'])\ndef tool(request): shutil.which(request.param)",
        (
            "subprocess.run(['setpriv', '--pdeathsig', 'KILL', 'unshare', '--net', 'sh', '-c', "
            "'true && tcpdump -n'])"
        ),
        "subprocess.run(['prlimit', f'--nofile={1}', '/usr/sbin/tcpdump'] if a else ['true'])",
    ],
)
def test_a_planted_command_is_found(text: str) -> None:
    assert "tcpdump" in commands_in({"planted": text})


def test_no_package_is_asked_for_that_nothing_uses() -> None:
    # The C compiler is Python's own choice (sysconfig), its headers are no command.
    used = {*_started(), "gcc", "python3-config"}
    assert [row for row in _declared() if not row[1].startswith("/") and row[1] not in used] == []


def test_libraries_that_are_loaded_are_installed_too() -> None:
    proofs = [Path(proof).name for _, proof in _declared() if proof.startswith("/")]
    for name, text in sources_under(ROOT / "tests", root=ROOT).items():
        if name == __name__:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for library in re.findall(r"\blib[\w+-]+\.so", node.value):
                    assert library in _SYSTEM_LIBRARIES or any(
                        proof.startswith(library) for proof in proofs
                    ), f"{name}: {library}"


def test_what_we_take_for_essential_is_so() -> None:
    if shutil.which("dpkg-query") is None:
        pytest.skip("not a Debian system")
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Essential}\n", *_ESSENTIAL.values()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {f"{package} yes" for package in _ESSENTIAL.values()} == set(asked.stdout.splitlines())


@pytest.mark.parametrize(
    ("proof", "there"),
    [("sh", True), ("no-such-command", False), ("/bin/s?", True), ("/no/such/*", False)],
)
def test_the_installer_takes_a_command_or_a_file_as_proof(
    tmp_path: Path, proof: str, there: bool
) -> None:
    for name in ("install-parts", "quietly"):
        shutil.copy(ROOT / "scripts" / name, tmp_path)
    (tmp_path / "debian-parts.txt").write_text(f"# packages\npart-of-a-test  {proof}\n\n")
    # Somebody who may install nothing is told what is missing.
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    script = ["sh", "-c", f'PATH="{tmp_path}:$PATH" exec {tmp_path}/install-parts']
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert ("Not installed: part-of-a-test." in done.stderr) is not there


def test_what_went_well_is_not_shown_and_what_did_not_is(tmp_path: Path) -> None:
    quietly = str(ROOT / "scripts/quietly")
    well = subprocess.run(
        [quietly, "sh", "-c", "echo news; echo warning >&2"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (well.stdout, well.stderr) == ("", "")
    ill = subprocess.run(
        [quietly, "sh", "-c", "echo news; echo warning >&2; exit 7"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ill.returncode, ill.stdout, ill.stderr) == (7, "", "news\nwarning\n")


def test_pip_and_apt_are_only_called_so() -> None:
    scripts = [
        ROOT / "Makefile",
        *(path for path in (ROOT / "scripts").iterdir() if path.suffix == "" and path.is_file()),
    ]
    installing = re.compile(r"(?<![\w#])(?:pip install|apt-get (?:update -|install -y))")
    calls = {
        f"{path.name}: {line.strip()}"
        for path in scripts
        for line in path.read_text().splitlines()
        if installing.search(line) and not line.lstrip().startswith("#")
    }
    assert len(calls) >= 6
    assert {call for call in calls if "quietly" not in call} == set()


def _extras() -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    return found


def _packages(extra: str) -> set[str]:
    """The names of an extra's packages, those of the extras it names included."""
    found = set()
    for requirement in _extras()[extra]:
        named = re.match(r"meshlib-gateway\[(.*)\]", requirement)
        if named:
            found |= {package for inner in named[1].split(",") for package in _packages(inner)}
        else:
            found.add(_normal(re.split(r"[<>=!~;\[ ]", requirement)[0]))
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imports(*folders: Path) -> dict[str, set[str]]:
    """First name of a third party's module -> the modules that import it."""
    ours = {"meshlib", "meshlib_adapters", "tests", "examples"}
    found: dict[str, set[str]] = {}
    for name, text in sources_under(*folders, root=ROOT).items():
        for node in ast.walk(ast.parse(text)):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported = [node.module]
            for top in (
                {module.partition(".")[0] for module in imported}
                - ours
                - sys.stdlib_module_names
                - _TYPING_ONLY
            ):
                found.setdefault(top, set()).add(name)
    return found


def _undeclared(imports: dict[str, set[str]], extra: str) -> dict[str, set[str]]:
    distributions, declared = packages_distributions(), _packages(extra)
    return {
        module: importers
        for module, importers in imports.items()
        if not declared & {_normal(name) for name in distributions.get(module, [module])}
    }


def test_every_package_that_tests_import_is_in_the_dev_extra() -> None:
    imports = _imports(ROOT / "tests", ROOT / "scripts", ROOT / "examples")
    assert {"pytest", "hypothesis", "httptools", "trustme", "hpack"} <= imports.keys()
    fuzzer = imports.pop("atheris")
    assert fuzzer == {"tests.fuzz.fuzz"}  # for who runs it, not for who tests
    assert _packages("fuzz") >= {"atheris"}
    assert _undeclared(imports, "dev") == {}


def test_every_package_that_adapters_import_is_in_an_extra_of_theirs() -> None:
    # The test kit is for a developer's machine: `all` does not bring it.
    kit = _imports(ADAPTERS / "testing")
    assert _undeclared(kit, "testing") == {}
    others: dict[str, set[str]] = {}
    for module, importers in _imports(ADAPTERS).items():
        if left := importers - kit.get(module, set()):
            others[module] = left
    assert _undeclared(others, "all") == {}


def test_an_undeclared_import_is_found() -> None:
    assert _undeclared({"sqlalchemy": {"tests.x"}, "yaml": {"tests.y"}}, "dev") == {
        "sqlalchemy": {"tests.x"}
    }
