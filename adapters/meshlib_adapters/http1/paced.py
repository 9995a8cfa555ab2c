"""A client of HTTP/1 that is given up while it is idle, and ended when it is slow with a body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib_adapters.http1.response_writer import ResponseWriter
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.exchange import State
from meshlib_adapters.proxy.pace import Pace

if TYPE_CHECKING:
    from meshlib_adapters.proxy.client import ClientKeeper
    from meshlib_adapters.proxy.front import TLSFacts
    from meshlib_adapters.proxy.proxy import Proxy

__all__ = ["PacedWriter"]


class PacedWriter(ResponseWriter):
    """See the module. Bodies are judged when the keeper checks the connection, and cost
    nothing in between.
    """

    __slots__ = ("_receiving", "_said", "_taking")

    def __init__(
        self,
        proxy: Proxy,
        keeper: ClientKeeper,
        scheme: str,
        port: int,
        tls: TLSFacts | None,
    ) -> None:
        super().__init__(proxy, keeper, scheme, port, tls)
        self._receiving: Pace | None = (
            None  # of the request's body, and of what the client takes; from look to look
        )
        self._taking: Pace | None = None
        self._said = 0  # bytes of the response at the last look

    def _forget_paces(self) -> None:
        self._receiving = None
        self._taking = None

    def idle_since(self) -> float | None:
        """See `Client`; requests that wait for their turn, and responses for their round, are under
        way.
        """
        return None if self._held or self._unread else super().idle_since()

    def give_up(self) -> None:
        """See `Client`. A client that has begun a request has a record of it."""
        if self.phase is Phase.HEAD:
            exchange = self.exchange
            exchange.started = self.since
            exchange.conclude("given_up")
            exchange.end()
        self.transport.abort()

    def check_progress(self, now: float) -> None:
        """See `Client`; a body that goes on too slowly is ended, if it is the client who is
        slow.
        """
        super().check_progress(now)
        settings = self.proxy.settings
        rate, grace = settings.min_body_rate, settings.body_grace
        exchange = self.exchange
        if rate is None or exchange.state is State.TUNNEL:
            return
        responding = exchange.responding
        body = self._body
        # A client and a service that talk with each other, a message now and then, are not slow:
        # the body is no upload then.
        said, self._said = self._said, exchange.bytes_out
        talking = responding and said != exchange.bytes_out
        if (
            body is None or self.phase is not Phase.BODY or self._paused or not body.size or talking
        ):  # it may wait for our 100
            self._receiving = None
        elif self._receiving is None:
            self._receiving = Pace(body.size, now)
        elif self._receiving.too_slow(body.size, now, rate, grace, may_rest=responding):
            self._give_up_body()
            return
        taken = exchange.bytes_out - self._unsent
        if not self._unsent:  # the client waits for the service
            self._taking = None
        elif self._taking is None:
            self._taking = Pace(taken, now, self._unsent)
        elif self._taking.too_slow(taken, now, rate, grace, self._unsent):
            if exchange.head is not None:
                exchange.drop("reader_too_slow", "C")
            self._reset()

    def _give_up_body(self) -> None:
        exchange = self.exchange
        if exchange.responding:
            exchange.drop("body_too_slow", "C")
            self._reset()
        else:
            exchange.request.cancel()
            self._keep_alive = False
            exchange.local_error(408, "body_too_slow")

    def pause_request(self, paused: bool) -> None:
        """See `ResponseWriter`; whoever has to wait is not slow."""
        self._receiving = None
        super().pause_request(paused)
