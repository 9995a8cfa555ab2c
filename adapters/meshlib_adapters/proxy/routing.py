"""`Routing`: the way that a request took, for whoever has its scope or environ."""

from __future__ import annotations

from meshlib.decision import Forward
from meshlib.hook_values import Response
from meshlib.model import Endpoint, Route, Upstream
from meshlib_adapters.proxy.awaited import AwaitedExchange
from meshlib_adapters.proxy.outcomes import Outcome

__all__ = ["Routing"]


class Routing:
    """The way that a request took; `scope["meshlib"]` and `environ["meshlib"]` of each that the
    mesh serves, while those of the application have none. For logs: nothing that is done to it has
    an effect.

    `decision` is there first (a hook's `Response` may take its place); `endpoint` and `tries`
    follow while endpoints are asked, and are final when the response is complete.
    """

    __slots__ = ("_endpoint", "_exchange", "_tries", "decision")

    def __init__(self, decision: Forward | Outcome, exchange: AwaitedExchange) -> None:
        self.decision = decision
        self._exchange: AwaitedExchange | None = exchange
        self._endpoint: Endpoint | None = None
        self._tries = 0

    def __repr__(self) -> str:
        return f"<Routing {self.decision!r} {self.endpoint!r} {self.tries}>"

    @property
    def route(self) -> Route | None:
        """The route that matched; None where none did."""
        decision = self.decision
        return None if isinstance(decision, Response) else decision.route

    @property
    def upstream(self) -> Upstream | None:
        """The upstream that the request is for; None where it is not forwarded."""
        decision = self.decision
        return decision.upstream if isinstance(decision, Forward) else None

    @property
    def endpoint(self) -> Endpoint | None:
        """The endpoint that was asked last; None while none was."""
        exchange = self._exchange
        return self._endpoint if exchange is None else exchange.endpoint

    @property
    def tries(self) -> int:
        """The number of endpoints that were asked."""
        exchange = self._exchange
        return self._tries if exchange is None else exchange.tries

    def conclude(self) -> None:
        """Keep what is known; the exchange is over, and may be another request's from now on."""
        exchange = self._exchange
        if exchange is not None:
            self._endpoint = exchange.endpoint
            self._tries = exchange.tries
            self._exchange = None
