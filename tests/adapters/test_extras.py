from __future__ import annotations

import os
import subprocess
import sys

import pytest

from meshlib_adapters import asgi
from meshlib_adapters.extras import install, load, not_installed
from tests.architecture.tree import ROOT, source_environment


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
        "import sys\nsys.modules['wsproto'] = None\nfrom meshlib_adapters.asgi import Gateway"
    )
    assert said == (
        "ModuleNotFoundError: Gateway needs wsproto, which is not installed; write: "
        "pip install 'meshlib-gateway[asgi]'"
    )


def test_a_name_is_loaded_from_its_module() -> None:
    assert load("os", "sep", "") == os.sep
    assert "Gateway" in dir(asgi)
    assert asgi.Gateway.__module__ == "meshlib_adapters.asgi.application"
    with pytest.raises(AttributeError, match="no attribute 'Gate'"):
        asgi.Gate  # noqa: B018


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
