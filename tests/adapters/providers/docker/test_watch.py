"""Following a scripted engine through everything that can happen to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from meshlib.model import Contribution, Snapshot
from meshlib_adapters.providers.docker.address import EngineAddress
from meshlib_adapters.providers.docker.engine import Engine
from meshlib_adapters.providers.docker.schedule import Timing
from meshlib_adapters.providers.docker.watch import EngineWatch, Poll
from meshlib_adapters.testing import FakeEngine, Fault

# The resync is out of reach, unless a test is about it: what is seen is seen by events.
EVENTS_ONLY = Timing(resync=60, timeout=1, deadline=3, linger=0.2)
_ACTIONS = {
    "service": frozenset({"create", "update", "remove"}),
    "container": frozenset({"start", "health_status"}),
}
QUICK = Timing(resync=0.1, timeout=0.3, deadline=1, linger=0)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    before = threading.active_count()
    with FakeEngine(tmp_path / "docker.sock") as engine:
        yield engine
    end = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before, [thread.name for thread in threading.enumerate()]


def _poll(engine: Engine, _last: Snapshot | None) -> Poll:
    services = engine.get_list("/services")
    tasks = engine.get_list("/tasks")
    names = sorted(service["Spec"]["Name"] for service in services if isinstance(service, dict))
    running = sum(task["Status"]["State"] == "running" for task in tasks if isinstance(task, dict))
    snapshot = Snapshot.of(Contribution(key=name, service=f"{name}:{running}") for name in names)
    return Poll(snapshot, settled=running == len(tasks))


class Following:
    """What a watch has yielded so far, from a task that reads it."""

    def __init__(self, watch: EngineWatch) -> None:
        self.watch = watch
        self.seen: list[list[str]] = []

    async def read(self) -> None:
        async for snapshot in self.watch.snapshots():
            self.seen.append([contribution.service for contribution in snapshot.contributions])

    async def until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 20
        while not true():
            assert time.monotonic() < end, f"{what}: {self.seen[-5:]} {self.watch.status}"
            await asyncio.sleep(0.01)

    async def sees(self, *services: str) -> None:
        await self.until(
            lambda: bool(self.seen) and self.seen[-1] == list(services), f"waiting for {services}"
        )

    async def is_degraded(self, *words: str) -> None:
        await self.until(
            lambda: (
                self.watch.status.state == "degraded"
                and all(word in self.watch.status.reason for word in words)
            ),
            f"waiting for trouble with {words}",
        )

    async def is_ok(self) -> None:
        await self.until(lambda: self.watch.status.state == "ok", "waiting for recovery")


@contextlib.asynccontextmanager
async def _following(
    fake: FakeEngine, timing: Timing, poll: Callable[[Engine, Snapshot | None], Poll] = _poll
) -> AsyncIterator[Following]:
    watch = EngineWatch("fake", EngineAddress(fake.url), poll, actions=_ACTIONS, timing=timing)
    following = Following(watch)
    task = asyncio.create_task(following.read())
    try:
        yield following
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _run(
    fake: FakeEngine, timing: Timing, scenario: Callable[[Following], Awaitable[None]]
) -> None:
    async def run() -> None:
        async with _following(fake, timing) as following:
            await scenario(following)

    asyncio.run(run())


def test_changes_are_seen_by_their_events(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.sees()
        await following.is_ok()
        network = fake.add_network("front")
        fake.add_service("shop", {}, [network])
        await following.sees("shop:1")
        fake.scale("shop", 3)
        await following.sees("shop:3")
        fake.remove_service("shop")
        await following.sees()

    _run(fake, EVENTS_ONLY, scenario)


def test_events_and_polls_are_told_to_who_asks_for_it(
    fake: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        fake.add_service("shop", {"password": "s3cret"}, [])
        await following.sees("shop:1")

    with caplog.at_level(logging.DEBUG, "meshlib.providers"):
        _run(fake, EVENTS_ONLY, scenario)
    assert re.search(r"\d events, 0 lost: service create", caplog.text)
    assert re.search(r"fake: polled in \d+\.\d{3} s: changed", caplog.text)
    assert "s3cret" not in caplog.text


def test_tasks_are_followed_until_they_run_though_there_is_no_event(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        fake.add_service("shop", {}, [], replicas=2, running=False)
        await following.sees("shop:0")
        await asyncio.sleep(0.5)
        fake.run_tasks("shop")
        await following.sees("shop:2")

    _run(fake, EVENTS_ONLY, scenario)


def test_lost_events_cost_time_and_nothing_else(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        fake.deaf = True
        fake.add_service("shop", {}, [])
        await following.sees("shop:1")

    _run(fake, QUICK, scenario)


def test_a_silent_stream_is_subscribed_to_again(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        await following.until(lambda: fake.count("/events") >= 3, "subscriptions")
        assert fake.subscribers <= 2

    _run(fake, Timing(resync=60, silence=0.2), scenario)


def test_a_quiet_engine_is_no_trouble_and_loses_no_event(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        started, states = time.monotonic(), set()
        while fake.count("/events") < 5:
            states.add(following.watch.status.state)
            # With pauses that grow the fifth comes after 4.2 s.
            assert time.monotonic() < started + 4, (fake.count("/events"), following.watch.status)
            await asyncio.sleep(0.01)
        polls = fake.count("/services")
        fake.add_service("shop", {}, [])
        changed = time.monotonic()
        await following.sees("shop:1")
        assert time.monotonic() < changed + 2
        assert states == {"ok"}
        # One for each new stream, and those of the beginning: no following where nothing happens.
        assert polls <= 5 + 6

    _run(fake, Timing(resync=60, silence=0.1, linger=0), scenario)


def test_a_stream_is_renewed_from_where_it_ended(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        fake.emit_raw(
            b'{"Type": "service", "Action": "update", "timeNano": 1488362400000000007}\n'
            b'{"Type": "service", "Action": "update", "timeNano": "garbage"}\n'
            b'{"Type": "service", "Action": "update", "timeNano": 99999999999999999999}\n'
        )
        await following.until(lambda: fake.count("/events") >= 3, "subscriptions")
        assert [query.get("since") for query in fake.queries["/events"]][:3] == [
            None,
            "1488362400.000000008",
            "1488362400.000000008",
        ]

    _run(fake, Timing(resync=60, silence=0.2), scenario)


def test_a_stream_that_ends_at_once_is_trouble_until_one_stands(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        fake.fault("/events", Fault(body=b""))
        await following.is_degraded("no events", "stream of events ended")
        ended = time.monotonic() + 0.6
        while time.monotonic() < ended:
            assert following.watch.status.state == "degraded"
            await asyncio.sleep(0.01)
        assert fake.count("/events") <= 4
        fake.lift()
        await following.is_ok()

    _run(fake, QUICK, scenario)


def test_what_happens_while_no_stream_stands_is_seen_when_it_does(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        fake.fault("/events", Fault(status=500))
        fake.end_events()
        await following.until(lambda: fake.count("/events") >= 2, "a refused subscription")
        fake.deaf = True
        fake.add_service("shop", {}, [])
        fake.deaf = False
        fake.lift()
        await following.sees("shop:1")

    _run(fake, EVENTS_ONLY, scenario)


def test_without_events_it_is_degraded_and_still_right(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        fake.fault("/events", Fault(status=403))
        await following.is_degraded("no events", "must allow GET /events")
        assert not following.watch.status.cut_off  # changes are seen, only later
        fake.add_service("shop", {}, [])
        await following.sees("shop:1")
        fake.lift()
        await following.is_ok()

    _run(fake, QUICK, scenario)


_FAULTS = {
    "500": (Fault(status=500), "HTTP 500"),
    "503": (Fault(status=503), "not a swarm manager"),
    "garbage": (Fault(body=b"<html>"), "not JSON"),
    "half": (Fault(cut=1), ""),
    "hang": (Fault(hang=True), "no response"),
    "trickle": (Fault(body=b"[" + b" " * 1000, trickle=True, delay=0.2), "longer than 1 s"),
}


@pytest.mark.parametrize("name", _FAULTS)
def test_the_last_snapshot_stands_while_an_engine_misbehaves(name: str, fake: FakeEngine) -> None:
    fault, reason = _FAULTS[name]

    async def scenario(following: Following) -> None:
        fake.add_service("shop", {}, [])
        await following.sees("shop:1")
        success = following.watch.status.last_success
        fake.fault("/services", fault)
        await following.is_degraded(reason)
        assert following.watch.status.cut_off
        assert following.seen[-1] == ["shop:1"]
        assert following.watch.status.last_success is not None
        assert success is not None
        assert following.watch.status.last_success >= success
        fake.deaf = True
        fake.scale("shop", 2)
        fake.lift()
        await following.sees("shop:2")
        await following.is_ok()

    _run(fake, QUICK, scenario)


def test_an_engine_that_was_never_there_is_waited_for(fake: FakeEngine) -> None:
    fake.stop()

    async def scenario(following: Following) -> None:
        await following.is_degraded("no such socket")
        assert following.seen == []
        fake.start()
        await following.sees()
        await following.is_ok()

    _run(fake, EVENTS_ONLY, scenario)


def test_an_engine_comes_back_on_a_new_socket(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        fake.add_service("shop", {}, [])
        await following.sees("shop:1")
        for replicas in (2, 3):
            fake.stop()
            await following.is_degraded()
            fake.scale("shop", replicas)
            fake.start()
            await following.sees(f"shop:{replicas}")
            await following.is_ok()
        assert ["shop:1"] in following.seen
        assert [] not in following.seen[1:]

    _run(fake, EVENTS_ONLY, scenario)


def test_a_storm_of_events_is_a_few_polls(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        fake.add_service("shop", {}, [])
        await following.sees("shop:1")
        before, started = fake.count("/services"), time.monotonic()
        for number in range(10_000):
            fake.emit("service", "update", f"s{number}")
        fake.scale("shop", 2)
        await following.sees("shop:2")
        await asyncio.sleep(0.3)
        seconds = time.monotonic() - started
        assert fake.count("/services") - before <= 3 + seconds / EVENTS_ONLY.gap

    _run(fake, EVENTS_ONLY, scenario)


def test_a_slow_list_with_an_event_during_it_is_read_again(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        await asyncio.sleep(0.4)
        fake.fault("/tasks", Fault(delay=0.5, times=1))
        fake.emit("service", "update")
        count = fake.count("/tasks")
        await following.until(lambda: fake.count("/tasks") > count, "the slow list")
        fake.add_service("shop", {}, [])  # after the services were listed
        await following.sees("shop:1")

    _run(fake, EVENTS_ONLY, scenario)


def test_events_of_no_interest_are_no_reason_to_poll(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        await asyncio.sleep(0.5)
        before = fake.count("/services")
        for kind, action in (
            ("container", "exec_create: /bin/true"),
            ("container", "update"),
            ("secret", "create"),
        ):
            fake.emit(kind, action)
        fake.emit_raw(b'{"Type": 1, "Action": []}\n{}\n')
        await asyncio.sleep(0.2)
        assert fake.count("/services") == before
        fake.emit("container", "health_status: healthy")
        await following.until(lambda: fake.count("/services") > before, "a poll")

    _run(fake, EVENTS_ONLY, scenario)


def test_a_defect_of_ours_costs_a_poll_and_no_route(
    fake: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def poll(engine: Engine, last: Snapshot | None) -> Poll:
        if fake.services[0]["Spec"]["Labels"]:
            raise KeyError("Spec")
        return _poll(engine, last)

    async def run() -> None:
        fake.add_service("shop", {}, [])
        async with _following(fake, QUICK, poll) as following:
            await following.sees("shop:1")
            fake.update_labels("shop", {"odd": "label"})
            await following.is_degraded("could not be interpreted", "KeyError")
            assert following.seen[-1] == ["shop:1"]
            fake.update_labels("shop", {})
            await following.is_ok()

    asyncio.run(run())
    assert "could not be interpreted" in caplog.text


def test_ten_megabytes_are_read(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        with fake.lock:
            for number in range(2000):
                fake.add_service(f"s{number:04}", {"text": "x" * 5000}, [])
        await following.until(
            lambda: bool(following.seen) and len(following.seen[-1]) == 2000, "all services"
        )

    _run(fake, EVENTS_ONLY, scenario)


def test_the_number_of_calls_does_not_depend_on_the_number_of_services(fake: FakeEngine) -> None:
    async def scenario(following: Following) -> None:
        await following.is_ok()
        await asyncio.sleep(0.5)
        with fake.lock:
            fake.deaf = True
            for number in range(200):
                fake.add_service(f"s{number:04}", {}, [], replicas=3)
            fake.deaf = False
        before = dict(fake.calls)
        fake.emit("service", "update")
        await following.until(lambda: len(following.seen[-1]) == 200, "all services")
        for path in ("/services", "/tasks"):
            assert fake.count(path) - before[path] <= 2
        assert fake.count("/version") == before["/version"]

    _run(fake, EVENTS_ONLY, scenario)


@pytest.mark.parametrize("path", ["", "/services", "/events", "/version"])
def test_cancelling_ends_everything_at_once_whatever_hangs(path: str, fake: FakeEngine) -> None:
    async def run() -> None:
        if path:
            fake.fault(path, Fault(hang=True))
        async with _following(fake, Timing(timeout=300, deadline=300)) as following:
            if path:
                await following.until(lambda: fake.count(path) > 0, "the call")
            else:
                await following.is_ok()

    asyncio.run(run())
    _own_threads_end()


def test_closing_the_iterator_ends_its_threads(fake: FakeEngine) -> None:
    async def run() -> None:
        watch = EngineWatch(
            "fake", EngineAddress(fake.url), _poll, actions=_ACTIONS, timing=EVENTS_ONLY
        )
        iterator = watch.snapshots()
        await anext(iterator)
        assert fake.subscribers == 1
        await iterator.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())
    _own_threads_end()


def _own_threads_end() -> None:
    end = time.monotonic() + 10
    while left := [thread for thread in threading.enumerate() if thread.name.startswith("meshlib")]:
        assert time.monotonic() < end, left
        time.sleep(0.01)
