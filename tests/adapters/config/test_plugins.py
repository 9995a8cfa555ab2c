"""Plug-ins of installed packages: an installed one is a directory on the path, as here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshlib.balancing import registered_names
from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib_adapters import Gateway
from meshlib_adapters.config.plugins import PluginSettings, load_plugin, load_plugins
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.providers.configured import build_providers, names_providers

_MODULE = """
import meshlib
from meshlib_adapters import PollingProvider

def last(candidates, request):
    return candidates[-1]

def read(labels, service):
    yield {"external_route": "http://" + labels["plugged.host"], "internal_port": 80}

class Inventory(PollingProvider):
    def read(self):
        return [("a", "h:1")]

def auth(request):
    return None

def nothing():
    return 5

number = 5
"""
# Loading it defines a schema.
_WITH_SCHEMA = f"""{_MODULE}
meshlib.label_schema("plugged_schema", prefix="plugged.")(read)
"""
_POINTS = """
[meshlib.strategies]
plugged_last = PACKAGE:last
plugged_number = PACKAGE:number
plugged_missing = PACKAGE:missing
[meshlib.schemas]
plugged_schema = PACKAGE:read
plugged_other = PACKAGE:read
[meshlib.providers]
plugged_inventory = PACKAGE:Inventory
plugged_wrong = PACKAGE:nothing
[meshlib.hooks]
plugged_auth = PACKAGE:auth
plugged_number = PACKAGE:number
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    names: list[str] = []

    def make(name: str, text: str = _MODULE, points: str = _POINTS) -> Path:
        home = tmp_path / name
        info = home / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (home / f"{name}.py").write_text(text)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(points.replace("PACKAGE", name))
        monkeypatch.syspath_prepend(str(home))
        names.append(name)
        return home

    yield make
    for name in names:
        sys.modules.pop(name, None)


def test_what_settings_name_is_loaded_and_nothing_else(install: Install) -> None:
    install("plugged_one", _WITH_SCHEMA)
    assert load_plugins(PluginSettings()) == {}
    assert "plugged_one" not in sys.modules
    labels = {"com.docker.ucp.mesh.http": "external_route=http://a,internal_port=80,strategy="}
    labels = {key: text + "plugged_last" for key, text in labels.items()}
    assert [one.code for one in Mesh.from_labels(labels, ["h:80"]).diagnostics] == ["HRM033"]
    assert "plugged_one" not in sys.modules
    settings = Settings(
        plugins=PluginSettings(
            ("plugged_last",), ("plugged_schema",), ("plugged_inventory",), ("plugged_auth",)
        )
    )
    mesh = settings.mesh()
    assert mesh.hooks.names == {"plugged_auth"}
    assert "plugged_last" in registered_names()
    assert settings.mesh().hooks.names == {"plugged_auth"}  # once more does no harm
    (route,) = Mesh.from_labels(labels, ["h:80"]).routes
    assert route.upstream is not None
    assert route.upstream.strategy == "plugged_last"
    (route,) = Mesh.from_labels({"plugged.host": "b"}, ["h:80"]).routes
    assert route.schema == "plugged_schema"
    assert names_providers(settings)
    assert [provider.name for provider in build_providers(settings)] == ["Inventory"]


def test_a_gateway_of_a_program_lets_plug_ins_in(install: Install) -> None:
    install("plugged_two", points="[meshlib.hooks]\nplugged_auth = PACKAGE:auth\n")
    mesh = Mesh({"a": ["h:1"]})
    Gateway(mesh, http="127.0.0.1:0", settings={"plugins.hooks": ["plugged_auth"]})
    assert mesh.hooks.names == {"plugged_auth"}


@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        (
            "strategies",
            "plugged_number",
            r"'plugged_number' of the package plugged_three 1\.2 \(plugged_three:number\) cannot "
            r"be used: .*5 cannot be called",
        ),
        ("strategies", "plugged_missing", r"plugged_three 1\.2 .*AttributeError"),
        ("schemas", "plugged_other", r"plugged_three 1\.2 .*did not define the schema 'plugged_o"),
        ("hooks", "plugged_number", r"plugged_three 1\.2 .*5 is neither a function nor an object"),
        ("strategies", "plugged_lst", r"no installed package has .* of meshlib\.strategies"),
        ("hooks", "zzz", r"no installed package has the entry point 'zzz' of meshlib\.hooks"),
    ],
)
def test_what_cannot_be_loaded(install: Install, group: str, name: str, message: str) -> None:
    install("plugged_three")
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_plugins(PluginSettings(**{group: (name,)}))
    assert caught.value.where == f"plugins.{group}"
    assert caught.value.hint


def test_hints_name_what_is_installed(install: Install) -> None:
    install("plugged_four")
    for name, hint in [
        ("plugged_auht", "did you mean plugged_auth?"),
        ("zzz", "install its package; installed are: plugged_auth, plugged_number"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            load_plugin("hooks", name, lambda loaded: loaded)
        assert caught.value.hint == hint
    with pytest.raises(ConfigurationError, match="no installed package") as caught:
        load_plugin("nothing", "zzz", lambda loaded: loaded)
    assert caught.value.hint == "install its package; installed are: none"


def test_a_package_that_is_broken(install: Install) -> None:
    install("plugged_five", "raise OSError('no licence')")
    with pytest.raises(ConfigurationError, match=r"plugged_five 1\.2 .*OSError\('no licence'\)"):
        load_plugins(PluginSettings(strategies=("plugged_missing",)))


def test_two_packages_with_one_name(install: Install) -> None:
    install("plugged_six")
    install("plugged_seven")
    with pytest.raises(ConfigurationError, match="'plugged_auth': plugged_seven, plugged_six"):
        load_plugins(PluginSettings(hooks=("plugged_auth",)))


def test_what_makes_no_provider(install: Install) -> None:
    install("plugged_eight")
    settings = Settings(plugins=PluginSettings(providers=("plugged_wrong",)))
    with pytest.raises(ConfigurationError, match=r"plugged_eight 1\.2 .*made 5, which is not a"):
        build_providers(settings)
