"""Time-outs of exchanges, and who is to blame: whoever owes the next bytes.

A front says who that is: the client (`client_owes`: more of the request, or the taking of the
response), else the endpoint.
"""

from __future__ import annotations

from meshlib.route_options import NO_OPTIONS
from meshlib_adapters.proxy.client import Phase
from meshlib_adapters.proxy.exchange import Exchange
from meshlib_adapters.proxy.exchange_state import State

__all__ = ["check_time", "end_slow", "phase_time_out", "time_out"]


def check_time(exchange: Exchange, waited: float, *, client_owes: bool) -> None:
    """Time out an exchange in which nothing has moved for `waited` seconds, if that is too long."""
    if exchange.state is State.DECIDING:  # hooks have a time-out of their own
        return
    limits = exchange.proxy.settings
    decision = exchange.decision
    own = decision.route.options if decision is not None else NO_OPTIONS
    limit: float
    if exchange.state is State.TUNNEL:
        limit = own.tunnel_idle or limits.tunnel_idle
    elif exchange.responding or client_owes or exchange.front.body_pending:
        limit = own.between_bytes or limits.between_bytes
    else:
        limit = own.response_head or limits.response_head
    if waited >= limit:
        time_out(exchange, client_owes=client_owes)


def phase_time_out(exchange: Exchange, phase: Phase, limit: float) -> float:
    """The time-out of a client's `phase` whose setting is `limit`: that of the route under way, if
    it has its own.
    """
    decision = exchange.decision
    if decision is None:
        return limit
    own = decision.route.options
    if phase is Phase.RESPONSE:
        return own.response_head or limit
    if phase is Phase.TUNNEL:
        return own.tunnel_idle or limit
    return (own.between_bytes or limit) if phase in (Phase.BODY, Phase.STREAM) else limit


def time_out(exchange: Exchange, *, client_owes: bool) -> None:
    """End an exchange in which nothing moves any more."""
    if exchange.state is State.DECIDING:
        return
    if exchange.state is State.TUNNEL:
        exchange.front.cut("tunnel_idle", at_once=True)
    elif exchange.responding:
        exchange.front.cut("between_bytes_timeout", "C" if client_owes else "S", at_once=True)
    elif client_owes:
        exchange.request.cancel()
        exchange.local_error(408, "body_timeout")
    else:
        exchange.request.time_out()


def end_slow(exchange: Exchange, reason: str) -> None:
    """End the exchange of a client that is too slow: "body_too_slow" or "reader_too_slow"."""
    if exchange.responding:
        exchange.front.cut(reason, "C", at_once=True)
    else:
        exchange.request.cancel()
        exchange.local_error(408, reason)
