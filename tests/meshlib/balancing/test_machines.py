"""When a machine is doubted because several of its endpoints are silent."""

from __future__ import annotations

from meshlib.balancing import Machines, machine_of
from meshlib.model import Endpoint


def test_the_machine_of_an_endpoint_is_its_node_or_its_host() -> None:
    assert machine_of(Endpoint("a", "10.0.0.1", 80, node="n1")) == "n1"
    assert machine_of(Endpoint("a", "10.0.0.1", 80)) == "10.0.0.1"


def test_a_machine_is_doubted_when_two_of_its_endpoints_are_silent() -> None:
    machines = Machines()
    assert not machines.doubted("n1", 0.0)
    assert not machines.note_silence("n1", "a:80", 0.0)
    assert not machines.note_silence("n1", "a:80", 1.0)  # one endpoint, twice
    assert not machines.note_silence("n2", "x:80", 1.0)
    assert not machines.doubted("n1", 1.0)
    assert machines.note_silence("n1", "b:80", 2.0)
    assert not machines.note_silence("n1", "c:80", 3.0)  # that is no news
    assert machines.doubted("n1", 6.9)
    assert not machines.doubted("n1", 7.0)
    assert not machines.doubted("n2", 3.0)
    assert repr(machines) == "<Machines 2 with silent endpoints>"


def test_a_response_ends_the_doubt() -> None:
    machines = Machines()
    machines.note_silence("n1", "a:80", 0.0)
    machines.note_silence("n1", "b:80", 0.0)
    machines.note_response("n1")
    assert not machines.doubted("n1", 0.0)
    machines.note_response("n1")
    assert not machines.note_silence("n1", "a:80", 0.0)


def test_silences_long_apart_are_no_doubt() -> None:
    machines = Machines()
    machines.note_silence("n1", "a:80", 0.0)
    assert not machines.note_silence("n1", "b:80", 5.0)
    assert machines.note_silence("n1", "a:80", 6.0)


def test_no_more_than_a_thousand_machines_are_remembered() -> None:
    machines = Machines()
    for number in range(2000):
        machines.note_silence(f"n{number}", "a:80", 0.0)
    assert repr(machines) == "<Machines 1000 with silent endpoints>"
    assert machines.note_silence("n1999", "b:80", 0.0)
    assert not machines.note_silence("n0", "b:80", 0.0)
