"""TLS towards endpoints: the context that verifies them (one for each set of authorities, made when
it is first needed), and the file of authorities that a setting names.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from typing import Final

from meshlib.errors import ConfigurationError
from meshlib_adapters.os_errors import explain_os_error

__all__ = ["connected_socket", "read_authorities", "upstream_tls_context"]


_PEM: Final = "-----BEGIN "


@functools.lru_cache(maxsize=8)
def upstream_tls_context(authorities: str) -> ssl.SSLContext:
    """A client's context that trusts these authorities (PEM; "": those of the system); TLS 1.2 and
    later, HTTP/1.1.

    Raises OSError (`ssl.SSLError` is one) for PEM that cannot be used.
    """
    context = ssl.create_default_context(cadata=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


_MAX_AUTHORITIES = (
    8 << 20
)  # bytes of `tls.upstream_ca`, so that /dev/zero is none; those of a system are a quarter of a MiB


def read_authorities(path: str) -> str:
    """The authorities in a file as PEM; "" for no file. `ConfigurationError` for a file that no
    certificate could be verified with.
    """
    if not path:
        return ""
    try:
        with open(
            path, encoding="ascii", errors="ignore"
        ) as file:  # beside its certificates a PEM file may say anything
            text = file.read(_MAX_AUTHORITIES)
        if _PEM not in text:
            raise OSError("there is no certificate in it")
        upstream_tls_context(text)
    except OSError as error:
        hint = "name a PEM file with the certificates of authorities"
        raise ConfigurationError(
            f"{path} cannot be used: {explain_os_error(error)}", where="tls.upstream_ca", hint=hint
        ) from None
    return text


async def connected_socket(
    loop: asyncio.AbstractEventLoop, host: str, port: int, seconds: float
) -> socket.socket:
    """A socket that does not block, connected to the first address of `host` that takes it; OSError
    when none does, TimeoutError when the last one hangs. Each address has its share of `seconds`.
    """
    trouble: OSError | None = None
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(seconds / len(found)):
                await loop.sock_connect(sock, address)
        except OSError as error:  # TimeoutError is one
            sock.close()
            trouble = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise trouble or OSError(f"{host} has no address")
