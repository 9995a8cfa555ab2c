"""Keys of session tickets that several processes share, so that a client resumes at any of them a
session begun at another.

OpenSSL has a call for that (SSL_CTX_set_tlsext_ticket_keys), Python's `ssl` does not pass it on. So
it is made by `ctypes`, on the SSL_CTX whose address stands right behind the head of every
`SSLContext` of CPython. Whether it does so here is tested, by `sharing_trouble`, in a process of
its own, which may crash. This module needs the standard library alone.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import hmac
import os
import ssl
import subprocess
import sys
from collections.abc import Iterable
from typing import Final

__all__ = ["MIN_SECRET", "set_ticket_keys", "sharing_trouble", "ticket_keys"]

# Bytes of a secret.
MIN_SECRET: Final = 32

# OpenSSL's struct: a name that identifies a ticket's key, a key that signs and one that encrypts
# (16 + 32 + 32 bytes).
_SIZE: Final = 80
_SET: Final = 59
_GET: Final = 58


def ticket_keys(secret: bytes, parts: Iterable[bytes]) -> bytes:
    """Derive the keys for `secret` and `parts`: 80 bytes, HKDF-Expand with SHA-512 (RFC 5869 2.3).

    A process that serves other certificates, or requests other ones from clients, has other keys: a
    session ends with its conditions.
    """
    info = hashlib.sha512(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
    first = hmac.digest(secret, info + b"\x01", "sha512")
    return (first + hmac.digest(secret, first + info + b"\x02", "sha512"))[:_SIZE]


def set_ticket_keys(context: ssl.SSLContext, keys: bytes) -> None:
    """Make a server's context issue and accept tickets with these keys; tickets made with others
    cost their clients a full handshake.

    Only where `sharing_trouble` returns "". Raises ValueError when OpenSSL does not accept them.
    """
    if len(keys) != _SIZE or _library().SSL_CTX_ctrl(_address(context), _SET, _SIZE, keys) != 1:
        raise ValueError("OpenSSL does not take these keys of session tickets")


@functools.cache
def sharing_trouble() -> str:
    """The reason why keys cannot be set in this Python; "" where they can. Starts a process the
    first time, and blocks for a tenth of a second.
    """
    if sys.implementation.name != "cpython":
        return "this is not CPython"
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-I", "-S", os.path.abspath(__file__)],
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it could not be tried: {error}"
    return (
        ""
        if done.returncode == 0 and done.stdout == b"shared"
        else "this Python's ssl is built in another way than expected"
    )


def _address(context: ssl.SSLContext) -> int:
    address = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    assert address is not None
    return address


@functools.cache
def _library() -> ctypes.CDLL:
    # The very OpenSSL that `ssl` uses: its module brings it along, or has it built in.
    import _ssl

    library = ctypes.CDLL(getattr(_ssl, "__file__", None))
    library.SSL_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
    library.SSL_CTX_ctrl.restype = ctypes.c_long
    return library


def _tried() -> bool:
    library = _library()
    library.SSL_CTX_get_options.argtypes = [ctypes.c_void_p]
    library.SSL_CTX_get_options.restype = ctypes.c_uint64
    for option in (
        ssl.OP_NO_RENEGOTIATION,
        ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE,
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= option
        if library.SSL_CTX_get_options(_address(context)) != int(context.options) & (1 << 64) - 1:
            return False
        keys = os.urandom(_SIZE)
        set_ticket_keys(context, keys)
        found = ctypes.create_string_buffer(_SIZE)
        if library.SSL_CTX_ctrl(_address(context), _GET, _SIZE, found) != 1 or found.raw != keys:
            return False
    return True


if __name__ == "__main__":
    if _tried():
        sys.stdout.write("shared")
