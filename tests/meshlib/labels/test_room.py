from __future__ import annotations

from meshlib.labels.diagnostics import Diagnostics
from meshlib.labels.limits import LabelLimits
from meshlib.labels.result import InternalPort, LabelRoute
from meshlib.labels.room import Room
from meshlib.model import HostPath, ListeningPort, Scheme, Severity


def route(host: str = "a", port: int | None = None) -> LabelRoute:
    match = HostPath(host) if port is None else ListeningPort(Scheme.TCP, port)
    return LabelRoute(match, InternalPort(80), f"label {host}{port or ''}", "hrm")


def test_labels_are_read_while_there_is_room_for_their_number() -> None:
    diagnostics = Diagnostics("shop")
    room = Room(diagnostics, LabelLimits(labels=2))
    assert [room.for_label(name, name, "v") for name in "abcd"] == [True, True, False, False]
    assert diagnostics.failed == {"c", "d"}
    (diagnostic,) = room.exceeded
    assert (diagnostic.code, diagnostic.severity, diagnostic.service, diagnostic.label) == (
        "HRM022",
        Severity.ERROR,
        "shop",
        "c",
    )
    assert "2 routing labels" in diagnostic.message
    assert diagnostic.hint


def test_and_for_their_text_and_once_that_is_over_nothing_is_read() -> None:
    diagnostics = Diagnostics("shop")
    room = Room(diagnostics, LabelLimits(characters=10))
    assert [
        room.for_label(name, name, value)
        for name, value in (("a", "12345"), ("b", "1234567"), ("c", ""))
    ] == [True, False, False]
    assert diagnostics.failed == {"b", "c"}
    assert [diagnostic.code for diagnostic in room.exceeded] == ["HRM040"]
    assert "10 characters" in room.exceeded[0].message


def test_routes_are_made_while_there_is_room_and_ports_are_some_of_them() -> None:
    diagnostics = Diagnostics("shop")
    room = Room(diagnostics, LabelLimits(routes=3, ports=1))
    made = [
        room.for_route(one)
        for one in (
            route(port=1),
            route(port=2),
            route("b"),
            route("c"),
            route("d"),
            route(port=3),
        )
    ]
    assert made == [True, False, True, True, False, False]
    assert [(d.code, d.label) for d in room.exceeded] == [
        ("HRM042", "label a2"),
        ("HRM041", "label d"),
    ]
    assert diagnostics.failed == {"label a2", "label a3", "label d"}
    assert not room.for_label("e", "e", "v")
    assert "e" in diagnostics.failed
    assert len(room.exceeded) == 2
