"""`Clients`: those that one listener serves, be they connections or flows of datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from meshlib_adapters.sockets.limits import ClientLimits, Member

__all__ = ["Client", "Clients"]

R = TypeVar("R")


class Client(Member, Protocol):
    """A connection, or a flow of datagrams."""

    def abort(self, outcome: str) -> None:
        """End now; `Clients.ended` is called before this returns."""


def _nothing() -> None:
    pass


class Clients(Generic[R]):
    """The clients of one listener: limited, counted, refused, recorded and drained.

    `limits` may count those of other listeners, too. `add` and `refuse` raise the counters called
    `accepted` and `refused`; all `counters`, and `refusals` by reason, only grow. `on_end` gets the
    record of each client that is gone; it must not raise. `on_leave` is called after each that is
    gone, before its record is passed on.
    """

    __slots__ = (
        "_accepted",
        "_empty",
        "_loop",
        "_on_end",
        "_on_leave",
        "_present",
        "_refused",
        "counters",
        "limits",
        "refusals",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: ClientLimits,
        *counters: str,
        accepted: str = "accepted",
        refused: str = "refused",
        on_end: Callable[[R], None] | None = None,
        on_leave: Callable[[], None] = _nothing,
    ) -> None:
        self.limits = limits
        self.counters = dict.fromkeys((accepted, *counters, refused), 0)
        self.refusals: dict[str, int] = {}
        self._accepted = accepted
        self._refused = refused
        self._loop = loop
        self._on_end = on_end
        self._on_leave = on_leave
        self._present: dict[Client, None] = {}
        self._empty: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._present)

    def __repr__(self) -> str:
        return f"<Clients {len(self._present)} present, {self.counters[self._refused]} refused>"

    def add(self, client: Client, address: str, *, exempt: bool = False) -> str:
        """Count a new client of `address`; "" when it is served, else the reason it is refused for.

        `exempt` as in `ClientLimits.enter`.
        """
        reason = self.limits.enter(client, address, exempt=exempt)
        if reason:
            self.refuse(reason)
        else:
            self.counters[self._accepted] += 1
            self._present[client] = None
        return reason

    def refuse(self, reason: str) -> None:
        """Count a refusal, of whatever a client sent or of the client itself."""
        self.counters[self._refused] += 1
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def ended(self, client: Client, record: R) -> None:
        """Forget a client that is gone; this or `unheard` is to be called once by each that was
        added.
        """
        self._forget(client)
        if self._on_end is not None:
            self._on_end(record)

    def unheard(self, client: Client) -> None:
        """Forget a client that was gone before it said anything: a health check, or a scan of
        ports. It is counted as "silent", which is one of `counters`, and has no record.
        """
        self.counters["silent"] += 1
        self._forget(client)

    def _forget(self, client: Client) -> None:
        del self._present[client]
        self.limits.leave(client)
        if not self._present and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)
        self._on_leave()

    async def drain(self, seconds: float) -> int:
        """Wait at most `seconds` for all clients to end, then end the rest; returns how many."""
        if self._present:
            self._empty = self._loop.create_future()
            await asyncio.wait((self._empty,), timeout=seconds)
        left = len(self._present)
        self.abort()
        return left

    def abort(self) -> None:
        """End all clients now, as "drained"."""
        for client in list(self._present):
            client.abort("drained")
