"""Another service that says who may ask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshlib.decision import Forward
from meshlib.hook_values import Changes, Request, Response
from meshlib_adapters.extras import not_installed

if TYPE_CHECKING:
    import httpx

__all__ = ["ForwardAuth"]

# The most of a refusal's body that is passed on.
_MOST = 64 * 1024
_ASKED = ("authorization", "cookie", "accept")
_SHOWN = ("www-authenticate", "location", "set-cookie", "content-type")


class ForwardAuth:
    """Asks the service at `url` about each request that would be forwarded, with its Authorization,
    Cookie and Accept, and what it is in X-Forwarded-Method, -Proto, -Host, -Uri and -For.

    A 2xx lets it pass, with the fields `copy` of that response in the place of the client's;
    another response (4xx, a redirect to a login) is the client's. It fails closed: without a
    response within `time_out` seconds, or with a 5xx, the client gets 503. Needs httpx.
    """

    def __init__(self, url: str, *, copy: Iterable[str] = (), time_out: float = 5.0) -> None:
        self.url = url
        self.copy = tuple(copy)
        self.time_out = time_out
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"<ForwardAuth {self.url}>"

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_client": None}  # each process has its own connections

    async def aclose(self) -> None:
        """Close the connections to the service."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def before(self, request: Request) -> Changes | Response | None:
        """Ask."""
        if not isinstance(request.decision, Forward):
            return None
        try:
            import httpx
        except ImportError as error:
            raise not_installed("ForwardAuth", error, "hooks", "ForwardAuth") from None
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self.time_out, follow_redirects=False)
        fields = [(name, value) for name in _ASKED if (value := request.field(name)) is not None]
        fields += [
            ("x-forwarded-method", request.method),
            ("x-forwarded-proto", "https" if request.secure else "http"),
            ("x-forwarded-host", request.host),
            ("x-forwarded-uri", request.target),
            ("x-forwarded-for", request.address),
        ]
        try:
            async with self._client.stream("GET", self.url, headers=fields) as found:
                if found.is_success:
                    copied = {name: found.headers.get(name) for name in self.copy}
                    kept = {name: value for name, value in copied.items() if value is not None}
                    return Changes(kept, remove=self.copy)
                if found.status_code >= 500:
                    return Response(503, {"Retry-After": "1"})
                shown = [
                    (name, value) for name, value in found.headers.multi_items() if name in _SHOWN
                ]
                body = b""
                async for part in found.aiter_bytes():
                    body += part
                    if len(body) > _MOST:
                        body = b""
                        break
                return Response(found.status_code, shown, body)
        except httpx.HTTPError:
            return Response(503, {"Retry-After": "1"})
