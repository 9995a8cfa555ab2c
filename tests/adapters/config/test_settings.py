"""Settings: what wins over what, and where a mistake is said to be."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest

from meshlib.client_claims import ForwardingPolicy
from meshlib.discovery.limits import DiscoveryLimits
from meshlib.errors import ConfigurationError
from meshlib.ownership import OwnershipRules
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.config.http2 import HTTP2Settings
from meshlib_adapters.config.settings import (
    Settings,
    discovery_limits,
    ownership_rules,
    resolve_options,
)
from meshlib_adapters.config.sources import (
    KEYS,
    Layer,
    as_data,
    environment_layer,
    resolve_settings,
    toml_layer,
    toml_text,
)
from meshlib_adapters.config.transport import TCPSettings, TLSSettings

LIMITS = (
    "limits.max_body",
    "limits.min_body_rate",
    "limits.max_connections_per_client",
    "limits.max_requests_per_endpoint",
    "ports.max_flows_per_client",
    "log.repeats",
)


def option(name: str, value: object) -> Layer:
    return Layer({name: value}, {name: f"--{name}"})


def file(directory: Path, text: str) -> Layer:
    path = directory / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return toml_layer(str(path))


def test_defaults_are_those_of_hrm() -> None:
    settings, origins = resolve_settings([])
    assert settings == Settings()
    assert [str(a) for a in settings.http + settings.https + settings.admin] == [
        "0.0.0.0:80",
        "0.0.0.0:8443",
        "127.0.0.1:8081",
    ]
    assert set(origins.values()) == {"default"}


def test_a_setting_reaches_every_part_that_has_it() -> None:
    text = {
        "limits.max_connections": 7,
        "limits.pool_size": "3",
        "limits.sticky_unknown": 5,
        "timeouts.connect": "1500ms",
        "timeouts.head_read": "4s",
        "timeouts.tunnel_idle": "1m",
    }
    settings, _ = resolve_settings([Layer(text, dict.fromkeys(text, ""))])
    assert settings.requests == replace(
        HTTPSettings(),
        max_connections=7,
        pool_size=3,
        sticky_unknown=5,
        connect=1.5,
        head_read=4.0,
        tunnel_idle=60.0,
    )
    assert settings.tls == replace(
        TLSSettings(),
        max_connections=7,
        sticky_unknown=5,
        connect=1.5,
        head_read=4.0,
        tunnel_idle=60.0,
    )
    assert settings.ports.tcp == replace(
        TCPSettings(),
        max_connections=7,
        connect=1.5,
        head_read=4.0,
        tunnel_idle=60,
    )


def test_a_setting_has_one_name_from_the_file_to_the_part() -> None:
    # A part knows PROXY protocol headers by shorter words.
    parts = {
        "proxy_protocol": "mode",
        "proxy_protocol_from": "sources",
        "proxy_protocol_size": "max_size",
    }
    for name, key in KEYS.items():
        expected = parts.get(name, name.rpartition(".")[2])
        assert {path[-1] for path in key.paths} == {expected}


def test_every_limit_and_time_out_of_requests_is_a_setting() -> None:
    known = {path for key in KEYS.values() for path in key.paths}
    for name in HTTPSettings.__dataclass_fields__:
        of_code_alone = name in ("dial", "upstream_authorities")
        assert (("requests", name) in known) is not of_code_alone


@pytest.mark.parametrize("value", [0, "0", "off", " Off ", False])
@pytest.mark.parametrize("name", LIMITS)
def test_no_limit_is_none_in_every_part(name: str, value: object) -> None:
    settings, origins = resolve_settings([option(name, value)])
    for path in KEYS[name].paths:
        assert functools.reduce(getattr, path, cast("Any", settings)) is None
    assert f"{name.rpartition('.')[2]} = 0  # " in toml_text(settings, origins)
    limited, _ = resolve_settings([option(name, "7")])
    for path in KEYS[name].paths:
        assert functools.reduce(getattr, path, cast("Any", limited)) == 7
    with pytest.raises(ConfigurationError, match=f"--{name}: expected a "):
        resolve_settings([option(name, -1)])


def test_there_is_no_other_limit_that_may_be_left_out() -> None:
    found = {name for name in KEYS if resolves_to_none(name)}
    assert found == set(LIMITS)


def resolves_to_none(name: str) -> bool:
    if name in ("docker", "swarm"):  # None is "not asked" there
        return False
    try:
        return KEYS[name].declaration.read(0) is None
    except ValueError:
        return False


def test_authorities_for_endpoints_are_named_by_a_path() -> None:
    settings, _ = resolve_settings([option("tls.upstream_ca", "/etc/ca.pem")])
    assert (settings.upstream_ca, settings.requests.upstream_authorities) == ("/etc/ca.pem", "")


def test_what_upstreams_are_told_is_the_policy_itself() -> None:
    assert Settings().forwarding == ForwardingPolicy()
    settings, _ = resolve_settings(
        [option("forwarding.via", "off"), option("forwarding.mode", "label")]
    )
    assert settings.forwarding == ForwardingPolicy(via="", mode="label")


def test_every_limit_of_discovery_is_a_setting() -> None:
    assert discovery_limits(Settings()) == DiscoveryLimits()
    names = [name for name in KEYS if name.startswith("discovery.max_")]
    values = {name: number for number, name in enumerate(names, 7)}
    settings, _ = resolve_settings([Layer(values, dict.fromkeys(values, "test"))])
    limits = discovery_limits(settings)
    assert resolve_options(settings).limits == limits
    flat = [
        *(value for name, value in asdict(limits.labels).items() if name != "blank_hosts"),
        *(value for name, value in asdict(limits).items() if name != "labels"),
    ]
    assert sorted(flat) == sorted(values.values())
    assert limits.labels.blank_hosts
    name = "discovery.blank_hosts"
    blank, _ = resolve_settings([Layer({name: False}, {name: "test"})])
    assert not discovery_limits(blank).labels.blank_hosts


def test_limits_of_http2_have_the_same_defaults() -> None:
    assert Settings().http2 == HTTP2Settings()
    with pytest.raises(ConfigurationError, match=r"smaller than stream_window") as caught:
        resolve_settings([option("http2.stream_window", 2097152)])
    assert "http2.connection_window" in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"--http2\.resets"):
        resolve_settings([option("http2.resets", "0")])


def test_who_may_send_a_proxy_header() -> None:
    assert Settings().proxy_header.mode == "off"
    settings, _ = resolve_settings(
        [option("proxy_protocol", "require"), option("proxy_protocol_from", "10.0.0.0/8, ::1")]
    )
    policy = settings.proxy_header
    assert (policy.mode, [str(network) for network in policy.sources]) == (
        "require",
        ["10.0.0.0/8", "::1/128"],
    )


def test_command_line_over_environment_over_file(tmp_path: Path) -> None:
    toml = file(tmp_path, 'http = ":1"\nhttps = ":1"\nadmin = ":1"\n[timeouts]\nidle = 5\n')
    environment, warnings = environment_layer(
        {"MESHLIB_HTTPS": ":2", "MESHLIB_ADMIN": ":2", "MESHLIB_HTTP": "", "PATH": "/bin"}
    )
    settings, origins = resolve_settings([toml, environment, option("admin", [":3"])])
    assert [a.port for a in settings.http + settings.https + settings.admin] == [1, 2, 3]
    assert settings.requests.idle == 5.0
    assert origins["http"] == f"{tmp_path}/gateway.toml: http"
    assert (origins["https"], origins["admin"], origins["docker"]) == (
        "MESHLIB_HTTPS",
        "--admin",
        "default",
    )
    assert warnings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[timeouts]\nidel = 5",
            "gateway.toml: timeouts.idel: there is no such setting (did you mean timeouts.idle?)",
        ),
        ("idle = 5", "gateway.toml: idle: there is no such setting (did you mean timeouts.idle?)"),
        (
            "[timeout]\nidle = 5",
            "gateway.toml: timeout: there is no such setting (did you mean timeouts?)",
        ),
        (
            "zzz = 5",
            "gateway.toml: zzz: there is no such setting (meshlib config shows all there are)",
        ),
        ("log = 'debug'", "gateway.toml: log: log is a table (write [log] and its keys below)"),
        ("[timeouts]\nidle = 'x'", "gateway.toml: timeouts.idle: expected a duration"),
        ("[timeouts]\nidle = 0", "gateway.toml: timeouts.idle: 0.0 is too small"),
        (
            "proxy_protocol = 'accept'",
            "gateway.toml: proxy_protocol: nobody may send a PROXY protocol header",
        ),
        ("http = 'x'", "gateway.toml: http: 'x' is not HOST:PORT"),
        ("http = ", "gateway.toml: is not TOML: "),
    ],
)
def test_a_mistake_in_the_file_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_settings([file(tmp_path, text)])
    assert said in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        toml_layer(str(tmp_path / "none.toml"))
    (tmp_path / "latin.toml").write_bytes(b"http = '\xff'")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        toml_layer(str(tmp_path / "latin.toml"))


def test_mistakes_in_variables_and_options() -> None:
    with pytest.raises(ConfigurationError, match=r"^MESHLIB_LIMITS_HEAD_SIZE: expected a size"):
        resolve_settings([environment_layer({"MESHLIB_LIMITS_HEAD_SIZE": "big"})[0]])
    with pytest.raises(ConfigurationError, match=r"^--http: 'x'"):
        resolve_settings([option("http", ["x"])])


def test_unknown_variables_are_warned_about() -> None:
    layer, warnings = environment_layer(
        {"MESHLIB_LIMITS_HEAD_SIZ": "1", "MESHLIB_PORT_80_TCP": "tcp://x", "MESHLIB_CONFIG": "x"}
    )
    assert not layer.values
    assert warnings[0] == (
        "MESHLIB_LIMITS_HEAD_SIZ: there is no such setting; did you mean MESHLIB_LIMITS_HEAD_SIZE?"
    )
    assert warnings[1].startswith("MESHLIB_PORT_80_TCP: ")
    assert len(warnings) == 2


def test_what_is_printed_can_be_read_back(tmp_path: Path) -> None:
    layers = [
        option("http", [":8080", "[::1]:8081"]),
        option("https", "off"),
        option("services", ['we"ird\\name.yml', "ü.yml"]),
        option("swarm", True),
        option("forwarding.trusted_proxies", "10.0.0.0/8"),
        option(
            "routing.owners",
            {"shop.example.com": ["stack:shop", "network:edge"], "*": ["project:a"]},
        ),
    ]
    settings, origins = resolve_settings(layers)
    text = toml_text(settings, origins)
    assert tomllib.loads(text) == as_data(settings)
    again, _ = resolve_settings([file(tmp_path, text)])
    assert again == settings
    assert (
        'http = [":8080", "[::1]:8081"]  # addresses that accept HTTP; '
        "'off' for none (from --http)"
    ) in text


def test_passwords_are_masked() -> None:
    settings, origins = resolve_settings([option("docker", "tcp://me:hunter2@host:1")])
    assert settings.docker == "tcp://me:hunter2@host:1"
    assert "hunter2" not in toml_text(settings, origins)
    assert as_data(settings)["docker"] == "tcp://me:***@host:1"


def test_who_may_ask_for_a_name(tmp_path: Path) -> None:
    assert ownership_rules(Settings()) == OwnershipRules()
    text = (
        '[limits]\nowned_names = 5\nowned_names_per_owner = 4\n[routing]\nsharing = "paths"\n'
        'keep_owners = "1d"\n'
    )
    text += '[routing.owners]\n"shop.example.com" = ["stack:shop"]\n'
    rules = ownership_rules(resolve_settings([file(tmp_path, text)])[0])
    assert rules == OwnershipRules("paths", {"shop.example.com": ("stack:shop",)}, 86400, 5, 4)
