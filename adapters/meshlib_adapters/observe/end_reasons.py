"""How a request ended: a reason, and two letters that say who ended it and in which phase (after
HAProxy's termination state).

First letter: C the client, S the upstream, P this gateway, - nobody (it ended as it should). Second
letter: R the request's head, B its body, Q choosing an endpoint or waiting for a turn, C
connecting, H waiting for the answer's head, D the answer's body, T a tunnel, - none of them.
docs/access-log.md lists every reason. Made only for requests that end in another way than most.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["NORMAL", "Ending", "end_of"]


class Ending(NamedTuple):
    """Why, who and where; and how long connecting took, when the request needed a new connection
    (else -1).
    """

    reason: str
    termination: str
    connect_seconds: float = -1.0


NORMAL: Final = Ending("", "--")

# Reasons that say all by themselves.
_WHOLE: Final = {
    "redirect": "--",
    "no_route": "PQ",
    "misdirected": "PQ",
    "client_certificate_required": "PQ",
    "no_endpoint": "PQ",
    "queue_full": "PQ",
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
    "proxy_timeout": "CR",
}

# Who ended it, for reasons that may come in any phase; every other reason is the gateway's own.
_WHO: Final = {
    "client_closed": "C",
    "upstream_closed": "S",
    "upstream_reset": "S",
    "upstream_timeout": "S",
    "bad_response": "S",
    "response_too_large": "S",
}


def end_of(reason: str, phase: str, *, who: str = "", connect_seconds: float = -1.0) -> Ending:
    """The ending for `reason` in the phase of that letter; `who` where the reason alone does not
    tell.
    """
    termination = _WHOLE.get(reason) or (who or _WHO.get(reason, "P")) + phase
    return Ending(reason, termination, connect_seconds)
