"""The state file: what is written can be read, and what cannot be read costs itself only."""

from __future__ import annotations

import json
import os
import stat
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    ForwardTo,
    HostPath,
    ListeningPort,
    RedirectRule,
    Route,
    Scheme,
    ServerName,
    Severity,
    Snapshot,
    Tenure,
    Upstream,
)
from meshlib.route_options import RouteOptions
from meshlib.upstream_key import Transport, UpstreamKey
from meshlib_adapters.providers import state
from meshlib_adapters.providers.state import FILE, RELEASED, KeptState, StateDirectory, encode_state

KEY = UpstreamKey("shop", 80, transport=Transport("h2c"))
UPSTREAM = Upstream(KEY, (Endpoint("shop.1", "10.0.0.5", 80),))
ROUTES = (
    Route(
        HostPath("shop.example", "/api"),
        ForwardTo(UPSTREAM),
        RouteOptions(sticky_cookie="SID", hsts="max-age=5", share_with=("blog",)),
        service="shop",
        label="l",
        schema="hrm",
    ),
    Route(
        HostPath("*.old.example"),
        RedirectRule("https://shop.example", 308),
        service="shop",
        label="m",
        schema="hrm",
    ),
    Route(ServerName(""), ForwardTo(UPSTREAM), service="shop", label="n", schema="hrm"),
    Route(
        ListeningPort(Scheme.TCP, 5432),
        ForwardTo(UPSTREAM),
        service="shop",
        label="o",
        schema="hrm",
    ),
)
SHOP = Contribution("docker/shop", "shop", 5, ROUTES, owner="project shop", networks=("front",))
TENURES = [
    Tenure("shop.example", "project shop", 5, 0, ("blog",)),
    Tenure("", "stack all", 6, 7),
    Tenure("tcp://:5432", "", 1),
]


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path)


def written(
    directory: StateDirectory, *contributions: Contribution, provider: str = "docker"
) -> dict[str, Any]:
    directory.write(encode_state(TENURES, {provider: Snapshot.of(contributions)}))
    data: dict[str, Any] = json.loads(directory.file.read_bytes())
    return data


def test_what_is_written_is_read(directory: StateDirectory) -> None:
    news = replace(SHOP, diagnostics=(Diagnostic("HRM001", Severity.ERROR, "shop", "l", "wrong"),))
    written(directory, news)
    assert directory.read() == KeptState(TENURES, {"docker": Snapshot.of([SHOP])}, [])
    assert stat.S_IMODE(directory.file.stat().st_mode) == 0o600
    assert [path.name for path in directory.path.iterdir()] == [FILE]


def test_nothing_there_is_nothing_known(directory: StateDirectory) -> None:
    assert directory.read() == KeptState([], {}, [])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "truncated"),
        (b"\xff\xfe", "invalid"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field"),
        (b'{"format": "x", "version": 1, "tenures": [], "snapshots": {}}', "its format is 'x'"),
        (
            b'{"format": "meshlib state", "version": 2, "tenures": [], "snapshots": {}}',
            "version 2; expected",
        ),
        (
            b'{"format": "meshlib state", "version": 1, "tenures": [], "snapshots": {}, "more": 1}',
            "unknown field `more`",
        ),
        (
            b'{"format": "meshlib state", "version": 1, "tenures": [["a", 5]], "snapshots": {}}',
            "Expected `str`, got `int` - at `$[0][1]`",
        ),
        (
            b'{"format": "meshlib state", "version": 1, "tenures": 5, "snapshots": {}}',
            "Expected `array`",
        ),
    ],
)
def test_a_file_that_is_none_of_ours_is_kept_aside(
    directory: StateDirectory, data: bytes, said: str
) -> None:
    directory.file.write_bytes(data)
    peeked = directory.peek()
    assert directory.file.read_bytes() == data
    found = directory.read()
    assert (found.tenures, found.snapshots) == ([], {})
    (complaint,) = found.complaints
    assert said in complaint
    assert peeked.complaints[0] in complaint
    assert "restore a good copy" in complaint
    assert (directory.path / f"{FILE}.broken").read_bytes() == data
    assert not directory.file.exists()


