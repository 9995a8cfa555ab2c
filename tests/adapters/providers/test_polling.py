"""A provider that reads its source again and again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from meshlib.errors import ConfigurationError
from meshlib.model import Snapshot
from meshlib.provided import provided_snapshot
from meshlib_adapters.providers.polling import PollingProvider


class Scripted(PollingProvider):
    """Reads what `script` says, one after the other, the last one for ever."""

    interval = 0.005

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.threads: list[threading.Thread] = []
        self.reads = 0

    def read(self) -> Any:
        self.threads.append(threading.current_thread())
        self.reads += 1
        found = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return found() if callable(found) else found


class Awaited(Scripted):
    async def read(self) -> Any:
        return super().read()


def hosts(snapshot: Snapshot) -> list[str]:
    return [route.host for route in snapshot.routes]


def run(steps: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await steps()

    asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def fails() -> Any:
    raise OSError("the database is away")


def stops() -> Any:
    raise StopIteration


def rows() -> Iterator[tuple[str, str]]:
    yield "a", "h:1"


@pytest.mark.parametrize("kind", [Scripted, Awaited])
def test_each_change_is_a_snapshot(kind: type[Scripted]) -> None:
    async def steps() -> None:
        provider = kind([("a", "h:1")], {"a": ["h:1"]}, rows, fails, {"b": ["h:1"]})
        assert provider.name == kind.__name__
        assert repr(provider) == f"<{kind.__name__} {kind.__name__} starting>"
        snapshots = provider.snapshots()
        assert hosts(await anext(snapshots)) == ["a"]
        assert provider.status.state == "ok"
        assert hosts(await anext(snapshots)) == ["b"]
        assert provider.reads == 5
        assert {one is threading.main_thread() for one in provider.threads} == {kind is Awaited}

    run(steps)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (fails, "read() failed: OSError: the database is away"),
        (stops, "read() failed: RuntimeError: StopIteration()"),
        (5, "read() failed: ConfigurationError: Scripted: 5 (int) has no routes"),
    ],
)
def test_the_last_good_snapshot_stands(wrong: Any, reason: str) -> None:
    async def steps() -> None:
        provider = Scripted({"a": ["h:1"]}, wrong)
        snapshots = provider.snapshots()
        await anext(snapshots)
        success = provider.status.last_success
        waiting = asyncio.ensure_future(anext(snapshots))
        await until(lambda: provider.status.state == "degraded")
        assert provider.status.reason.startswith(reason)
        assert provider.status.last_success == success
        provider.script = [{"b": ["h:1"]}]
        assert hosts(await waiting) == ["b"]
        assert provider.status.state == "ok"

    run(steps)


def test_pauses_grow_up_to_the_interval() -> None:
    async def steps() -> None:
        provider = Scripted(fails)
        provider.interval = 60.0
        waiting = asyncio.ensure_future(anext(provider.snapshots()))
        await until(lambda: provider.reads == 1)
        provider.script = [{"a": ["h:1"]}]
        assert hosts(await waiting) == ["a"]  # a quarter of a second later

    run(steps)


def test_a_refresh_reads_at_once() -> None:
    async def steps() -> None:
        provider = Scripted({"a": ["h:1"]}, {"b": ["h:1"]})
        provider.interval = 60.0
        provider.refresh()
        snapshots = provider.snapshots()
        assert hosts(await anext(snapshots)) == ["a"]
        provider.refresh()  # nobody waits yet
        assert hosts(await anext(snapshots)) == ["b"]
        provider.script = [{"c": ["h:1"]}]
        waiting = asyncio.ensure_future(anext(snapshots))
        await asyncio.sleep(0.01)
        provider.refresh()
        assert hosts(await waiting) == ["c"]

    run(steps)


def test_a_thread_that_takes_too_long_is_waited_for() -> None:
    gate = threading.Event()

    def held() -> Any:
        assert gate.wait(10)
        return {"a": ["h:1"]}

    async def steps() -> None:
        provider = Scripted(held, {"b": ["h:1"]})
        provider.time_out = 0.02
        snapshots = provider.snapshots()
        waiting = asyncio.ensure_future(anext(snapshots))
        await until(lambda: provider.status.state == "degraded")
        assert provider.status.reason == "read() has taken longer than 0.02 s"
        await asyncio.sleep(0.05)
        assert provider.reads == 1
        gate.set()
        assert hosts(await waiting) == ["a"]
        assert hosts(await anext(snapshots)) == ["b"]

    run(steps)


def test_a_time_out_of_the_source_is_its_own() -> None:
    def too_slow() -> Any:
        raise TimeoutError("no reply")

    async def steps() -> None:
        provider = Scripted(too_slow)
        waiting = asyncio.ensure_future(anext(provider.snapshots()))
        await until(lambda: provider.status.state == "degraded")
        assert provider.status.reason == "read() failed: TimeoutError: no reply"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(steps)


def test_a_wrong_entry_has_the_route_of_before_the_start() -> None:
    async def steps() -> None:
        provider = Scripted({"a": ["h"]})
        provider.remember(provided_snapshot({"a": ["h:1"]}, "Scripted"))
        (route,) = (await anext(provider.snapshots())).routes
        assert (route.host, route.degraded) == ("a", True)

    run(steps)


def test_names() -> None:
    class Named(Scripted):
        name = "mine"

    class Further(Named):
        pass

    assert [one.name for one in (Scripted, Awaited, Named, Further)] == [
        "Scripted",
        "Awaited",
        "mine",
        "mine",
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("interval", 0), ("time_out", "5"), ("jitter", -1), ("interval", None)]
)
def test_wrong_times(name: str, value: Any) -> None:
    async def steps() -> None:
        provider = Scripted({})
        setattr(provider, name, value)
        with pytest.raises(ConfigurationError, match=name):
            await anext(provider.snapshots())

    run(steps)


def test_a_class_without_read() -> None:
    class Empty(PollingProvider):
        interval = 0.01

    async def steps() -> None:
        provider = Empty()
        waiting = asyncio.ensure_future(anext(provider.snapshots()))
        await until(lambda: provider.status.state == "degraded")
        assert "Empty has no read()" in provider.status.reason
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(steps)
