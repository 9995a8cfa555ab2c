"""Connections of the scripted engine: its responses and its faults on the wire."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest

from meshlib_adapters.testing import FakeEngine, Fault


class Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as engine:
        yield engine


@pytest.fixture
def connection(engine: FakeEngine) -> Iterator[Connection]:
    connection = Connection(str(engine.path))
    yield connection
    connection.close()


def get(connection: Connection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def test_objects_as_json_with_and_without_a_version(connection: Connection) -> None:
    status, body = get(connection, "/v1.45/networks?a=b")
    assert (status, json.loads(body)[0]["Name"]) == (200, "ingress")
    assert get(connection, "/networks") == (status, body)


def test_a_status_with_its_message(engine: FakeEngine, connection: Connection) -> None:
    engine.fault("/tasks", Fault(status=500, body=b"no", times=1))
    assert get(connection, "/tasks") == (500, b'{"message": "no"}')
    assert get(connection, "/tasks") == (200, b"[]")


def test_another_body(engine: FakeEngine, connection: Connection) -> None:
    engine.fault("/tasks", Fault(body=b"nonsense"))
    assert get(connection, "/tasks") == (200, b"nonsense")


def test_a_slow_one(engine: FakeEngine, connection: Connection) -> None:
    engine.fault("/tasks", Fault(delay=0.05))
    began = time.monotonic()
    assert get(connection, "/tasks") == (200, b"[]")
    assert time.monotonic() - began >= 0.05


def test_a_cut_one(engine: FakeEngine, connection: Connection) -> None:
    engine.fault("/networks", Fault(cut=5))
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(connection, "/networks")
    assert len(caught.value.partial) == 5


def test_one_that_comes_byte_by_byte(engine: FakeEngine, connection: Connection) -> None:
    engine.fault("/tasks", Fault(trickle=True, delay=0.01))
    assert get(connection, "/tasks") == (200, b"[]")


def test_one_that_hangs_until_it_is_lifted(engine: FakeEngine, connection: Connection) -> None:
    engine.fault("/tasks", Fault(hang=True))
    connection.request("GET", "/tasks")
    while not engine.count("/tasks"):
        time.sleep(0.005)
    engine.lift("/tasks")
    assert connection.getresponse().read() == b"[]"


def test_events_are_a_stream(engine: FakeEngine, connection: Connection) -> None:
    connection.request("GET", "/events")
    response = connection.getresponse()
    while not engine.subscribers:
        time.sleep(0.005)
    engine.deaf = True
    engine.emit("service", "lost")
    engine.deaf = False
    engine.emit("service", "update", "s1", name="shop")
    event = json.loads(response.readline())
    assert (event["Action"], event["Actor"]) == (
        "update",
        {"ID": "s1", "Attributes": {"name": "shop"}},
    )
    engine.end_events()
    assert response.read() == b""


def test_a_stream_of_events_may_be_cut(engine: FakeEngine, connection: Connection) -> None:
    connection.request("GET", "/events")
    response = connection.getresponse()
    while not engine.subscribers:
        time.sleep(0.005)
    engine.end_events(cut=True)
    with pytest.raises(http.client.IncompleteRead):
        response.read()


def test_a_client_of_events_that_leaves_is_forgotten(
    engine: FakeEngine, connection: Connection
) -> None:
    connection.request("GET", "/events")
    response = connection.getresponse()
    while not engine.subscribers:
        time.sleep(0.005)
    response.close()
    connection.close()
    end = time.monotonic() + 10
    while engine.subscribers:
        assert time.monotonic() < end
        time.sleep(0.005)
