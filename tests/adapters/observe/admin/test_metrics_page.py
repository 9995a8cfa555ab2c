"""The page `/metrics` itself: who may ask for it, what it tells of the table, and that writing it
holds up nobody.
"""

from __future__ import annotations

from collections.abc import Collection

import anyio
import anyio.lowlevel
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.observe.admin.app import create_admin
from meshlib_adapters.observe.admin.metrics_page import MetricsPage
from meshlib_adapters.observe.metrics.changes import Change, Histogram
from meshlib_adapters.observe.metrics.exposition import CONTENT_TYPE
from meshlib_adapters.observe.metrics.totals import Totals
from meshlib_adapters.providers.provider import ProviderStatus
from tests.support.admin_view import View


def ask(
    page: MetricsPage | None,
    *,
    method: str = "GET",
    host: str = "localhost",
    path: str = "/metrics",
) -> httpx.Response:
    async def story() -> httpx.Response:
        app = create_admin(View(), metrics=page.render if page is not None else None)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://gateway"
        ) as client:
            return await client.request(method, path, headers={"Host": host})

    return anyio.run(story)


def numbers(text: str) -> dict[tuple[str, ...], float]:
    return {
        (s.name, *s.labels.values()): s.value
        for f in text_string_to_metric_families(text)
        for s in f.samples
    }


def snapshot(count: int) -> Snapshot:
    def contribution(number: int) -> Contribution:
        upstream = Upstream(
            UpstreamKey(f"u{number}", 80), (Endpoint(f"u{number}.1", "10.0.0.5", 80 + number),)
        )
        route = Route(
            HostPath(f"h{number}.example.com"),
            ForwardTo(upstream),
            service=f"s{number}",
            label="l",
            schema="hrm",
        )
        return Contribution(f"p/{number}", f"s{number}", 0, (route,))

    return Snapshot.of([contribution(number) for number in range(count)])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_page_is_read_only(method: str) -> None:
    assert ask(MetricsPage(View(), Totals(), None), method=method).status_code == 405


def test_the_page_is_guarded_as_all_of_the_admin_side() -> None:
    page = MetricsPage(View(), Totals(), None)
    assert ask(page, host="evil.example.com").status_code == 421
    head = ask(page, method="HEAD")
    assert (head.status_code, head.content, head.headers["content-type"]) == (
        200,
        b"",
        CONTENT_TYPE,
    )
    response = ask(page)
    assert (response.headers["content-type"], response.headers["cache-control"]) == (
        CONTENT_TYPE,
        "no-store",
    )
    assert "/metrics" in ask(page, path="/").json()["paths"]


def test_without_numbers_there_is_no_page() -> None:
    assert ask(None).status_code == 404
    assert "/metrics" not in ask(None, path="/").json()["paths"]


def test_the_page_tells_of_the_table_and_its_providers() -> None:
    view = View()
    view.not_ready = "stopping"
    view.provider.status = ProviderStatus("degraded", None, "gone")
    page = MetricsPage(view, Totals(), None)
    found = numbers(ask(page).text)
    assert found["meshlib_ready",] == 0
    assert (found["meshlib_routes", "http"], found["meshlib_routes", "sni"]) == (2, 0)
    assert (found["meshlib_diagnostics", "error"], found["meshlib_diagnostics", "warning"]) == (
        1,
        0,
    )
    assert (found["meshlib_upstreams",], found["meshlib_endpoints", "ready"]) == (1, 1)
    assert found["meshlib_provider_up", "static:services.yml"] == 0
    assert ("meshlib_provider_last_success_age_seconds", "static:services.yml") not in found
    assert ("meshlib_workers", "ready") not in found
    page.reloads += 1
    view.mesh.publish("p", snapshot(3))
    found = numbers(ask(page).text)
    assert (
        found["meshlib_routes", "http"],
        found["meshlib_diagnostics", "error"],
        found["meshlib_reloads_total",],
    ) == (3, 0, 1)


def test_others_have_their_turn_while_a_large_page_is_written() -> None:
    async def story() -> tuple[int, int]:
        view = View()
        view.mesh.publish("p", snapshot(5000))
        totals = Totals()
        for number in range(1000):
            totals.add(
                [
                    Change(
                        "meshlib_http_first_byte_seconds",
                        (f"r{number}",),
                        Histogram(1.0, (1,) * 15),
                    )
                ],
                "main",
            )
        page = MetricsPage(view, totals, None)
        turns = size = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(others)
            async for piece in page.render():
                assert piece.count(b"\n") < 600
                size += len(piece)
            group.cancel_scope.cancel()
        return turns, size

    turns, size = anyio.run(story)
    assert size > 1_000_000
    assert turns >= 5000 // 500 + 17_000 // 600


class Noting(Totals):
    """Notes what it is told to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[str, frozenset[str]]] = []

    def retain(self, label: str, present: Collection[str], now: float) -> None:
        self.kept.append((label, frozenset(present)))
        super().retain(label, present, now)


def test_what_is_in_the_table_is_kept_and_a_change_is_noted() -> None:
    async def story() -> None:
        view = View()
        totals = Noting()
        page = MetricsPage(view, totals, None)
        async with anyio.create_task_group() as group:
            group.start_soon(page.tend, 0.01)
            with anyio.fail_after(30):
                while not totals.kept:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                view.mesh.publish("p", snapshot(1))
                wanted = {
                    "route": {"http://h0.example.com"},
                    "upstream": {"u0:80"},
                    "endpoint": {"10.0.0.5:80"},
                }
                while dict(totals.kept[-3:]) != wanted:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    anyio.run(story)
