"""Requests kept in memory, to be looked at, written to a file, and made again."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from meshlib.errors import ConfigurationError
from meshlib.hook_values import Request
from meshlib_adapters.extras import not_installed

if TYPE_CHECKING:
    import httpx

__all__ = ["Capture", "CapturedRequest", "read_captured", "replay"]

# Secrets, which are replaced by "***". Names in lower case.
SECRETS: Final = frozenset(
    {"authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key", "x-auth-token"}
)
_HIDDEN: Final = "***"
# Larger heads are not kept: the memory of a capture is bounded by their number and this size.
_LARGEST: Final = 16 * 1024
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
# Of one connection; the next one has its own.
_NOT_REPLAYED: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"}
)


class CapturedRequest(NamedTuple):
    """The head of a request. `fields` are pairs of text, in their order, secrets hidden."""

    method: str
    host: str
    target: str
    fields: tuple[tuple[str, str], ...]


class Capture:
    """Keeps the heads of the last `most` requests in `requests`, bodies never.

    Fields in `SECRETS`, and those named in `hidden`, are kept as "***". Nothing is kept before it
    is switched on (`on=True`, or the attribute `on` at any time).
    """

    def __init__(self, most: int = 1000, *, hidden: Iterable[str] = (), on: bool = False) -> None:
        if most < 1:
            hint = "write Capture(1000)"
            raise ConfigurationError("nothing would be kept", where="Capture", hint=hint)
        self.on = on
        self.requests: deque[CapturedRequest] = deque(maxlen=most)
        self._hidden = SECRETS.union(name.lower() for name in hidden)

    def __repr__(self) -> str:
        return f"<Capture {'on' if self.on else 'off'} requests={len(self.requests)}>"

    def before(self, request: Request) -> None:
        """Keep it."""
        if not self.on:
            return
        fields = request.head.fields.pairs()
        if sum(len(name) + len(value) for name, value in fields) > _LARGEST:
            return
        self.requests.append(
            CapturedRequest(
                request.method,
                request.host,
                request.target,
                tuple(self._shown(name.decode("latin-1"), value) for name, value in fields),
            )
        )

    def _shown(self, name: str, value: bytes) -> tuple[str, str]:
        return name, _HIDDEN if name.lower() in self._hidden else value.decode("latin-1")

    def write(self, path: str | os.PathLike[str]) -> int:
        """Write what is kept to a file, one JSON object a line, readable by its owner alone; return
        how many. Blocks.
        """
        kept = list(self.requests)
        lines = "".join(json.dumps(one._asdict()) + "\n" for one in kept)
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(number, "w", encoding="utf-8") as file:
            file.write(lines)
        return len(kept)


def read_captured(path: str | os.PathLike[str]) -> list[CapturedRequest]:
    """Read what `Capture.write` has written. `ConfigurationError` names the line that is wrong."""
    found = []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            fields = tuple((str(name), str(value)) for name, value in entry["fields"])
            found.append(
                CapturedRequest(
                    str(entry["method"]), str(entry["host"]), str(entry["target"]), fields
                )
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"not a captured request: {error!r}",
                where=f"{os.fspath(path)}:{number}",
                hint="give a file that Capture.write has written",
            ) from None
    return found


async def replay(
    requests: Iterable[CapturedRequest],
    client: httpx.AsyncClient,
    *,
    base: str | None = None,
    methods: Iterable[str] = _SAFE,
) -> AsyncIterator[tuple[CapturedRequest, httpx.Response]]:
    """Make requests again, one after the other, and yield each with its response.

    `base` is where they go ("http://127.0.0.1:8080"), with the Host that they had; without it, to
    that host. Those of other `methods` are passed over: what they would change, and the bodies that
    they had, are not there. Hidden fields are not sent. Needs httpx, whose errors it raises.
    """
    try:
        import httpx  # noqa: F401
    except ImportError as error:
        raise not_installed("replay", error, "hooks", "replay") from None
    wanted = frozenset(methods)
    for request in requests:
        if request.method not in wanted:
            continue
        fields = [
            (name, value)
            for name, value in request.fields
            if value != _HIDDEN and name.lower() not in _NOT_REPLAYED
        ]
        url = f"{base.rstrip('/') if base is not None else f'http://{request.host}'}"
        response = await client.request(
            request.method,
            url + request.target,
            headers=[("Host", request.host), *fields],
            follow_redirects=False,
        )
        yield request, response
