import subprocess
import sys

import pytest

import meshlib


def test_every_public_name_is_there() -> None:
    assert sorted(meshlib._PLACES) == sorted(meshlib.__all__)
    for name in meshlib.__all__:
        assert getattr(meshlib, name) is not None
        assert name in dir(meshlib)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Manager'"):
        meshlib.__getattr__("Manager")


def test_importing_loads_no_part() -> None:
    code = "import sys, meshlib; print(sum(name.startswith('meshlib.') for name in sys.modules))"
    seen = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="."
    )
    assert seen.stdout.strip() == "0"
