"""Rolling updates: the states that an engine shows step by step, and what a resolver makes of
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from meshlib.discovery.engine.options import ResolveOptions
from meshlib.discovery.engine.swarm import is_settled, parse_swarm
from meshlib.discovery.engine.swarm_resolver import SwarmResolver
from meshlib_adapters.testing import FakeEngine, UpdateStep

LABELS = {"com.docker.ucp.mesh.http.80": "external_route=http://a.example.com,internal_port=80"}
OLD, NEW = ["127.0.0.2", "127.0.0.3"], ["127.0.0.4", "127.0.0.5"]


class Seen:
    """The endpoints behind each step, and the events that came with it."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.events: list[str] = []
        self.resolver = SwarmResolver(options=ResolveOptions(loopback_for_tests=True))

    def endpoints(self) -> tuple[dict[str, str], bool]:
        engine = self.engine
        records = parse_swarm(
            *(engine.response(path) for path in ("/services", "/tasks", "/networks"))
        )
        (route,) = self.resolver.resolve(records).routes
        assert route.upstream is not None
        return {e.host: str(e.state) for e in route.upstream.endpoints}, is_settled(records)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    engine = FakeEngine("/nowhere")
    engine.service("shop", labels=LABELS, tasks=OLD)
    return engine


def watched(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, order: Literal["stop-first", "start-first"]
) -> Iterator[tuple[UpdateStep, dict[str, str], bool, list[str]]]:
    seen = Seen(engine)
    events: list[str] = []

    def note(kind: str, action: str, identity: str = "", **attributes: str) -> None:
        events.append(f"{kind} {action}")

    monkeypatch.setattr(engine, "emit", note)
    for step in engine.rolling_update("shop", NEW, order=order):
        yield step, *seen.endpoints(), events[:]
        events.clear()


def test_one_stops_before_the_next_starts(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(watched(engine, monkeypatch, "stop-first"))
    assert [(row[0], row[1]) for row in rows[:7]] == [
        ((0, "updating"), {"127.0.0.2": "ready", "127.0.0.3": "ready"}),
        ((1, "preparing"), {"127.0.0.2": "ready", "127.0.0.3": "ready"}),
        ((1, "replaced"), {"127.0.0.2": "draining", "127.0.0.3": "ready"}),
        ((1, "stopped"), {"127.0.0.3": "ready", "127.0.0.4": "starting"}),
        ((1, "starting"), {"127.0.0.3": "ready", "127.0.0.4": "starting"}),
        ((1, "running"), {"127.0.0.3": "ready", "127.0.0.4": "ready"}),
        ((2, "preparing"), {"127.0.0.3": "ready", "127.0.0.4": "ready"}),
    ]
    assert rows[-1][0] == (0, "completed")
    assert rows[-1][1] == {"127.0.0.4": "ready", "127.0.0.5": "ready"}
    assert [row[2] for row in rows] == [False] * (len(rows) - 1) + [True]  # settled at the end
    assert [row[3] for row in rows[:6]] == [
        ["service update"],
        [],
        ["container kill"],
        ["container die"],
        [],
        ["container start"],
    ]


def test_one_starts_before_the_last_stops(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(watched(engine, monkeypatch, "start-first"))
    assert [row[0][1] for row in rows[1:6]] == [
        "preparing",
        "starting",
        "running",
        "replaced",
        "stopped",
    ]
    assert all(list(row[1].values()).count("ready") >= 2 for row in rows)
    assert rows[-1][1] == {"127.0.0.4": "ready", "127.0.0.5": "ready"}


def test_mistakes(engine: FakeEngine) -> None:
    with pytest.raises(ValueError, match="shop has 2 running tasks; 1 are to come"):
        engine.rolling_update("shop", NEW[:1])
    with pytest.raises(ValueError, match="listens on another"):
        engine.rolling_update("shop", ["127.0.0.4:81", "127.0.0.5:81"])