def test_what_is_not_a_file_is_said_and_waited_for_by_nobody(
    directory: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(directory.file)
    assert "it is not a regular file" in directory.read().complaints[0]
    os.symlink("/dev/zero", directory.file)
    assert "cannot be read" in directory.peek().complaints[0]
    directory.file.unlink()
    directory.file.write_bytes(b"x" * 2000)
    monkeypatch.setattr("meshlib_adapters.providers.state.MAX_FILE", 1000)
    assert "it is larger than" in directory.peek().complaints[0]
    # Where it cannot be kept aside it is said, too.
    (directory.path / f"{FILE}.broken").unlink()
    (directory.path / f"{FILE}.broken" / "x").mkdir(parents=True)
    assert "it cannot be kept aside: " in directory.read().complaints[0]


def _set(data: dict[str, Any], path: str, value: object) -> None:
    *keys, last = (int(key) if key.isdigit() else key for key in path.split("."))
    place: Any = data["snapshots"]["docker"]
    for key in keys:
        place = place[key]
    place[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("0.key", "swarm/shop", "is not one of docker"),
        ("0.service", "a\nb", "no text to print"),
        ("0.routes.0.match.host", "Shop.example", "not in its normal form"),
        ("0.routes.0.match.host", "a b", "cannot"),
        ("0.routes.0.match.path", "/a/../b", "dot segment"),
        ("0.routes.0.match.path", "/a/", "normal form"),
        ("0.routes.0.options.hsts", "5\r\nSet-Cookie: a", "no text to print"),
        ("0.routes.0.options.hsts", "max-age=5;preload", "not in normal form"),
        ("0.routes.0.options.sticky_cookie", "a;b", "sticky_cookie is 'a;b'"),
        ("0.routes.0.options.sticky_cookie", "ü", "not be ASCII"),
        ("0.routes.0.action.upstream.strategy", "best", "no strategy 'best'"),
        ("0.routes.0.action.upstream.endpoints.0.port", 0, "out of range"),
        ("0.routes.0.action.upstream.endpoints.0.weight", 10**9, "out of range"),
        (
            "0.routes.0.action.upstream.endpoints.0.host",
            "127.0.0.1",
            "not an address to send requests to",
        ),
        (
            "0.routes.0.action.upstream.endpoints.0.host",
            "169.254.169.254",
            "not an address to send requests to",
        ),
        ("0.routes.0.action.upstream.endpoints.0.host", "a b", "cannot be in a host name"),
        ("0.routes.0.action.upstream.key.service", "a\nb", "no text to print"),
        ("0.routes.0.action.upstream.key.port", 0, "not within 1-65535"),
        (
            "0.routes.0.action.upstream.key.beside",
            [{"service": "s", "port": 1 << 16}],
            "not within 1-65535",
        ),
        ("0.routes.0.action.upstream", None, "forwards or redirects"),
        ("0.routes.0.match.host", None, "a host or a server name"),
        ("0.routes.1.action.status", 200, "has the status 200"),
        ("0.routes.3.match.1", 70000, "not within 1-65535"),
    ],
)
def test_a_service_that_is_wrong_costs_itself_only(
    directory: StateDirectory, path: str, value: object, said: str
) -> None:
    other = replace(SHOP, key="docker/other", service="other", routes=())
    data = written(directory, other, SHOP)
    _set(data, path.replace("0", "1", 1), value)
    directory.file.write_text(json.dumps(data))
    found = directory.read()
    assert found.tenures == TENURES
    assert found.snapshots == {"docker": Snapshot.of([other])}
    (complaint,) = found.complaints
    assert complaint.startswith(f"{directory.file}: snapshots: 'docker': ")
    assert said in complaint
    assert directory.file.exists()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("0.routes.0.match", ["gopher", 5]),
        ("0.routes.0.match.host", 5),
        ("0.created_at", "now"),
        ("0.service", None),
    ],
)
def test_a_snapshot_of_other_shape_is_left_out_and_ownership_stays(
    directory: StateDirectory, path: str, value: object
) -> None:
    data = written(directory, SHOP)
    _set(data, path, value)
    directory.file.write_text(json.dumps(data))
    found = directory.read()
    assert (found.tenures, found.snapshots, len(found.complaints)) == (TENURES, {}, 1)


def test_records_of_owners_that_are_wrong_cost_themselves_only(directory: StateDirectory) -> None:
    data = written(directory, SHOP)
    wrong: list[list[object]] = [
        ["A", "stack a", 1, 0, []],
        ["a", "stack\n", 1, 0, []],
        ["a", "stack a", -1, 0, []],
        ["tcp://:0", "stack a", 1, 0, []],
        *([f"{i}..", "stack a", 1, 0, []] for i in range(30)),
    ]
    data["tenures"] += wrong
    directory.file.write_text(json.dumps(data))
    found = directory.read()
    assert found.tenures == TENURES
    assert len(found.complaints) == 20
    assert (
        "tenures: 'A': the host 'A' is not in its normal form; the record is left out"
        in found.complaints[0]
    )


