"""The example of a provider, with a database."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from examples.own_provider import DatabaseProvider
from meshlib.mesh import Mesh


def test_rows_become_routes_and_stay_when_the_database_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE routes (host, address, weight, sticky)")
        database.executemany(
            "INSERT INTO routes VALUES (?, ?, ?, ?)",
            [
                ("shop.example.com", "10.0.0.5:8080", 3, "SID"),
                ("shop.example.com", "10.0.0.6:8080", 1, None),
                ("soon.example.com", None, None, None),
            ],
        )
        database.commit()

    async def follow() -> None:
        mesh = Mesh()
        provider = DatabaseProvider(str(path))
        provider.interval = 0.01
        snapshots = provider.snapshots()
        mesh.publish(provider.name, await anext(snapshots))
        shop, soon = mesh.routes
        assert shop.upstream is not None
        assert [one.weight for one in shop.upstream.endpoints] == [3, 1]
        assert (shop.options.sticky_cookie, soon.name) == ("SID", "http://soon.example.com")
        path.unlink()
        following = asyncio.ensure_future(anext(snapshots))
        while provider.status.state == "ok":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert "unable to open database file" in provider.status.reason
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(follow())
