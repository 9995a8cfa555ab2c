"""The face of the kit: every name on first use, and what is said where one cannot be had."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meshlib_adapters import testing
from tests.architecture.tree import source_environment


def test_each_name_is_there() -> None:
    assert set(testing.__all__) <= set(dir(testing))
    assert all(callable(getattr(testing, name)) for name in testing.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'FakeMoon'"):
        _ = testing.FakeMoon


@pytest.mark.parametrize(
    ("name", "missing", "works"),
    [
        ("mesh_client", "httpx", False),
        ("FakeEngine", "httpx", True),
        ("FakeUpstream", "anyio", True),
    ],
)
def test_a_name_needs_what_it_uses_and_no_more(name: str, missing: str, works: bool) -> None:
    program = (
        f"import sys\nsys.modules[{missing!r}] = None\nfrom meshlib_adapters.testing import {name}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=source_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is works, done.stderr
    if not works:
        assert done.stderr.splitlines()[-1] == (
            f"ModuleNotFoundError: {name} needs {missing}, which is not installed; write: "
            "pip install 'meshlib-gateway[testing]'"
        )
