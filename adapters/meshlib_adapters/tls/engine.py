"""TLS of one connection between two memory buffers, by `ssl.SSLObject`; no socket is known here.

One read of a socket may hold 11,000 records of one byte: `decrypt` works off those that fit a turn.
"""

from __future__ import annotations

import ssl
from typing import Final

from meshlib_adapters.turns import BYTES, FRAME, Turn

__all__ = ["LARGE_READ", "SMALL_READ", "TLSEngine"]

# A read from the socket: four full records, while they carry something. What carries little
# (records of a few bytes, changes of keys, of which OpenSSL works off any number in one read) comes
# in small reads, so that a turn stays short.
LARGE_READ: Final = 64 * 1024
SMALL_READ: Final = 2 * 1024
_FIRST_READ: Final = 16 * 1024
_OVERHEAD: Final = 4 * 1024
# A read of plaintext; a record holds no more (RFC 8446 5.1).
_RECORD: Final = 16 * 1024


class TLSEngine:
    """One side of a TLS connection; with a `server_hostname` that of a client, which requires a
    certificate for that name.

    What the peer sends is written to `incoming`, what it is to get is read from `outgoing`.
    `session` encrypts what is written to it. `read_size`: how much the next read of the socket may
    take; `most`: the most that one may, as `limit_reads` has it.
    """

    __slots__ = ("incoming", "is_client", "most", "outgoing", "read_size", "session")

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None = None) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.is_client = is_client = server_hostname is not None
        self.session = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=not is_client,
            server_hostname=server_hostname,
        )
        self.read_size = _FIRST_READ
        self.most = LARGE_READ

    def __repr__(self) -> str:
        return f"<TLSEngine {'client' if self.is_client else 'server'} {self.session.version()}>"

    def limit_reads(self, size: int) -> None:
        """Let no read of the socket take more than `size` bytes; 0: as many as are useful."""
        self.most = size or LARGE_READ
        self.read_size = min(self.read_size, self.most)

    def decrypt(self, turn: Turn, *, ended: bool) -> tuple[list[bytes], Exception | None]:
        """The plaintext of the records that fit `turn`, and what ended them, if anything did: an
        `ssl.SSLZeroReturnError` for the end of the peer's bytes.

        `ended`: the peer has shut its side down, and `incoming` gets nothing more. A FIN without a
        close_notify counts as an end: whether a message was complete is told by its own framing.
        OpenSSL is not told of it: it would take that for an attack and send nothing any more.
        """
        session, incoming = self.session, self.incoming
        waiting = incoming.pending
        pieces: list[bytes] = []
        end: Exception | None = None
        while turn.left > 0:
            # OpenSSL takes from the buffer what it can use and no more, so where both are empty a
            # read could only fail, which costs as much as one that succeeds. What is decrypted is
            # never longer than what was received.
            size = session.pending() or incoming.pending
            if not size and not ended:
                break
            try:
                data = session.read(min(size, _RECORD) or 1)
            except ssl.SSLWantReadError:
                if not ended:
                    break
                data = b""
            except (ssl.SSLError, OSError) as error:
                end = error
                break
            if not data:
                end = ssl.SSLZeroReturnError()
                break
            pieces.append(data)
            turn.spend(FRAME + len(data) // BYTES)
        overhead = waiting - incoming.pending - sum(map(len, pieces))
        self.read_size = (
            SMALL_READ
            if overhead > _OVERHEAD or (overhead > SMALL_READ // 2 and not pieces)
            else self.most
        )
        return pieces, end
