"""Cache of parsed hellos: content that a client repeats on each connection need not be checked
again.

A client's hellos to one server differ in the random bytes, the session id and the keys of its
shares, and in nothing else. The result of `parse_client_hello` depends on none of these, except on
their lengths, the session id itself, and the first byte of a key.
"""

from __future__ import annotations

from typing import Final

from meshlib.messages import ClientHello
from meshlib.tls.extensions import ExtensionType
from meshlib.tls.hello import parse_client_hello

__all__ = ["HelloCache"]

# A larger hello has a browser's post-quantum shares, which differ each time (RFC 8701), or is of an
# unknown kind.
MAX_SIZE: Final = 2048
_FIELDS: Final = tuple(name for name in ClientHello.__dataclass_fields__ if name != "session_id")
_SESSION_ID: Final = 35


class HelloCache:
    """Parses as `parse_client_hello` does, with the same results, and faster for a hello like an
    earlier one.

    At most `limit` hellos are kept (of `MAX_SIZE` bytes each); then the cache begins anew.
    """

    __slots__ = ("_count", "_limit", "_shapes")

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._count = 0
        # By size: the significant parts of such a hello, and the hellos by these parts.
        self._shapes: dict[int, tuple[tuple[slice, ...], dict[bytes, ClientHello]]] = {}

    def __repr__(self) -> str:
        return f"<HelloCache {self._count} of {self._limit}>"

    def __len__(self) -> int:
        return self._count

    def parse(self, body: bytes) -> ClientHello:
        """The `ClientHello` of `body`. Raises `ClientHelloError`. See the class."""
        shape = self._shapes.get(len(body))
        if shape is not None:
            parts, known = shape
            hello = known.get(b"".join([body[part] for part in parts]))
            if hello is not None:
                return _with_session_id(
                    hello, body[_SESSION_ID : _SESSION_ID + body[_SESSION_ID - 1]]
                )
        hello = parse_client_hello(body)
        # Tickets differ each time, and are significant. Where no share was read there is none, or
        # nobody knows how long it is.
        if (
            not hello.psk_identities
            and not hello.ticket
            and len(body) <= MAX_SIZE
            and (hello.key_shares or ExtensionType.KEY_SHARE not in hello.extensions)
        ):
            self._keep(body, hello)
        return hello

    def _keep(self, body: bytes, hello: ClientHello) -> None:
        parts = _parts(body)
        if self._count >= self._limit:
            self._shapes.clear()
            self._count = 0
        # Another shape of the same size is not kept: two clients in alternation would only evict
        # each other.
        kept, known = self._shapes.setdefault(len(body), (parts, {}))
        if kept == parts:
            known[b"".join([body[part] for part in parts])] = hello
            self._count += 1


def _with_session_id(hello: ClientHello, session_id: bytes) -> ClientHello:
    if hello.session_id == session_id:
        return hello
    fresh = object.__new__(ClientHello)
    put = object.__setattr__
    for name in _FIELDS:
        put(fresh, name, getattr(hello, name))
    put(fresh, "session_id", session_id)
    return fresh


def _parts(body: bytes) -> tuple[slice, ...]:
    # Everything but the random bytes, the session id, and each key from its second byte on. `body`
    # was parsed: all lengths are right.
    size = len(body)
    at = _SESSION_ID + body[_SESSION_ID - 1]
    parts = [slice(0, 2), slice(_SESSION_ID - 1, _SESSION_ID)]
    position = at + 2 + _number(body, at)
    position += 1 + body[position] + 2
    while position < size:
        start = position + 4
        end = start + _number(body, position + 2)
        if _number(body, position) == ExtensionType.KEY_SHARE:
            share = start + 2
            while share < end:
                parts.append(slice(at, share + 5))
                share = at = share + 4 + _number(body, share + 2)
        position = end
    parts.append(slice(at, size))
    return tuple(parts)


def _number(body: bytes, at: int) -> int:
    return (body[at] << 8) + body[at + 1]
