"""`NoResponse`: the end of an exchange for coroutines that has no response, or a cut one."""

from __future__ import annotations

from meshlib_adapters.proxy.local_responses import LocalResponse

__all__ = ["NoResponse"]


class NoResponse(Exception):
    """The upstream gave no response, or it was cut. `response` is the one of our own to send
    instead; None when one has begun, or when the client has gone.
    """

    def __init__(self, reason: str, response: LocalResponse | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response
