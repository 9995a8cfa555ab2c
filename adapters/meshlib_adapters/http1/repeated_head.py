"""`RepeatedHead`: a fast path: clients repeat the field lines of their requests, and then nothing
is parsed again.
"""

from __future__ import annotations

from meshlib.http1 import REQUEST_LINE, finish_head, request_line
from meshlib.messages import FieldSection, RequestHead
from meshlib_adapters.proxy.request_cache import RequestCache

__all__ = ["RepeatedHead"]


class RepeatedHead:
    """Reads the heads of one connection, and remembers the field lines of the last one (not with
    `remember` False: then each is parsed, with the same result).

    `limit` is the largest head.
    """

    __slots__ = ("_block", "_cache", "_fields", "_limit", "_remember")

    def __init__(self, cache: RequestCache, limit: int, *, remember: bool = True) -> None:
        self._cache = cache
        self._limit = limit
        self._remember = remember
        self._block = b""  # the field lines of the last request
        self._fields: FieldSection | None = None

    def __repr__(self) -> str:
        return f"<RepeatedHead {len(self._block)} bytes>"

    def match(self, data: bytes) -> RequestHead | None:
        """The head, where `data` is one whole head with the very field lines of the last one; None
        where it has to be looked at. Raises as `finish_head`.
        """
        block = self._block
        if not block:
            return None
        line = REQUEST_LINE.match(data)
        if line is None:
            return None
        end = line.end()
        if (
            not data.startswith(block, end)
            or len(data) != end + len(block) + 2
            or not data.endswith(b"\r\n")
            or len(data) > self._limit
        ):
            return None
        method, target, version = line.groups()
        fields = self._fields
        assert fields is not None
        return finish_head(method, target, 1 if version == b"1" else 0, fields)

    def parse(self, raw: bytes) -> RequestHead:
        """The head of `raw`, a whole one. Raises as `request_line`, `parse_fields` and
        `finish_head`.
        """
        method, target, version, at = request_line(raw)
        block = raw[at:-2]
        fields = self._fields
        if fields is None or block != self._block:
            cache = self._cache
            fields = cache.first_fields(block) if fields is None else cache.fields(block, fields)
            if self._remember:
                self._block = block
                self._fields = fields
        return finish_head(method, target, version, fields)
