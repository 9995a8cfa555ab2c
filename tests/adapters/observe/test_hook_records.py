"""Hooks of `on_record`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import meshlib
from meshlib.hooks import Hooks
from meshlib_adapters.observe.end_reasons import EndReason
from meshlib_adapters.observe.hook_records import HookRecords, hooked_end
from meshlib_adapters.observe.records import ConnectionRecord
from meshlib_adapters.proxy.proxy import Proxy
from tests.support.backend import OK, Backend, responding
from tests.support.client import get
from tests.support.http_fixtures import Start, backend, loop_factory, stack, start

__all__ = ["backend", "loop_factory", "stack", "start"]

CONNECTION = ConnectionRecord(
    "192.0.2.1", "sni://a.test", "10.0.0.5:443", "closed", 517, 2000, 1.5, "a.test"
)


def test_requests(start: Start, backend: Callable[..., Backend]) -> None:
    upstream = backend(responding(OK))
    site = start(upstream)
    seen: list[meshlib.Record] = []
    site.call(lambda: site.mesh.on_record(seen.append))
    client = site.client()
    assert client.ask(get("/a?b=c", "shop.test")).status == 200
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    client.read_rest()
    site.wait(lambda: len(seen) == 2)
    good, bad = seen
    assert (good.protocol, good.client, good.host, good.method, good.target) == (
        "HTTP/1.1",
        "127.0.0.1",
        "shop.test",
        "GET",
        "/a?b=c",
    )
    assert (good.status, good.outcome, good.tries, good.received) == (200, "", 1, -1)
    assert (good.endpoint, good.endpoint_id) == (
        f"127.0.0.1:{upstream.port}",
        f"any.{upstream.port}",
    )
    assert (good.route, good.service) == ("http://", "any")
    assert 0 < good.first_byte_seconds <= good.seconds
    assert good.sent == len(OK)
    assert (bad.protocol, bad.host, bad.route, bad.endpoint, bad.outcome) == (
        "",
        "",
        "",
        "",
        "missing_host",
    )
    assert len(site.log(2)) == 2  # the lines are what they were


def test_one_that_raises_and_one_that_waits(
    start: Start, backend: Callable[..., Backend], caplog: pytest.LogCaptureFixture
) -> None:
    site = start(backend(responding(OK)))
    seen: list[str] = []

    def broken(record: meshlib.Record) -> None:
        raise KeyError("mine")

    async def slow(record: meshlib.Record) -> None:
        await asyncio.sleep(0)
        seen.append(record.host)

    site.call(lambda: (site.mesh.on_record(broken), site.mesh.on_record(slow)))
    assert site.client().ask(get("/", "shop.test")).status == 200
    site.wait(lambda: seen == ["shop.test"])
    assert "the hook broken failed: KeyError: 'mine'" in caplog.text


def test_no_access_log_is_needed() -> None:
    async def main() -> list[meshlib.Record]:
        mesh = meshlib.Mesh({})
        proxy = Proxy(mesh)
        assert proxy.access_log is None
        seen: list[meshlib.Record] = []
        mesh.on_record(seen.append)
        proxy.record_unread("192.0.2.1", 0.0, EndReason("bad_request_line", "CR"))
        proxy.sweep(0.0)
        assert [record.outcome for record in seen] == ["bad_request_line"]
        mesh.on_record(lambda record: None)  # is told of the next ones
        proxy.record_unread("192.0.2.2", 0.0, EndReason("bad_request_line", "CR"))
        proxy.close()  # the last ones are told, too
        return seen

    assert [record.client for record in asyncio.run(main())] == ["192.0.2.1", "192.0.2.2"]


def test_connections() -> None:
    hooks = Hooks()
    failures: list[str] = []

    def fail(name: str, error: Exception, where: str) -> None:
        failures.append(f"{name}: {error}")

    assert hooked_end(hooks, fail) is None
    seen: list[meshlib.Record] = []
    hooks.on_record(seen.append)
    end = hooked_end(hooks, fail)
    assert end is not None
    end(CONNECTION)
    end(CONNECTION._replace(outcome="terminated"))  # its requests have records
    end(CONNECTION._replace(server_name=None, route="tcp://:5432", endpoint=""))
    assert [record.protocol for record in seen] == ["TLS", "TCP"]
    assert seen[0] == meshlib.Record(
        "TLS",
        "192.0.2.1",
        "a.test",
        "closed",
        1.5,
        route="sni://a.test",
        endpoint="10.0.0.5:443",
        tries=1,
        sent=2000,
        received=517,
    )
    assert (seen[1].host, seen[1].tries) == ("", 0)
    assert "on_record" in repr(HookRecords(hooks, fail))
    assert failures == []
