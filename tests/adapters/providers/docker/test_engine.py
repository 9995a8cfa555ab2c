"""Reading an engine that responds with everything but what it should."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshlib_adapters.providers.docker.address import EngineAddress
from meshlib_adapters.providers.docker.engine import PATHS, Engine, EngineError
from meshlib_adapters.testing import FakeEngine, Fault


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine(tmp_path / "docker.sock") as engine:
        yield engine


@pytest.fixture
def engine(fake: FakeEngine) -> Iterator[Engine]:
    made = Engine(EngineAddress(fake.url), timeout=0.5, limit=100_000)
    yield made
    made.abort()


def test_lists_are_read_with_the_version_of_the_engine(fake: FakeEngine, engine: Engine) -> None:
    network = fake.add_network("front")
    fake.add_service("shop", {"a": "b"}, [network])
    (service,) = engine.get_list("/services")
    assert isinstance(service, dict)
    assert service["Spec"]["Labels"] == {"a": "b"}
    engine.get_list("/tasks")
    assert fake.calls == {"/version": 1, "/services": 1, "/tasks": 1}


def test_only_what_is_in_the_list_can_be_asked(engine: Engine) -> None:
    assert (
        frozenset({"/version", "/events", "/containers/json", "/services", "/tasks", "/networks"})
        == PATHS
    )  # as docs/threats.md says
    with pytest.raises(ValueError, match="not one of the paths"):
        engine.get("/secrets")


_FAULTS = {
    "HTTP 500": (Fault(status=500, body=b"boom\x1b[31m\nline"), r"HTTP 500 \(boom\?\[31m\?line\)"),
    "HTTP 404": (Fault(status=404), "HTTP 404"),
    "not a manager": (
        Fault(status=503, body=b"This node is not a swarm manager."),
        "connect to a manager",
    ),
    "filtered": (Fault(status=403), "must allow GET /services"),
    "a redirect": (Fault(status=302), "HTTP 302"),
    "garbage": (Fault(body=b"\x00\xff garbage"), "not JSON"),
    "half a document": (Fault(body=b'[{"ID": "x"'), "not JSON"),
    "deep nesting": (Fault(body=b"[" * 50_000), "not JSON"),
    "too much": (
        Fault(body=b"[" + b"1," * 60_000 + b"1]"),
        (
            r"/services returned 120003 bytes, more than the limit of 100000.*raise "
            r"discovery.answer_size .*labels"
        ),
    ),
    "far too much": (
        Fault(body=b"[" + b"1," * 600_000 + b"1]"),
        "/services returned more than 4[0-9]{5} bytes, more than the limit of 100000",
    ),
    "an object": (Fault(body=b'{"message": "hello"}'), "returned dict instead of a list"),
    "cut off": (Fault(cut=1), "incomplete|IncompleteRead|closed"),
    "nothing at all": (Fault(hang=True), "no response for 0.5 s"),
}


@pytest.mark.parametrize("name", _FAULTS)
def test_a_fault_is_one_kind_of_error_with_a_reason_and_passes(
    name: str, fake: FakeEngine, engine: Engine
) -> None:
    fault, reason = _FAULTS[name]
    fake.fault("/services", fault)
    with pytest.raises(EngineError, match=reason):
        engine.get_list("/services")
    fake.lift()
    assert engine.get_list("/services") == []


def test_null_is_an_empty_list(fake: FakeEngine, engine: Engine) -> None:
    fake.fault("/tasks", Fault(body=b"null"))
    assert engine.get_list("/tasks") == []


@pytest.mark.parametrize(
    "version",
    [{}, [], {"ApiVersion": 1.45}, {"ApiVersion": "1.45/../x"}, {"ApiVersion": "."}, None],
)
def test_an_engine_must_name_its_version(fake: FakeEngine, engine: Engine, version: object) -> None:
    fake.version = version
    with pytest.raises(EngineError, match="names no API version"):
        engine.get_list("/services")


def test_the_socket_may_go_and_come_back(fake: FakeEngine, engine: Engine) -> None:
    engine.get_list("/services")
    fake.stop()
    with pytest.raises(EngineError, match=r"no such socket|Remote end closed|Connection"):
        engine.get_list("/services")
    with pytest.raises(EngineError, match="no such socket"):
        engine.get_list("/services")
    fake.start()
    assert engine.get_list("/services") == []


def test_a_socket_nobody_listens_on(tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with pytest.raises(EngineError, match="connection refused"):
        Engine(EngineAddress(f"unix://{path}")).get("/services")


def _in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


@pytest.mark.parametrize(
    "fault", [Fault(hang=True), Fault(body=b"[" + b" " * 1000, trickle=True, delay=0.05)]
)
def test_abort_ends_a_call_at_any_stage(fake: FakeEngine, fault: Fault) -> None:
    engine = Engine(EngineAddress(fake.url), timeout=60)
    engine.get_list("/tasks")
    fake.fault("/services", fault)
    thread, errors = _in_thread(lambda: engine.get_list("/services"))
    while not fake.count("/services"):
        threading.Event().wait(0.01)
    engine.abort()
    thread.join(10)
    assert not thread.is_alive()
    assert len(errors) == 1
    with pytest.raises(EngineError, match="aborted"):
        engine.get("/tasks")


def test_events_are_seen_from_the_moment_the_subscription_stands(
    fake: FakeEngine, engine: Engine
) -> None:
    with engine.events({"type": ["service"]}, silence=5) as events:
        fake.emit("service", "update", "s1", name="shop")
        fake.emit_raw(b"not json\n[1]\n\x1e" + b'{"Type": "ser')
        fake.emit_raw(b'vice", "Action": "remove"}\n')
        first, second = itertools.islice(events, 2)
    assert first["Action"] == "update"
    assert second == {"Type": "service", "Action": "remove"}


def _read_all(engine: Engine, start: Callable[[], None], silence: float) -> None:
    with engine.events({}, silence=silence) as events:
        start()
        list(events)


def test_the_end_of_a_stream_is_an_error(fake: FakeEngine, engine: Engine) -> None:
    with pytest.raises(EngineError, match="stream of events ended"):
        _read_all(engine, fake.end_events, 5)


def test_the_silence_of_a_stream_is_an_error(engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"no response for 0\.2 s"):
        _read_all(engine, lambda: None, 0.2)


def test_an_endless_event_is_cut(fake: FakeEngine, engine: Engine) -> None:
    def send() -> None:
        for _ in range(20):
            fake.emit_raw(b"x" * 65_000)

    with pytest.raises(EngineError, match="an event of more than"):
        _read_all(engine, send, 5)


def test_a_refused_subscription(fake: FakeEngine, engine: Engine) -> None:
    fake.fault("/events", Fault(status=403))
    with pytest.raises(EngineError, match="must allow GET /events"), engine.events({}, silence=5):
        pass


def test_the_fake_itself_notices_what_a_gateway_must_not_do(tmp_path: Path) -> None:
    def misbehave() -> None:
        with FakeEngine(tmp_path / "docker.sock") as fake, socket.socket(socket.AF_UNIX) as client:
            client.connect(str(fake.path))
            client.sendall(
                b"POST /v1.45/services/create HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            )
            assert client.recv(100)

    with pytest.raises(AssertionError, match="POST /services/create"):
        misbehave()
