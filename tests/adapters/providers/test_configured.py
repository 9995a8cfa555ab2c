"""What settings let providers know: variables of Compose files, and where the gateway is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.settings import Settings, resolve_options
from meshlib_adapters.config.sources import Layer, resolve_settings
from meshlib_adapters.providers.configured import first_snapshots, own_listeners
from meshlib_adapters.providers.docker.engine import MAX_RESPONSE
from meshlib_adapters.testing import FakeEngine, Fault

_STACK = """\
services:
  shop:
    image: example/shop:1
    labels: {com.docker.ucp.mesh.http.80: "external_route=http://${DOMAIN}/${PATH_OF:-},internal_port=80"}
    endpoints: ["10.0.0.5"]
"""


def settings(**values: Any) -> Settings:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return resolve_settings([Layer(named, dict.fromkeys(named, "test"))])[0]


def routes(found: Settings) -> list[str]:
    return [route.name for route in asyncio.run(first_snapshots(found)).table.routes]


def test_a_file_of_services_gets_the_variables_that_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, variables = tmp_path / "stack.yml", tmp_path / "stack.env"
    stack.write_text(_STACK)
    variables.write_text("DOMAIN=file.example.com\nPATH_OF=x\n")
    monkeypatch.setenv("DOMAIN", "environment.example.com")
    services = [str(stack)]
    assert routes(settings(services=services)) == []
    assert routes(settings(services=services, compose__variables=["DOMAIN", "UNSET"])) == [
        "http://environment.example.com"
    ]
    assert routes(settings(services=services, compose__env_file=str(variables))) == [
        "http://file.example.com/x"
    ]
    both = settings(
        services=services, compose__variables="DOMAIN", compose__env_file=str(variables)
    )
    assert routes(both) == ["http://environment.example.com/x"]


def test_a_file_cannot_send_the_gateway_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "services.yml"
    path.write_text(
        "services: {old: {labels: {com.docker.ucp.mesh.http.1: "
        "'external_route=sni://old.example,internal_port=8443'}, endpoints: [127.0.0.1, 10.0.0.5]}}"
    )
    found = settings(services=[str(path)], https="0.0.0.0:8443")
    mesh = asyncio.run(first_snapshots(found))
    assert [e.address for e in mesh.endpoints("old")] == ["10.0.0.5:8443"]
    assert [said.code for said in mesh.diagnostics] == ["SVC014"]
    elsewhere = settings(services=[str(path)], https="192.0.2.1:8443")
    assert asyncio.run(first_snapshots(elsewhere)).diagnostics == ()


def test_the_listeners_of_a_gateway_are_those_of_its_settings() -> None:
    found = own_listeners(
        settings(http=":8080", https="192.0.2.1:8443", admin="127.0.0.1:8081", ports__host="::")
    )
    assert found.addresses == {("0.0.0.0", 8080), ("192.0.2.1", 8443), ("127.0.0.1", 8081)}
    assert "127.0.0.1" in found.interfaces
    assert found.ports == ""
    assert own_listeners(settings(ports__host="::", ports__open="labels")).ports == "::"


def test_a_project_of_several_files_and_its_profiles(tmp_path: Path) -> None:
    base, over = tmp_path / "compose.yml", tmp_path / "prod.yml"
    label = "com.docker.ucp.mesh.http: 'external_route=http://{},internal_port=80'"
    base.write_text(
        f"services: {{shop: {{image: x, labels: {{{label.format('dev.example')}}}}}, "
        f"debug: {{image: x, profiles: [debug], labels: {{{label.format('debug.example')}}}}}}}"
    )
    over.write_text(f"services: {{shop: {{labels: {{{label.format('shop.example')}}}}}}}")
    services = [f"{base}:{over}"]
    assert routes(settings(services=services)) == ["http://shop.example"]
    assert routes(settings(services=f"{base}:{over}", compose__profiles="debug")) == [
        "http://debug.example",
        "http://shop.example",
    ]
    assert routes(settings(services=str(tmp_path))) == ["http://dev.example"]
    with pytest.raises(ConfigurationError, match="is not the path of a file"):
        routes(settings(services=[":"]))


def test_names_of_variables_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="'A-B' is not the name of a variable"):
        settings(compose__variables=["A-B"])


def test_the_word_for_the_gateways_networks() -> None:
    assert (resolve_options(settings()).reachable, resolve_options(settings()).check_networks) == (
        None,
        True,
    )
    named = resolve_options(settings(discovery__gateway_networks="front, back"))
    assert (named.reachable, named.check_networks) == (frozenset({"front", "back"}), True)
    assert resolve_options(settings(discovery__gateway_networks="any")).check_networks is False


def test_who_only_looks_is_not_the_gateway(tmp_path: Path) -> None:
    """The networks of this process do not count, but what the operator says of the gateway's
    does.
    """
    with FakeEngine(tmp_path / "docker.sock") as fake:
        fake.add_network("front", driver="bridge", subnet="203.0.113.0/24")
        label = {
            "com.docker.ucp.mesh.http.80": "external_route=http://shop.example.com,internal_port=80"
        }
        fake.add_container("shop", label, {"front": "203.0.113.5"})
        assert routes(settings(docker=fake.url)) == ["http://shop.example.com"]
        assert routes(settings(docker=fake.url, discovery__gateway_networks=["front"])) == [
            "http://shop.example.com"
        ]
        assert routes(settings(docker=fake.url, discovery__gateway_networks=["back"])) == []


@pytest.mark.parametrize(("kind", "path"), [("docker", "/containers/json"), ("swarm", "/tasks")])
def test_how_long_a_list_of_an_engine_may_be(tmp_path: Path, kind: str, path: str) -> None:
    assert settings().discovery.answer_size == MAX_RESPONSE
    with FakeEngine(tmp_path / "docker.sock") as engine:
        engine.fault(path, Fault(body=b"[" + b" " * 2**20 + b"]"))
        assert routes(settings(**{kind: engine.url})) == []
        with pytest.raises(
            ConfigurationError,
            match=(
                f"{path} returned 1048578 bytes, more than the limit of 1048576.* raise "
                "discovery.answer_size"
            ),
        ):
            routes(settings(**{kind: engine.url}, discovery__answer_size="1m"))
