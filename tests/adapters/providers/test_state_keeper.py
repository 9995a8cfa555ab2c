"""Whose the names are outlives redeployments and restarts, and so does the last snapshot of an
engine that is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlib.errors import ConfigurationError
from meshlib.labels.hrm import LABEL
from meshlib.mesh import Mesh
from meshlib.model import Contribution, HostPath, RedirectRule, Route, Snapshot
from meshlib.ownership import OwnershipRules
from meshlib_adapters.providers import state
from meshlib_adapters.providers import state_keeper as keeping
from meshlib_adapters.providers.state import FILE, StateDirectory
from meshlib_adapters.providers.state_keeper import StateKeeper, existing_directory, find_directory
from meshlib_adapters.testing import FakeEngine
from tests.support.commands import PATIENCE, Running, meshlib_command
from tests.support.worker_lab import Lab, lab, status_of, wait_for

HOST = "shop.example.com"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine(tmp_path / "engine.sock") as running:
        running.add_network("front", driver="bridge")
        yield running


def run(engine: FakeEngine, name: str) -> None:
    """A container that asks for the host, and responds with a redirect to a host of its name."""
    engine.add_container(
        name,
        {LABEL: f"external_route=http://{HOST},redirect=https://{name}.example"},
        {"front": "172.20.0.2"},
    )


def serve(gateways: Lab, engine: FakeEngine, workers: str, first_snapshot: str = "10s") -> Running:
    variables = {
        "MESHLIB_STATE": str(gateways.path / "state"),
        "MESHLIB_TIMEOUTS_FIRST_SNAPSHOT": first_snapshot,
    }
    return gateways.serve(
        "--docker", engine.url, "--workers", workers, services="", stdout=None, **variables
    )


def served(running: Running) -> str:
    """Who serves the host, or the status."""
    connection = http.client.HTTPConnection(*running.addresses["http"], timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Host": HOST})
        response = connection.getresponse()
        return (
            (response.getheader("Location") or str(response.status))
            .removeprefix("https://")
            .partition(".")[0]
        )


def stop(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(PATIENCE) == 0, running.log_file.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_host_is_its_owners_over_redeployment_and_restart(
    tmp_path: Path, engine: FakeEngine, workers: str
) -> None:
    run(engine, "shop")
    run(engine, "evil")
    with lab(tmp_path) as gateways:
        first = serve(gateways, engine, workers)
        assert served(first) == "shop"
        engine.remove_container("shop")
        wait_for(lambda: served(first) == "404", first)
        assert first.logged("TBL004")
        stop(first)

        second = serve(gateways, engine, workers)
        assert served(second) == "404"
        assert second.logged("1 names have owners, read from")
        run(engine, "shop")
        wait_for(lambda: served(second) == "shop", second)
        code, data = second.ask(f"/-/explain?url=http://{HOST}/")
        assert (code, data["owner"]) == (200, "container shop")
        assert any("refused: " in reason and "evil" in reason for reason in list(data["reasons"]))  # type: ignore[call-overload]
        engine.remove_container("shop")
        wait_for(lambda: served(second) == "404", second)

        # The operator gives the name to who asks for it.
        state = str(gateways.path / "state")
        listed = json.loads(meshlib_command("owners", "--state", state, "--json").stdout)["owners"]
        assert [(item["name"], item["owner"]) for item in listed] == [(HOST, "container shop")]
        assert "container shop" in meshlib_command("owners", "--state", state).stdout
        done = meshlib_command("owners", "--state", state, "release", HOST)
        assert (done.returncode, done.stderr) == (0, "")
        second.process.send_signal(signal.SIGHUP)
        wait_for(lambda: served(second) == "evil", second)
        wait_for(lambda: not StateDirectory(state).released(), second)
        stop(second)
        third = serve(gateways, engine, workers)
        assert served(third) == "evil"
        stop(third)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_engine_that_is_away_is_served_from_disk_until_it_is_back(
    tmp_path: Path, engine: FakeEngine, workers: str
) -> None:
    run(engine, "shop")
    with lab(tmp_path) as gateways:
        first = serve(gateways, engine, workers)
        assert served(first) == "shop"
        stop(first)
        engine.stop()
        second = serve(gateways, engine, workers, first_snapshot="100ms")
        assert served(second) == "shop"
        (provider,) = status_of(second)["providers"]
        assert second.logged(f"{provider['name']}: serving its routes from before the last stop"), (
            second.log
        )
        code, ready = second.ask("/-/ready")
        assert (code, ready["ready"], ready["from_disk"]) == (200, True, [provider["name"]])
        assert provider["from_disk"] is True
        with engine.lock:
            engine.containers.clear()
        engine.start()
        wait_for(lambda: served(second) == "404", second)
        assert "from_disk" not in second.ask("/-/ready")[1]
        stop(second)


def test_the_last_good_route_of_a_wrong_label_outlives_a_restart_and_is_marked(
    tmp_path: Path, engine: FakeEngine
) -> None:
    run(engine, "shop")
    with lab(tmp_path) as gateways:
        first = serve(gateways, engine, "1")
        assert (served(first), status_of(first)["snapshot"]["degraded_routes"]) == ("shop", 0)
        engine.remove_container("shop")
        wrong = {LABEL: f"external_route=http://{HOST},redirect=nowhere"}
        engine.add_container("shop", wrong, {"front": "172.20.0.2"})
        wait_for(lambda: status_of(first)["snapshot"]["degraded_routes"] == 1, first)
        assert served(first) == "shop"
        stop(first)

        second = serve(gateways, engine, "1")
        assert served(second) == "shop"
        routes: list[dict[str, object]] = second.ask("/-/routes")[1]["routes"]  # type: ignore[assignment]
        assert [route["degraded"] for route in routes] == [True]
        explained = second.ask(f"/-/explain?url=http://{HOST}/")[1]
        assert (explained["decision"], explained["degraded"]) == ("redirect", True)
        assert any("is kept as a label had it that is wrong now" in r for r in explained["reasons"])  # type: ignore[attr-defined]
        # A look at the labels from beside the gateway says the same.
        state = {"MESHLIB_STATE": str(gateways.path / "state")}
        shown = meshlib_command("routes", "--docker", engine.url, **state).stdout
        assert "last good version: its label is wrong now" in shown
        run(engine, "shop")
        wait_for(lambda: status_of(second)["snapshot"]["degraded_routes"] == 0, second)
        stop(second)


def test_a_broken_state_is_kept_aside_and_said(tmp_path: Path, engine: FakeEngine) -> None:
    run(engine, "shop")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FILE).write_bytes(b'{"format": "mesh')
    with lab(tmp_path) as gateways:
        running = serve(gateways, engine, "1")
        assert served(running) == "shop"
        assert running.logged(
            "state.json is not a state of meshlib: Input data was truncated; it is kept as"
        )
        wait_for(lambda: (tmp_path / "state" / FILE).exists(), running)
        assert (tmp_path / "state" / f"{FILE}.broken").read_bytes() == b'{"format": "mesh'
        stop(running)


# `meshlib`, whose default directory is another one than this machine's own, which may be there or
# not.
ELSEWHERE = """
from functools import partial
from meshlib_adapters import gateway as wiring
from meshlib_adapters.cli import main as command
wiring.find_directory = partial(wiring.find_directory, default={default!r})
command.main()
"""


def test_without_a_place_it_says_so_once(tmp_path: Path, engine: FakeEngine) -> None:
    run(engine, "shop")
    default = tmp_path / "default"
    with lab(tmp_path) as gateways:
        gateways.program = ("-c", ELSEWHERE.format(default=str(default)))
        running = gateways.serve("--docker", engine.url, "--workers", "1")
        said = [item for item in running.log if "not known after a restart" in str(item["message"])]
        assert [item["level"] for item in said] == ["warning"]
        assert served(running) == "shop"
        silent = gateways.serve("--docker", engine.url, "--workers", "1", MESHLIB_STATE="off")
        assert not silent.logged("not known after a restart")
        default.mkdir()
        kept = gateways.serve("--docker", engine.url, "--workers", "1")
        assert not kept.logged("not known after a restart")
        wait_for(lambda: (default / FILE).exists(), kept)


def test_a_disk_that_takes_nothing_does_not_stop_the_gateway(
    tmp_path: Path, engine: FakeEngine
) -> None:
    run(engine, "shop")
    # What is written first is a directory: no right of root helps against that.
    (tmp_path / "state" / f".{FILE}.new").mkdir(parents=True)
    with lab(tmp_path) as gateways:
        running = serve(gateways, engine, "1")
        wait_for(lambda: running.logged("cannot be written: "), running)
        assert served(running) == "shop"
        (tmp_path / "state" / f".{FILE}.new").rmdir()
        run(engine, "other")
        wait_for(lambda: running.logged("is written again"), running)
        stop(running)


class Gateway:
    """What a gateway knows and keeps, without the gateway."""

    def __init__(self, path: Path) -> None:
        self.mesh = Mesh(rules=OwnershipRules(keep=0))
        self.keeper = StateKeeper(self.mesh, StateDirectory(path), ["p"])
        asyncio.run(self.keeper.load())

    def serve(self, *hosts: str) -> None:
        routes = tuple(
            Route(
                HostPath(host),
                RedirectRule("https://x.example", 302),
                service="shop",
                label="l",
                schema="hrm",
            )
            for host in hosts
        )
        self.mesh.publish(
            "p",
            Snapshot.of([Contribution("p/shop", "shop", 1, routes, owner="stack shop")]),
            now=1.0,
        )
        self.mesh.confirm()
        self.keeper.finish()


def kept(path: Path) -> list[str]:
    found = StateDirectory(path).peek()
    assert found.complaints == []
    return sorted(tenure.name for tenure in found.tenures)


def test_two_gateways_that_share_a_directory_lose_no_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = Gateway(tmp_path), Gateway(tmp_path)
    one.serve("a", "b")
    assert "another gateway" not in caplog.text
    two.serve("c")
    assert kept(tmp_path) == ["a", "b", "c"]
    (said,) = [
        record.getMessage() for record in caplog.records if "another gateway" in record.getMessage()
    ]
    assert said.startswith(f"{tmp_path / FILE} is also written by another gateway: ")
    assert said.endswith("give each a directory of its own (state), or end one")
    one.serve("a", "d")
    assert kept(tmp_path) == ["a", "c", "d"]
    # What one has given up is forgotten by the other as soon as it hears of it.
    two.serve("c", "e")
    one.serve("a")
    assert kept(tmp_path) == ["a", "c", "e"]
    assert (
        len([record for record in caplog.records if "another gateway" in record.getMessage()]) == 2
    )
    assert [tenure.name for tenure in Gateway(tmp_path).mesh.tenures] == ["a", "c", "e"]


def test_a_name_that_is_released_is_not_kept_for_another_gateway(tmp_path: Path) -> None:
    one, two = Gateway(tmp_path), Gateway(tmp_path)
    one.serve("a")
    two.serve("b")
    StateDirectory(tmp_path).ask_release(["a"])
    asyncio.run(two.keeper.release())
    assert kept(tmp_path) == ["b"]


def test_what_was_given_up_is_remembered_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_MAX_GONE", 3)
    one = Gateway(tmp_path)
    for number in range(10):
        one.serve(f"a{number}")
    assert list(one.keeper._gone) == ["a6", "a7", "a8"]


def test_who_ends_before_anything_is_known_forgets_no_names(tmp_path: Path) -> None:
    Gateway(tmp_path).serve("a")
    Gateway(tmp_path).keeper.finish()
    assert kept(tmp_path) == ["a"]


def test_a_directory_that_another_process_holds_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state, "_PATIENCE", 0.0)
    Gateway(tmp_path).serve("a")
    with StateDirectory(tmp_path).turn():
        held = Gateway(tmp_path)
        assert [tenure.name for tenure in held.mesh.tenures] == ["a"]
        held.serve("a", "b")
    assert (
        f"{tmp_path / FILE} cannot be written: {tmp_path / '.lock'} is locked by another process"
        in caplog.text
    )
    held.serve("a", "b", "c")
    assert kept(tmp_path) == ["a", "b", "c"]


def test_where_the_state_is(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert find_directory("off", {"STATE_DIRECTORY": str(here)}) is None
    found = find_directory(str(here), {"STATE_DIRECTORY": str(there)})
    assert found is not None
    assert (found.path, here.stat().st_mode & 0o777, there.exists()) == (here, 0o700, False)
    found = find_directory("", {"STATE_DIRECTORY": f"{there}:/other"})
    assert found is not None
    assert found.path == there
    assert find_directory("", {}, str(tmp_path / "none")) is None
    found = find_directory("", {}, str(tmp_path))
    assert found is not None
    assert found.path == tmp_path
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"state: .*file cannot be made: File exists"):
        find_directory(str(tmp_path / "file"), {})
    looked = existing_directory("", {"STATE_DIRECTORY": str(there)})
    assert looked is not None
    assert looked.path == there
    assert existing_directory("off", {}) is None
    assert existing_directory(str(tmp_path / "none"), {}) is None


def test_owners_without_a_state_or_of_no_name(tmp_path: Path) -> None:
    done = meshlib_command("owners", "--state", str(tmp_path / "none"))
    assert (done.returncode, done.stderr) == (
        2,
        "meshlib: state: no gateway keeps its state here (name its directory: --state DIR)\n",
    )
    assert meshlib_command("owners", "--state", str(tmp_path)).stdout == "No name has an owner.\n"
    for name, said in (
        ("shop", "shop has no owner"),
        ("a b", "is not a name"),
        ("tcp://:1", "tcp://:1 has no owner"),
        ("*", "* has no owner"),
    ):
        done = meshlib_command("owners", "--state", str(tmp_path), "release", name)
        assert done.returncode == 2
        assert said in done.stderr
    assert os.listdir(tmp_path) == []


def test_help_of_release_needs_no_state(tmp_path: Path) -> None:
    done = meshlib_command("owners", "--state", str(tmp_path / "none"), "release", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Release names" in done.stdout


def test_a_look_without_a_gateway_knows_what_is_recorded(
    tmp_path: Path, engine: FakeEngine
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / FILE).write_text(
        json.dumps(
            {
                "format": "meshlib state",
                "version": 1,
                "tenures": [[HOST, "service shop", 5, 0, []]],
                "snapshots": {},
            }
        )
    )
    run(engine, "evil")
    done: subprocess.CompletedProcess[str] = meshlib_command(
        "routes", "--docker", engine.url, "--json", MESHLIB_STATE=str(state)
    )
    data = json.loads(done.stdout)
    assert ([item["code"] for item in data["diagnostics"]], data["routes"]) == (["TBL004"], [])
