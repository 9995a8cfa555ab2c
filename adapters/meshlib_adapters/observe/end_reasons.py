"""End reasons of requests: a reason, and two letters for who ended the request and in which phase
(after HAProxy's termination state).

First letter: C the client, S the upstream, P this gateway, - nobody (a normal end). Second letter:
R the request's head, B its body, Q choosing an endpoint or waiting in the queue, C connecting, H
waiting for the response's head, D the response's body, T a tunnel, - none of them.
docs/access-log.md lists every reason. Only a request with another end than the normal one gets an
`EndReason` of its own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["NORMAL", "EndReason", "end_reason"]


class EndReason(NamedTuple):
    """Reason ("" for none), termination code, and seconds that connecting took, when the request
    needed a new connection (else -1).
    """

    reason: str
    termination: str
    connect_seconds: float = -1.0


NORMAL: Final = EndReason("", "--")

# Reasons that determine the whole code.
_WHOLE: Final = {
    "redirect": "--",
    "no_route": "PQ",
    "misdirected": "PQ",
    "client_certificate_required": "PQ",
    "no_endpoint": "PQ",
    "queue_full": "PQ",
    "hook": "PQ",
    "hook_failed": "PQ",
    "hook_timeout": "PQ",
    "unknown_hook": "PQ",
    "queue_timeout": "PQ",
    "connect_failed": "SC",
    "connect_refused": "SC",
    "connect_timeout": "SC",
    "tls_failed": "SC",
    "head_timeout": "CR",
    "body_timeout": "CB",
    "body_too_slow": "CB",
    "reader_too_slow": "CD",
    "body_too_large": "PB",
    "bad_authority": "PR",
    "ambiguous_path": "PR",
    "loop": "PR",
    "redirect_loop": "PQ",
    "proxy_timeout": "CR",
}

# First letter for reasons that may come in any phase; every other reason is the gateway's own.
_WHO: Final = {
    "client_closed": "C",
    "upstream_closed": "S",
    "upstream_goaway": "S",
    "upstream_refused": "S",
    "upstream_reset": "S",
    "upstream_vanished": "S",
    "upstream_timeout": "S",
    "bad_response": "S",
    "response_too_large": "S",
}


def end_reason(
    reason: str, phase: str, *, who: str = "", connect_seconds: float = -1.0
) -> EndReason:
    """The end reason for `reason` in the phase with that letter; `who` is the first letter where
    the reason alone does not determine it.
    """
    termination = _WHOLE.get(reason) or (who or _WHO.get(reason, "P")) + phase
    return EndReason(reason, termination, connect_seconds)
