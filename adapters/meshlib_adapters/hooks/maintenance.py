"""A page in the place of a service that is being worked on."""

from __future__ import annotations

from collections.abc import Iterable

from meshlib.client_claims import is_trusted
from meshlib.hook_values import Request, Response
from meshlib_adapters.hooks.addresses import AllowAddresses

__all__ = ["Maintenance"]


class Maintenance:
    """Responds with 503 and `page`, which is HTML, while `on` is true. Clients of the networks
    `allowed` get through. `retry_after` is in seconds.
    """

    def __init__(
        self,
        page: str = "<h1>Back soon</h1>",
        *,
        retry_after: int = 300,
        allowed: Iterable[str] = (),
        on: bool = True,
    ) -> None:
        self.on = on
        self._allowed = AllowAddresses(allowed).networks
        fields = {
            "Content-Type": "text/html; charset=utf-8",
            "Retry-After": str(retry_after),
            "Cache-Control": "no-store",
        }
        self._response = Response(503, fields, page)

    def __repr__(self) -> str:
        return f"<Maintenance {'on' if self.on else 'off'}>"

    def before(self, request: Request) -> Response | None:
        """Show the page."""
        if not self.on or is_trusted(request.address, self._allowed):
            return None
        return self._response
