"""Rolling updates as a Swarm makes them: one task after the other, and the states that its engine
shows meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from meshlib_adapters.testing.objects import Place

__all__ = ["UpdateStep", "rolling_update"]


class UpdateStep(NamedTuple):
    """A step that has just been made. `slot` is that of the task (0: the service's own), `state`
    says what is new:

    "updating" and "completed": of the service. "replaced": the old task is told to end, and serves
    those that it has; "stopped": it has ended. "preparing", "starting", "running": of the new task.
    """

    slot: int
    state: str


class _Engine(Protocol):
    @property
    def lock(self) -> contextlib.AbstractContextManager[Any]: ...

    def emit(self, kind: str, action: str, identity: str = "", **attributes: str) -> None: ...


def rolling_update(
    engine: _Engine,
    service: dict[str, Any],
    old: Sequence[dict[str, Any]],
    places: Sequence[Place],
    new_task: Callable[[dict[str, Any], int, Place], dict[str, Any]],
    order: str,
) -> Iterator[UpdateStep]:
    """Replace each `old` task of `service` by one at the place of the same number; see
    `FakeEngine.rolling_update`. As with a real engine, there is an event for the service and for
    containers that begin or end, and none for a task.
    """
    name = service["Spec"]["Name"]

    def tell(action: str, task: dict[str, Any]) -> None:
        engine.emit("container", action, f"of-{task['ID']}", name=f"{name}.{task['Slot']}")

    def set_state(task: dict[str, Any], state: str, desired: str = "") -> None:
        with engine.lock:
            task["Status"]["State"] = state
            task["DesiredState"] = desired or task["DesiredState"]

    def service_state(state: str) -> UpdateStep:
        with engine.lock:
            service["UpdateStatus"] = {"State": state}
        engine.emit("service", "update", service["ID"], name=name)
        return UpdateStep(0, state)

    yield service_state("updating")
    for before, place in zip(old, places, strict=True):
        slot = before["Slot"]
        if order == "stop-first":
            with engine.lock:
                task = new_task(service, slot, place)
                set_state(task, "preparing", "ready")
            yield UpdateStep(slot, "preparing")
            set_state(before, "running", "shutdown")
            tell("kill", before)
            yield UpdateStep(slot, "replaced")
            set_state(before, "shutdown")
            set_state(task, "ready", "running")
            tell("die", before)
            yield UpdateStep(slot, "stopped")
            set_state(task, "starting")
            yield UpdateStep(slot, "starting")
            set_state(task, "running")
            tell("start", task)
            yield UpdateStep(slot, "running")
        else:
            with engine.lock:
                task = new_task(service, slot, place)
            yield UpdateStep(slot, "preparing")
            set_state(task, "starting")
            yield UpdateStep(slot, "starting")
            set_state(task, "running")
            tell("start", task)
            yield UpdateStep(slot, "running")
            set_state(before, "running", "shutdown")
            tell("kill", before)
            yield UpdateStep(slot, "replaced")
            set_state(before, "shutdown")
            tell("die", before)
            yield UpdateStep(slot, "stopped")
    yield service_state("completed")
