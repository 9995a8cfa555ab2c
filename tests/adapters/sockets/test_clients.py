"""Clients of a listener: counted while they are there, and drained to the last."""

from __future__ import annotations

import asyncio

from meshlib_adapters.sockets.clients import Clients
from meshlib_adapters.sockets.limits import ClientLimits
from tests.support.tcp_lab import Run


class Connection:
    """A client that ends when it is told to."""

    def __init__(self, clients: Clients[str]) -> None:
        self.clients = clients

    def idle_since(self) -> float | None:
        return None

    def give_up(self) -> None:
        raise AssertionError("it is not idle")

    def abort(self, outcome: str) -> None:
        self.clients.ended(self, outcome)


def test_those_that_are_served_and_those_that_are_not(run: Run) -> None:
    async def scenario() -> None:
        records: list[str] = []
        left: list[int] = []
        clients: Clients[str] = Clients(
            asyncio.get_running_loop(),
            ClientLimits(2, 1),
            "tunnels",
            "silent",
            on_end=records.append,
            on_leave=lambda: left.append(len(clients)),
        )
        one, other = Connection(clients), Connection(clients)
        assert clients.add(one, "10.0.0.1") == ""
        assert clients.add(other, "10.0.0.1") == "client_limit"
        assert clients.add(other, "10.0.0.1", exempt=True) == ""
        assert clients.add(Connection(clients), "10.0.0.2") == "limit"
        clients.refuse("hello_cut_off")
        assert clients.counters == {"accepted": 2, "tunnels": 0, "silent": 0, "refused": 3}
        assert clients.refusals == {"client_limit": 1, "limit": 1, "hello_cut_off": 1}
        assert repr(clients) == "<Clients 2 present, 3 refused>"
        clients.ended(one, "closed")
        assert (len(clients), len(clients.limits)) == (1, 1)
        assert (records, left) == (["closed"], [1])
        clients.unheard(other)
        assert (len(clients), len(clients.limits), clients.counters["silent"]) == (0, 0, 1)
        assert (records, left) == (["closed"], [1, 0])

    run(scenario())


def test_counters_have_the_names_of_the_listener(run: Run) -> None:
    async def scenario() -> None:
        limits = ClientLimits(1)
        loop = asyncio.get_running_loop()
        clients: Clients[str] = Clients(loop, limits, accepted="flows", refused="dropped")
        clients.add(Connection(clients), "10.0.0.1")
        clients.refuse("closing")
        assert clients.counters == {"flows": 1, "dropped": 1}
        clients.abort()
        assert len(clients) == 0

    run(scenario())


def test_drain_waits_until_all_are_gone(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        clients: Clients[str] = Clients(loop, ClientLimits(9))
        assert await clients.drain(30) == 0, "nobody is there"
        one, other = Connection(clients), Connection(clients)
        for connection in (one, other):
            clients.add(connection, "10.0.0.1")
        draining = loop.create_task(clients.drain(30))
        await asyncio.sleep(0)
        clients.ended(one, "closed")
        await asyncio.sleep(0)
        assert not draining.done()
        clients.ended(other, "closed")
        assert await draining == 0

    run(scenario())


def test_who_does_not_leave_is_ended(run: Run) -> None:
    async def scenario() -> None:
        records: list[str] = []
        clients: Clients[str] = Clients(
            asyncio.get_running_loop(), ClientLimits(9), on_end=records.append
        )
        for _ in range(3):
            clients.add(Connection(clients), "10.0.0.1")
        assert await clients.drain(0.01) == 3
        assert records == ["drained"] * 3

    run(scenario())
