"""The files of `examples/gateway`: they can be read, and every setting in them is known."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from meshlib_adapters.cli.main import cli
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.config.sources import environment_layer, resolve_settings
from tests.architecture.tree import ROOT

FOLDER = ROOT / "examples" / "gateway"
DEPLOYED = ("stack.yml", "replicated.yml", "compose.yml")
ADDED = ("tls.yml", "metrics.yml")
_VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]([^}]*))?\}")


def read(name: str) -> dict[str, Any]:
    """The file, its variables replaced by their defaults."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(lambda m: m[2] or m[1], text))
    return found


def gateway(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read(name)["services"]["gateway"]
    return found


def settings(*names: str) -> Settings:
    """What the gateway of a file gets with the files that are added to it."""
    variables: dict[str, str] = {}
    for name in names:
        variables.update(gateway(name).get("environment", {}))
    layer, warnings = environment_layer(variables)
    assert not warnings
    return resolve_settings([layer])[0]


@pytest.mark.parametrize("name", [*DEPLOYED, *ADDED])
def test_every_setting_is_known_and_has_a_value_that_is_taken(name: str) -> None:
    settings(name)


@pytest.mark.parametrize("name", DEPLOYED)
def test_the_commands_are_commands(name: str) -> None:
    for service in ("gateway", "engine"):
        command, *arguments = read(name)["services"][service]["command"]
        context = cli.commands[command].make_context(command, arguments)
        assert context.args == []


@pytest.mark.parametrize("name", DEPLOYED)
def test_there_are_descriptors_for_all_connections(name: str) -> None:
    limits = gateway(name)["ulimits"]["nofile"]
    most = settings(name).requests.max_connections
    assert limits["soft"] == limits["hard"]
    assert int(limits["hard"]) > 3 * most


@pytest.mark.parametrize("name", DEPLOYED)
def test_what_faces_the_internet_has_no_engine_socket_and_keeps_its_state(name: str) -> None:
    found = gateway(name)
    assert (found["user"], found["read_only"], found["cap_drop"]) == ("65534:65534", True, ["ALL"])
    assert found["volumes"] == ["engine:/run/meshlib", "state:/var/lib/meshlib"]
    assert float(found["stop_grace_period"].removesuffix("s")) > settings(name).drain


def test_replicas_are_behind_an_ingress_port_that_hides_the_clients() -> None:
    found = gateway("replicated.yml")
    assert {port["mode"] for port in found["ports"]} == {"ingress"}
    assert (found["deploy"]["mode"], found["deploy"]["update_config"]["order"]) == (
        "replicated",
        "start-first",
    )
    assert settings("replicated.yml").requests.max_connections_per_client is None
    assert {port["mode"] for port in gateway("stack.yml")["ports"]} == {"host"}
    assert "sticky_sessions" in (FOLDER / "replicated.yml").read_text(encoding="utf-8")


def test_the_two_stacks_differ_in_nothing_else() -> None:
    stack, replicated = read("stack.yml"), read("replicated.yml")
    for one in (stack, replicated):
        for name in ("ports", "environment", "deploy"):
            one["services"]["gateway"].pop(name, None)
    assert stack == replicated


def test_metrics_are_reached_on_a_network_of_their_own() -> None:
    found = gateway("metrics.yml")
    assert str(settings("replicated.yml", "metrics.yml").admin[0]) == "0.0.0.0:8081"
    assert "monitoring" in found["networks"]
    assert "ports" not in found


def test_the_page_names_every_file() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in FOLDER.iterdir():
        assert path.name == "README.md" or path.is_dir() or f"`{path.name}`" in page, path
