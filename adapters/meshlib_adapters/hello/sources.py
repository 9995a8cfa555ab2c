"""Bytes to inspect: from a file, from hex digits, or from one client of a port, which gets the
alert that TLS has for it.
"""

from __future__ import annotations

import selectors
import socket
import string
import sys
import time
from collections.abc import Callable
from typing import Self

from meshlib.errors import ClientHelloError, ConfigurationError
from meshlib.need_data import NEED_DATA
from meshlib.tls import (
    MAX_WIRE,
    ClientHelloSniffer,
    ForeignProtocol,
    NotTLS,
    alert_record,
)
from meshlib.tls.alerts import HANDSHAKE_FAILURE
from meshlib_adapters.config.readers import Address, read_addresses
from meshlib_adapters.listeners.plain_http import refusal
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.sockets.binding import bind_address, explain_bind_error
from meshlib_adapters.sockets.closing import LingeringClose

__all__ = ["take_bytes"]

# How long one client has for its hello, and after that for our response (seconds). There is no
# limit on the wait for a client.
_PATIENCE = 10.0
_LINGER = 1.0
_READ = 16 * 1024

# What is read of a file: the longest hello as hex digits with a separator for each byte, and
# something behind it.
_MAX_INPUT = 4 * MAX_WIRE

_HEX = frozenset(string.hexdigits.encode())
_BETWEEN = frozenset(b" \t\r\n:,")


def take_bytes(
    file: str | None, digits: str | None, listen: str | None, tell: Callable[[str], None]
) -> bytes:
    """The bytes to inspect, from exactly one of the three sources; `tell` gets a line with the real
    port once we listen.

    Of a file these are the bytes that its hex digits mean, when there is nothing else in it. Of a
    client, they are those that came until its hello was whole, wrong, cut off or late. Raises
    `ConfigurationError` for no or several sources, for one that cannot be had, and for hex digits
    that are no bytes.
    """
    if [file, digits, listen].count(None) != 2:
        raise ConfigurationError(
            "inspect what?",
            hint="give one of FILE (- for stdin), --hex DIGITS and --listen HOST:PORT",
        )
    if listen is not None:
        try:
            addresses = read_addresses(listen)
        except ValueError as error:
            raise ConfigurationError(str(error), where="--listen") from None
        if len(addresses) != 1:
            raise ConfigurationError(
                "one address is needed", where="--listen", hint="write 127.0.0.1:8443"
            )
        return _take_hello(addresses[0], lambda bound: tell(f"listening on {bound}"))
    if digits is not None:
        return _bytes_of_input(digits.encode(), only_hex=True, where="--hex")
    assert file is not None
    try:
        if file == "-":
            content = sys.stdin.buffer.read(_MAX_INPUT)
        else:
            with open(file, "rb") as source:
                content = source.read(_MAX_INPUT)
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {explain_os_error(error)}", where=file) from None
    return _bytes_of_input(content, where=file)


def _bytes_of_input(content: bytes, *, only_hex: bool = False, where: str = "") -> bytes:
    # Hex digits, with white space, colons and commas between them; or else, in a file, `content` as
    # it is.
    odd = next((byte for byte in content if byte not in _HEX and byte not in _BETWEEN), None)
    if odd is not None and not only_hex:
        return content
    digits = bytes(byte for byte in content if byte in _HEX)
    if odd is not None:
        raise ConfigurationError(
            f"{chr(odd)!r} is not a hex digit", where=where, hint="write the bytes as 160301..."
        )
    if not digits:
        raise ConfigurationError(
            "there are no bytes to inspect",
            where=where,
            hint="give what the client sent, from its first byte on",
        )
    if len(digits) % 2:
        raise ConfigurationError(
            f"{len(digits)} hex digits are not whole bytes",
            where=where,
            hint="two digits make a byte",
        )
    return bytes.fromhex(digits.decode("ascii"))


def _take_hello(address: Address, on_listening: Callable[[Address], None]) -> bytes:
    # What came until the hello was whole, wrong, cut off or late; the client gets an alert, or a
    # 400 if it speaks plain HTTP.
    with bind_address(address, setting="--listen") as listener:
        try:
            listener.listen(1)
        except OSError as error:
            raise explain_bind_error(error, address, setting="--listen") from None
        host, port = listener.getsockname()[:2]
        on_listening(Address(host, port))
        listener.setblocking(True)
        client, _ = listener.accept()
    with client:
        data, response = _read_hello(client)
        _say_goodbye(client, response)
    return data


def _read_hello(client: socket.socket) -> tuple[bytes, bytes]:
    sniffer = ClientHelloSniffer()
    data = b""
    end = time.monotonic() + _PATIENCE
    while (left := end - time.monotonic()) > 0 and len(data) <= MAX_WIRE:
        client.settimeout(left)
        try:
            piece = client.recv(_READ)
        except OSError:  # the time is over, or the client was cut off: what there is will be shown
            break
        if not piece:
            break
        data += piece
        try:
            found = sniffer.receive_data(piece)
        except ClientHelloError as error:
            return data, alert_record(error.alert)
        if isinstance(found, NotTLS):
            return data, refusal() if found.kind is ForeignProtocol.HTTP else b""
        if found is not NEED_DATA:
            break
    return data, alert_record(HANDSHAKE_FAILURE)


def _say_goodbye(client: socket.socket, response: bytes) -> None:
    # Wait for the client to leave, but not for long.
    client.setblocking(False)
    with _OneWatch() as watch:
        LingeringClose(client, watch.end).start(watch, response)
        watch.run(_LINGER)


class _OneWatch:
    # What an event loop is to `LingeringClose`, for a command that has none.

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self._selector.close()

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def end(self, reset: bool) -> None:
        self._ended = True

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._ended and (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                key.data()
