"""What becomes of a client's request, as far as the access log wants to know it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from meshlib.http1 import RequestBody
from meshlib.messages import RequestHead
from meshlib_adapters.http1.client_socket import ClientWire
from meshlib_adapters.observe.end_reasons import NORMAL, end_reason

if TYPE_CHECKING:
    from meshlib.decision import Forward
    from meshlib_adapters.proxy.client import ClientKeeper
    from meshlib_adapters.proxy.proxy import Proxy
    from meshlib_adapters.proxy.retries import UpstreamRequest

__all__ = ["RecordedClient"]


class RecordedClient(ClientWire):
    """A client with at most one request under way: its facts are kept here until it ends, and then
    become one record.

    `head` is that request's (None: there is none). The subclass makes `_upstream_request`.
    """

    __slots__ = (
        "_body",
        "_bytes_out",
        "_decision",
        "_ending",
        "_first_byte_at",
        "_responding",
        "_started",
        "_status",
        "_tunnel",
        "_upstream_request",
        "head",
    )

    _upstream_request: UpstreamRequest

    def __init__(self, proxy: Proxy, keeper: ClientKeeper, scheme: str, port: int) -> None:
        super().__init__(proxy, keeper, scheme, port)
        self.head: RequestHead | None = None
        self._body: RequestBody | None = None  # None: the request is complete
        self._decision: Forward | None = None
        self._responding = False  # its final answer has begun
        self._tunnel = False
        self._started = 0.0
        self._first_byte_at = 0.0
        self._status = 0
        self._bytes_out = 0
        self._ending = NORMAL

    def _drop_request(self, reason: str, who: str = "") -> None:
        # Nobody will have its answer, or the rest of it.
        self._conclude(reason, who)
        self._upstream_request.cancel()
        self._log()
        self.head = None

    def _end(self, reason: str) -> None:
        self._conclude(reason)
        self._log()
        self.head = None

    def _conclude(self, reason: str, who: str = "") -> None:
        # Before anything is undone: the phase is part of what the record says.
        if self.head is None:
            phase = "R"
        elif self._tunnel:
            phase = "T"
        elif self._responding:
            phase = "D"
        else:
            phase = self._upstream_request.stage
            if phase == "H" and self._body is not None:
                phase = "B"
        self._ending = end_reason(
            reason, phase, who=who, connect_seconds=self._ending.connect_seconds
        )

    def _log(self) -> None:
        proxy = self.proxy
        proxy.requests += 1
        log = proxy.access_log
        if log is not None:
            now = monotonic()
            started = self._started
            decision = self._decision
            route = endpoint = None
            tries = 0
            first_byte = -1.0
            if decision is not None:
                route = decision.route
                pool = self._upstream_request.pool
                if pool is not None:
                    endpoint = pool.endpoint
                    tries = self._upstream_request.tries
                if self._first_byte_at >= started:
                    first_byte = self._first_byte_at - started
            # The record is made here and not by a method of the log's: a call with ten arguments
            # costs as much as all of this.
            records = log.records
            records.append(
                (
                    now + log.offset,
                    self.peer.address,
                    self.head,
                    self._status,
                    self._bytes_out,
                    route,
                    endpoint,
                    tries,
                    now - started,
                    first_byte,
                    self._ending,
                )
            )
            if len(records) >= log.BATCH:
                log.format_records()
        self._ending = NORMAL
        self._status = 0
        self._bytes_out = 0
