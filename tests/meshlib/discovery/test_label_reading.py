from __future__ import annotations

from collections.abc import Mapping

from meshlib.discovery.label_reading import Labelled, LabelReadings, Reading
from meshlib.discovery.limits import DiscoveryLimits
from meshlib.labels.hrm import LABEL
from meshlib.labels.limits import LabelLimits
from meshlib.labels.result import InternalPort, PublishedPort


def labels(count: int, port: str = ",internal_port=80") -> dict[str, str]:
    return {f"{LABEL}.{n:03}": f"external_route=http://a{n:03}{port}" for n in range(count)}


def look(
    services: list[Labelled],
    before: Mapping[str, Reading] | None = None,
    limits: DiscoveryLimits | None = None,
) -> tuple[int, dict[str, Reading]]:
    readings = LabelReadings(services, limits or DiscoveryLimits(), before or {})
    found = {service.key: readings.read(service) for service in services}
    return readings.fresh, found


def test_what_is_as_it_was_is_not_read_again() -> None:
    a, b = (
        Labelled("a", 1, "shop", labels(2, "")),
        Labelled("b", 2, "api", labels(1) | {"other": "x" * 1000}),
    )
    fresh, first = look([a, b])
    assert (fresh, [first[key].size for key in "ab"], [first[key].text for key in "ab"]) == (
        2,
        [108, 71],
        [None, None],
    )
    fresh, second = look([b._replace(labels=dict(b.labels)), a], first)
    assert fresh == 0
    assert second["a"] is first["a"]
    fresh, third = look([a._replace(ports=(PublishedPort(8080),)), b], second)
    assert (fresh, third["b"] is first["b"]) == (1, True)
    assert [route.action for route in third["a"].result.routes] == [InternalPort(8080)] * 2
    assert look([a, b._replace(labels=labels(1))], third)[0] == 2


def test_each_service_is_read_within_its_limits() -> None:
    _, found = look(
        [Labelled("a", 1, "shop", labels(9))], limits=DiscoveryLimits(labels=LabelLimits(labels=4))
    )
    assert len(found["a"].result.routes) == 4
    assert found["a"].result.diagnostics[0].code == "HRM022"


def test_of_too_much_text_each_has_its_part_and_a_change_of_the_part_is_a_new_reading() -> None:
    fat, slim = Labelled("a", 1, "fat", labels(100)), Labelled("b", 2, "slim", labels(2))
    limits = DiscoveryLimits(label_text=1000)
    _, found = look([fat, slim], limits=limits)
    assert (found["b"].text, len(found["b"].result.routes)) == (None, 2)
    assert found["a"].text == 1000 - found["b"].size
    assert 0 < len(found["a"].result.routes) < 20
    fresh, again = look([fat], found, limits)
    assert (fresh, again["a"].text, again["a"].size) == (1, 1000, found["a"].size)
