"""The view of a request that a strategy of the program's own gets, and the time that its response
takes.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from meshlib.balancing import StrategyRequest, cookie_values
from meshlib.http1 import BodyKind
from meshlib.messages import RequestHead
from meshlib_adapters.proxy.response_receiver import OnResponse, ResponseReceiver
from meshlib_adapters.upstream.choice.own_choice import Latencies
from meshlib_adapters.upstream.messages import ForwardRequest, ForwardResponse
from meshlib_adapters.upstream.pool import EndpointPool
from meshlib_adapters.upstream.state import UpstreamState

__all__ = ["ResponseTimer", "TimedRequest", "strategy_request", "timed"]


class TimedRequest(Protocol):
    """A request under way, the endpoint asked last, and how many were asked."""

    message: ForwardRequest
    pool: EndpointPool | None
    tries: int


class ResponseTimer:
    """Stands before `on_response` from the moment that an endpoint is picked for `request`, and
    tells `latencies` how long the response took, unless more than one endpoint was asked. It says
    nothing of later requests.
    """

    __slots__ = ("_began", "_head", "_latencies", "_on_response", "_request")

    def __init__(
        self, latencies: Latencies, request: TimedRequest, on_response: OnResponse
    ) -> None:
        self._began = monotonic()
        self._latencies = latencies
        self._request = request
        self._head = request.message.head
        self._on_response = on_response

    def on_response(
        self, response: ForwardResponse, kind: BodyKind, pieces: list[bytes], done: bool
    ) -> None:
        """The final response begins."""
        request = self._request
        pool = request.pool
        if pool is not None and request.tries == 1 and request.message.head is self._head:
            self._latencies.add(pool, monotonic() - self._began)
        self._on_response(response, kind, pieces, done)


def timed(
    state: UpstreamState | None, request: TimedRequest, receiver: ResponseReceiver, *, small: bool
) -> OnResponse:
    """The receiver's `on_response`, behind a timer where an own strategy of `state` looks at that.
    Only whole and `small` requests are timed: others take as long as their clients do.
    """
    if state is None or state.own is None or not small:
        return receiver.on_response
    return ResponseTimer(state.latencies, request, receiver.on_response).on_response


def strategy_request(head: RequestHead, receiver: ResponseReceiver) -> StrategyRequest:
    """The view of a request that a strategy of the program's own gets."""
    client, decision = receiver.addresses()[0], receiver.decision
    cookie = decision.route.options.sticky_cookie if decision is not None else None
    sticky: bytes | None = None
    if cookie is not None and b"cookie" in head.fields.names:
        sticky = next(iter(cookie_values(head.fields.get_all(b"cookie"), cookie.encode())), None)
    return StrategyRequest(head, client.host if client is not None else "", sticky)
