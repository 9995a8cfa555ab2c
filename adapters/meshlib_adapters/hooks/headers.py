"""Fields that are always set, or never there."""

from __future__ import annotations

from collections.abc import Iterable

from meshlib.hook_values import Changes, Fields, Request
from meshlib.messages import ResponseHead

__all__ = ["Headers"]


class Headers:
    """Sets and removes fields of requests (`request`, `request_remove`) on their way to endpoints,
    and of endpoints' responses (`response`, `response_remove`).
    """

    def __init__(
        self,
        *,
        request: Fields = (),
        request_remove: Iterable[str] = (),
        response: Fields = (),
        response_remove: Iterable[str] = (),
    ) -> None:
        self._request = Changes(request, remove=request_remove)
        self._response = Changes(response, remove=response_remove)

    def __repr__(self) -> str:
        return f"<Headers request={self._request!r} response={self._response!r}>"

    def before(self, request: Request) -> Changes:
        """Change the request."""
        return self._request

    def after(self, request: Request, response: ResponseHead) -> Changes:
        """Change the response."""
        return self._response
