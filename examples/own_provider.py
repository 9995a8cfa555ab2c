"""A gateway whose routes are rows of a database, read every five seconds.

    sqlite3 routes.db 'CREATE TABLE routes (host, address, weight, sticky)'
    sqlite3 routes.db "INSERT INTO routes VALUES ('shop.example.com', '10.0.0.5:8080', 1, 'SID')"
    python examples/own_provider.py routes.db

While the database cannot be read, the last routes serve and `/-/status` says why. Needs the extra
`gateway`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys

from meshlib_adapters import Gateway, PollingProvider


class DatabaseProvider(PollingProvider):
    interval = 5.0

    def __init__(self, path: str) -> None:
        self.name = f"database:{path}"
        self.path = path

    def read(self) -> list[sqlite3.Row]:
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            return database.execute("SELECT host, address, weight, sticky FROM routes").fetchall()


if __name__ == "__main__":
    Gateway(providers=[DatabaseProvider(sys.argv[1])], http="127.0.0.1:8080").run()
