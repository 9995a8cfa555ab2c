"""Keys by which a resumed TLS session is bound to its endpoint, as far as they are readable without
a TLS key.

A client that resumes a session of TLS 1.2 shows the id or the ticket that the server once gave it,
in clear both times: `SessionReader` reads the server's first messages for them, `session_keys` a
hello. Tickets of TLS 1.3 are issued encrypted, so nobody between the two ends can know their
endpoint. Keys are digests, so remembering them opens no session.
"""

from __future__ import annotations

import hashlib
from typing import Final

from meshlib.messages import ClientHello
from meshlib.tls.extensions import ExtensionType

__all__ = ["SessionReader", "session_keys"]

# The server's messages up to its ChangeCipherSpec: mostly certificates, of which OpenSSL's clients
# take 100 KiB. A server that sends more is still relayed, but no longer read.
MAX_WIRE: Final = 128 * 1024
# A ticket holds the session, sometimes with the client's certificate. A longer one is not
# remembered.
MAX_TICKET: Final = 16 * 1024

_HANDSHAKE: Final = 22
_SERVER_HELLO: Final = 2
_NEW_SESSION_TICKET: Final = 4


def session_keys(hello: ClientHello) -> tuple[bytes, ...]:
    """The keys of the session that `hello` may resume, the surest first; an id may also mean
    nothing (RFC 8446 D.4).
    """
    return tuple(_key(what) for what in (hello.ticket, hello.session_id) if what)


def _key(what: bytes) -> bytes:
    return hashlib.blake2b(what, digest_size=16).digest()


class SessionReader:
    """Takes the first bytes of a server and returns keys of the sessions that it issues.

    `receive_data` takes bytes as read and returns the keys that they complete; it never raises.
    `done` means that nothing more can come: the rest is encrypted, or is TLS 1.3, or is not TLS, or
    is too long. At most one message is kept, up to `MAX_TICKET`.
    """

    __slots__ = ("_header", "_left", "_message", "_skip", "_wire", "done")

    def __init__(self) -> None:
        self.done = False
        self._header = b""  # the incomplete header of a record
        self._left = 0  # bytes of the record still to come
        self._message = bytearray()  # the incomplete message, with its header
        self._skip = 0  # bytes of an irrelevant message still to come
        self._wire = 0

    def receive_data(self, data: bytes) -> tuple[bytes, ...]:
        """Read bytes, as the class says."""
        found: list[bytes] = []
        position, size = 0, len(data)
        self._wire += size
        while position < size and not self.done:
            if not self._left:
                position = self._record_header(data, position)
                continue
            end = min(position + self._left, size)
            self._left -= end - position
            self._fragment(data[position:end], found)
            position = end
        if self._wire > MAX_WIRE:
            self._finish()
        return tuple(found)

    def _finish(self) -> None:
        self.done = True
        self._message.clear()

    def _record_header(self, data: bytes, position: int) -> int:
        taken = 5 - len(self._header)
        self._header += data[position : position + taken]
        header = self._header
        if header[0] != _HANDSHAKE:  # ChangeCipherSpec, an alert, data, or not TLS at all
            self._finish()
        elif len(header) == 5:
            self._left = (header[3] << 8) + header[4]
            self._header = b""
        return position + taken

    def _fragment(self, data: bytes, found: list[bytes]) -> None:
        while data and not self.done:
            if self._skip:
                taken = min(self._skip, len(data))
                self._skip -= taken
                data = data[taken:]
                continue
            message = self._message
            needed = 4 if len(message) < 4 else 4 + int.from_bytes(message[1:4], "big")
            taken = needed - len(message)
            message += data[:taken]
            data = data[taken:]
            if len(message) == 4:
                size = int.from_bytes(message[1:4], "big")
                if message[0] not in (_SERVER_HELLO, _NEW_SESSION_TICKET) or size > MAX_TICKET:
                    self._skip = size
                    message.clear()
                    continue
                needed += size
            if len(message) == needed:
                self._read(bytes(message), found)
                message.clear()

    def _read(self, message: bytes, found: list[bytes]) -> None:
        if message[0] == _NEW_SESSION_TICKET:
            # RFC 5077 3.3: four bytes of lifetime, then the ticket; an empty one is none.
            ticket = message[10 : 10 + int.from_bytes(message[8:10], "big")]
            if ticket:
                found.append(_key(ticket))
            return
        # RFC 5246 7.4.1.3: version, random, session id, cipher suite, compression, extensions.
        end = 39 + message[38] if len(message) > 38 else len(message)
        if _chooses_tls13(message[end + 5 :]):
            self._finish()
        elif end > 39:
            found.append(_key(message[39:end]))


def _chooses_tls13(extensions: bytes) -> bool:
    # Only TLS 1.3 and later have their version in an extension; there the id is the client's own,
    # and means nothing.
    position = 0
    while position + 4 <= len(extensions):
        if (
            int.from_bytes(extensions[position : position + 2], "big")
            == ExtensionType.SUPPORTED_VERSIONS
        ):
            return True
        position += 4 + int.from_bytes(extensions[position + 2 : position + 4], "big")
    return False
