"""Reader of the ClientHello at the start of a connection, as a bystander: bytes in, values out.

Assembles the handshake message from TLS records (RFC 8446 5.1) and passes it to
`parse_client_hello`. The caller keeps the bytes: they go on to a server unchanged. Knows no socket
and no route.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from meshlib.errors import ClientHelloError
from meshlib.messages import ClientHello
from meshlib.need_data import NEED_DATA, NeedData
from meshlib.tls.alerts import ILLEGAL_PARAMETER, RECORD_OVERFLOW, UNEXPECTED_MESSAGE
from meshlib.tls.hello import parse_client_hello
from meshlib.tls.prelude import ForeignProtocol, NotTLS, identify_prelude

__all__ = ["MAX_HELLO", "MAX_WIRE", "ClientHelloSniffer"]

# The largest handshake message, header included. Real hellos are 0.2-2 KiB, with post-quantum
# shares, tickets and padding up to 18 KiB; nginx can be configured to read up to 64 KiB, OpenSSL
# takes 128 KiB. A larger claim is refused when the claim is read.
MAX_HELLO: Final = 64 * 1024
# The same with its record headers. A record of one byte costs six, so this is a 21 KiB hello in the
# smallest of records; it bounds the bytes that the caller must hold for one client.
MAX_WIRE: Final = 128 * 1024
# Empty records in a row. RFC 8446 5.1 forbids them, OpenSSL takes 32 of them; they cost five bytes
# and carry nothing.
MAX_EMPTY_RECORDS: Final = 32

_MAX_FRAGMENT: Final = 1 << 14  # RFC 8446 5.1
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1

Result: TypeAlias = Literal[NeedData.NEED_DATA] | NotTLS | ClientHello


class ClientHelloSniffer:
    """Finds the ClientHello in the first bytes of a connection, however they are cut into reads and
    records.

    `receive_data` takes bytes as read (none twice) and returns `NEED_DATA`, a `ClientHello`, or
    `NotTLS`; raises `ClientHelloError`, whose `alert` is the alert to send. Each byte is scanned
    once, except the first 22 while it is open whether they are TLS. Any other exception is a bug.
    One sniffer reads one connection. `max_hello` limits the handshake message, `max_wire` the bytes
    up to its end; `parse` reads the whole message: that of a `HelloCache` is faster where clients
    repeat themselves.
    """

    __slots__ = (
        "_empty_records",
        "_header",
        "_left",
        "_max_hello",
        "_max_wire",
        "_message",
        "_needed",
        "_parse",
        "_wire",
    )

    def __init__(
        self,
        *,
        max_hello: int = MAX_HELLO,
        max_wire: int = MAX_WIRE,
        parse: Callable[[bytes], ClientHello] = parse_client_hello,
    ) -> None:
        self._parse = parse
        self._max_hello = max_hello
        self._max_wire = max_wire
        # the incomplete record header; the whole prelude until the protocol is known
        self._header = b""
        # bytes of the current record still to come; -1 while the protocol is unknown, 0 between
        # records
        self._left = -1
        self._message = bytearray()
        self._needed = 0  # size of the handshake message, once its header is there
        self._empty_records = 0
        self._wire = 0

    def __repr__(self) -> str:
        return (
            f"<ClientHelloSniffer {len(self._message)} of {self._needed or '?'} bytes, "
            f"{self._wire} on the wire>"
        )

    @property
    def bytes_consumed(self) -> int:
        """Bytes up to the end of the hello (early data and other data behind it not counted), or
        received so far.
        """
        return self._wire

    def receive_data(self, data: bytes) -> Result:
        """Read bytes, as the class says."""
        position = 0
        if self._left < 0:
            if self._header:
                data = self._header + data
                self._wire = 0
            if not data:
                return NEED_DATA
            verdict = identify_prelude(data)
            if verdict is NEED_DATA:
                self._header = data
                self._wire = len(data)
                return NEED_DATA
            if isinstance(verdict, ForeignProtocol):
                return NotTLS(verdict)
            self._header = b""
            self._left = 0
            if self._is_whole(data):
                self._wire = 5 + (data[3] << 8) + data[4]
                return self._parse(data[9 : self._wire])
        size = len(data)
        while position < size:
            position = (
                self._fragment(data, position)
                if self._left
                else self._record_header(data, position)
            )
            if self._wire > self._max_wire:
                raise _too_large()
            if self._needed and len(self._message) >= self._needed:
                return self._finish()
        return NEED_DATA

    def _is_whole(self, data: bytes) -> bool:
        # The hello of nearly every client: one read, one record, one message that fills it.
        if len(data) < 9 or data[0] != _HANDSHAKE or data[5] != _CLIENT_HELLO:
            return False
        fragment = (data[3] << 8) + data[4]
        length = 4 + (data[7] << 8) + data[8]
        limit = min(_MAX_FRAGMENT, self._max_hello, self._max_wire - 5)
        return not data[6] and fragment == length <= limit and len(data) >= 5 + fragment

    def _record_header(self, data: bytes, position: int) -> int:
        missing = 5 - len(self._header)
        header = self._header + data[position : position + missing]
        taken = len(header) - len(self._header)
        self._wire += taken
        self._check_header(header)
        if len(header) < 5:
            self._header = header
            return position + taken
        self._header = b""
        length = (header[3] << 8) + header[4]
        if length > _MAX_FRAGMENT:
            raise ClientHelloError(
                "a record of more than 16 KiB", reason="record_too_large", alert=RECORD_OVERFLOW
            )
        if length:
            self._empty_records = 0
        else:
            self._empty_records += 1
            if self._empty_records > MAX_EMPTY_RECORDS:
                raise ClientHelloError(
                    "too many empty records", reason="empty_records", alert=UNEXPECTED_MESSAGE
                )
        self._left = length
        return position + taken

    def _check_header(self, header: bytes) -> None:
        if header[0] != _HANDSHAKE:
            raise ClientHelloError(
                "a record that is no handshake",
                reason="unexpected_record",
                alert=UNEXPECTED_MESSAGE,
            )
        # The minor version means nothing (RFC 8446 5.1); the major one tells TLS from noise.
        if len(header) > 1 and header[1] != 3:
            raise ClientHelloError(
                "a record of no version of TLS",
                reason="bad_record_version",
                alert=UNEXPECTED_MESSAGE,
            )

    def _fragment(self, data: bytes, position: int) -> int:
        end = min(position + self._left, len(data))
        message = self._message
        if self._needed:
            # Never keep more than the message: its record may go on behind it.
            end = min(end, position + self._needed - len(message))
        elif len(message) + end - position > 4:
            end = position + 4 - len(message)
        message += data[position:end]
        self._left -= end - position
        self._wire += end - position
        if not self._needed:
            self._message_header()
        return end

    def _message_header(self) -> None:
        message = self._message
        if message[0] != _CLIENT_HELLO:
            raise ClientHelloError(
                "a message that is no ClientHello",
                reason="unexpected_handshake",
                alert=UNEXPECTED_MESSAGE,
            )
        if len(message) == 4:
            self._needed = 4 + int.from_bytes(message[1:4], "big")
            if self._needed > self._max_hello:
                raise _too_large()

    def _finish(self) -> ClientHello:
        # Bytes may be left in its record. RFC 8446 5.1 forbids them, and servers of TLS 1.2 take
        # them: it is theirs to judge, for the name is that of this message in any case.
        return self._parse(bytes(self._message[4:]))


def _too_large() -> ClientHelloError:
    return ClientHelloError(
        "the hello is larger than we keep", reason="hello_too_large", alert=ILLEGAL_PARAMETER
    )
