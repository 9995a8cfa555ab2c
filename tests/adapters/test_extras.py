from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest

from meshlib_adapters import asgi
from meshlib_adapters.extras import install, load, not_installed
from tests.architecture.tree import ROOT, source_environment
from tests.support.code_blocks import code_blocks


def run(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=source_environment(ROOT),
        timeout=60,
    )
    assert result.returncode == 1, result.stderr
    return result.stderr.splitlines()[-1]


def test_the_application_without_its_extra_says_what_to_install() -> None:
    said = run(
        "import sys\nsys.modules['wsproto'] = None\nfrom meshlib_adapters.asgi import MeshApp"
    )
    assert said == (
        "ModuleNotFoundError: MeshApp needs wsproto, which is not installed; write: "
        "pip install 'meshlib-gateway[asgi]'"
    )


def test_wsgi_without_its_extra_says_what_to_install() -> None:
    said = run(
        "import sys\nsys.modules['anyio'] = None\nfrom meshlib_adapters.wsgi import mesh_wsgi"
    )
    assert said == (
        "ModuleNotFoundError: mesh_wsgi needs anyio, which is not installed; write: "
        "pip install 'meshlib-gateway[wsgi]'"
    )


# The module of a distribution, where its name is another.
MODULES = {"PyYAML": "yaml"}
NAME = re.compile(r"[A-Za-z0-9]+")
README = ROOT / "README.md"


def modules_of(extra: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [
        match[0] for line in project["optional-dependencies"][extra] if (match := NAME.match(line))
    ]
    return {MODULES.get(name, name) for name in names}


def program_without(modules: set[str], program: str) -> str:
    return f"import sys\nfor name in {sorted(modules)}: sys.modules[name] = None\n{program}"


def test_the_readmes_application_runs_with_the_extra_that_the_readme_names() -> None:
    assert (
        '[asgi]"           # in an ASGI application: routes from code or files\n'
        in README.read_text()
    )
    (block,) = [text for _, text in code_blocks(README) if "asgi import MeshMiddleware" in text]
    others = modules_of("gateway") - modules_of("asgi") - {"starlette", "h11"}  # wsproto brings h11
    assert {"docker", "msgspec", "cryptography"} <= others
    assert run(program_without(others, block + "sys.exit('runs')")) == "runs"


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("ContainerProvider", "docker", "docker"),
        ("FileProvider", "yaml", "gateway"),
        ("Gateway", "msgspec", "gateway"),
        ("SwarmProvider", "urllib3", "docker"),
    ],
)
def test_a_missing_library_is_named_with_an_extra_that_has_it(
    name: str, module: str, extra: str
) -> None:
    assert module in modules_of(extra)
    said = run(program_without({module}, f"from meshlib_adapters import {name}"))
    assert f"{name} needs {module}, which is not installed; write: {install(extra)}" in said


def test_transports_of_clients_without_their_extra_say_what_to_install() -> None:
    program = "from meshlib_adapters.httpx_transport import MeshTransport"
    said = run(program_without({"httpx"}, program))
    assert f"MeshTransport needs httpx, which is not installed; write: {install('httpx')}" in said
    program = "from meshlib_adapters.httpx_transport.for_httpx2 import MeshTransport"
    said = run(program_without({"httpx2"}, program))
    assert f"MeshTransport needs httpx2, which is not installed; write: {install('httpx2')}" in said


def test_a_name_is_loaded_from_its_module() -> None:
    assert load("os", "sep", "") == os.sep
    assert "MeshApp" in dir(asgi)
    assert asgi.MeshApp.__module__ == "meshlib_adapters.asgi.application"
    with pytest.raises(AttributeError, match="no attribute 'Mesh'"):
        asgi.Mesh  # noqa: B018


@pytest.mark.parametrize(
    ("module", "extra"), [("no_such_library", ""), ("meshlib_adapters.nothing", "tls")]
)
def test_a_module_of_ours_or_without_extra_is_missing_by_its_own_name(
    module: str, extra: str
) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^No module named") as caught:
        load(module, "x", extra)
    assert caught.value.name == module


def test_a_setting_that_needs_an_extra_says_what_to_install() -> None:
    error = not_installed("a thing", ImportError("no"), "tls", "tls.certificates")
    assert str(error) == f"tls.certificates: a thing is not installed: no ({install('tls')})"
