"""Date and Server: never two of them, where it can be seen what the server adds."""

from __future__ import annotations

from typing import Any

import pytest
from hypercorn.config import Config

from meshlib_adapters.asgi.server_fields import added_by_server


class Uvicorn:
    def __init__(self, names: list[bytes]) -> None:
        self.default_headers = [(name, b"x") for name in names]

    async def receive(self) -> Any: ...

    async def send(self, message: Any) -> None: ...


class UvicornWebSocket:
    def __init__(self) -> None:
        self.server_state = Uvicorn([b"server"])

    async def receive(self) -> Any: ...


class Hypercorn:
    def __init__(self, **options: bool) -> None:
        self.config = Config()
        for name, value in options.items():
            setattr(self.config, name, value)

    async def send(self, message: Any) -> None: ...


async def wrapped(*_: Any) -> Any: ...


@pytest.mark.parametrize(
    ("names", "added"),
    [
        ([b"server", b"date"], {b"date", b"server"}),
        ([b"date"], {b"date"}),
        ([], set()),
        ([b"x-own", b"server"], {b"server"}),
    ],
)
def test_uvicorn_says_what_it_adds(names: list[bytes], added: set[bytes]) -> None:
    server = Uvicorn(names)
    for _ in range(2):  # the second time, the list is known
        assert added_by_server(server.receive, wrapped) == added


def test_a_websocket_of_uvicorns_too() -> None:
    assert added_by_server(UvicornWebSocket().receive, wrapped) == {b"server"}


@pytest.mark.parametrize("date", [False, True])
@pytest.mark.parametrize("server", [False, True])
def test_hypercorn_says_what_it_adds(date: bool, server: bool) -> None:
    stream = Hypercorn(include_date_header=date, include_server_header=server)
    expected = {name for name, on in ((b"date", date), (b"server", server)) if on}
    assert added_by_server(wrapped, stream.send) == expected


def test_of_another_server_nothing_is_known() -> None:
    assert added_by_server(wrapped, wrapped) == frozenset()