def test_files_of_services_may_name_any_address(directory: StateDirectory) -> None:
    local = replace(UPSTREAM, endpoints=(Endpoint("shop.1", "127.0.0.1", 80),))
    shop = replace(
        SHOP, key="static:a.yml/shop", routes=(replace(ROUTES[0], action=ForwardTo(local)),)
    )
    written(directory, shop, provider="static:a.yml")
    assert directory.read().snapshots == {"static:a.yml": Snapshot.of([shop])}


def test_services_that_make_it_too_large_are_left_out_and_cost_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    huge = [replace(SHOP, key=f"docker/huge{i}", routes=ROUTES * (20 + i)) for i in range(2)]
    found = {
        "docker": Snapshot.of([SHOP, *huge]),
        "swarm": Snapshot.of([replace(SHOP, key="swarm/1")]),
    }

    def kept() -> dict[str, list[str]]:
        data = encode_state([], found)
        assert len(data) <= state.MAX_FILE
        return {
            name: [one["key"] for one in services]
            for name, services in json.loads(data)["snapshots"].items()
        }

    assert kept() == {
        "docker": ["docker/huge0", "docker/huge1", "docker/shop"],
        "swarm": ["swarm/1"],
    }
    monkeypatch.setattr(state, "MAX_FILE", len(encode_state([], found)) - 1)
    assert kept() == {"docker": ["docker/huge0", "docker/shop"], "swarm": ["swarm/1"]}
    monkeypatch.setattr(state, "MAX_FILE", 5000)
    assert kept() == {"docker": ["docker/shop"], "swarm": ["swarm/1"]}
    monkeypatch.setattr(state, "MAX_FILE", 100)
    assert kept() == {}


def test_what_is_left_out_is_not_made_either(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = [replace(SHOP, key=f"docker/huge{i}", routes=ROUTES * 20) for i in range(100)]
    wide = replace(UPSTREAM, endpoints=UPSTREAM.endpoints * 1000)
    one = replace(
        SHOP, key="docker/wide", routes=(replace(ROUTES[0], action=ForwardTo(wide)),) * 50
    )
    monkeypatch.setattr(state, "MAX_FILE", 20_000)
    for found in (Snapshot.of([SHOP, *huge]), Snapshot.of([SHOP, one])):
        tracemalloc.start()
        data = encode_state(TENURES, {"docker": found})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert b"docker/shop" in data
        assert len(data) <= state.MAX_FILE
        assert peak < 25 * state.MAX_FILE


def test_names_that_make_it_too_large_leave_out_the_last_ones_and_all_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "MAX_FILE", 10_000)
    data = encode_state(
        [Tenure(f"{i}.example", "stack a") for i in range(1000)],
        {"docker": Snapshot.of([SHOP]), "swarm": Snapshot()},
    )
    assert 9_900 < len(data) <= state.MAX_FILE
    document = json.loads(data)
    assert [one[0] for one in document["tenures"]] == [
        f"{i}.example" for i in range(len(document["tenures"]))
    ]
    assert document["snapshots"] == {"swarm": []}


def test_one_at_a_time_has_its_turn(
    directory: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_PATIENCE", 0.1)
    with directory.turn():
        with (
            pytest.raises(
                OSError,
                match=(
                    r"/\.lock is locked by another process; stop that one, "
                    r"or use another directory"
                ),
            ),
            directory.turn(),
        ):
            pass
        monkeypatch.setattr(state, "_PATIENCE", 20.0)
        monkeypatch.setattr(state, "_AGAIN", 0.001)
        entered = threading.Event()

        def wait() -> None:
            with StateDirectory(directory.path).turn():
                entered.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not entered.wait(0.1)
    waiting.join(20)
    assert entered.is_set()


def test_names_to_release(directory: StateDirectory) -> None:
    assert directory.released() == []
    directory.ask_release(["shop.example", ""])
    directory.ask_release(["tcp://:1"])
    assert directory.released() == ["shop.example", "", "tcp://:1"]
    directory.forget_released()
    directory.forget_released()
    assert directory.released() == []
    os.symlink("/etc/passwd", directory.path / RELEASED)
    with pytest.raises(OSError, match="symbolic links"):
        directory.ask_release(["x"])


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_whatever_became_of_the_file_reading_ends_well(
    directory: StateDirectory, data: st.DataObject
) -> None:
    whole = encode_state(TENURES, {"docker": Snapshot.of([SHOP])})
    at = data.draw(st.integers(0, len(whole)))
    directory.file.write_bytes(
        whole[:at]
        + data.draw(st.binary(max_size=3))
        + whole[data.draw(st.integers(at, len(whole))) :]
    )
    found = directory.read()
    for snapshot in found.snapshots.values():
        assert all(one.key.startswith("docker/") for one in snapshot.contributions)
