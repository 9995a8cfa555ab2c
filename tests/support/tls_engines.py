"""Two engines that speak TLS with each other, in memory."""

from __future__ import annotations

import contextlib
import functools
import ssl

import trustme

from meshlib_adapters.tls.engine import TLSEngine

__all__ = ["engines", "established"]

_NAME = "a.example"


@functools.cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server with a certificate for a.example, and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(_NAME).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def engines(name: str = _NAME) -> tuple[TLSEngine, TLSEngine]:
    """A server, and a client that wants `name`."""
    server, client = _contexts()
    return TLSEngine(server), TLSEngine(client, name)


def established() -> tuple[TLSEngine, TLSEngine]:
    """The same, with the handshake done and nothing under way."""
    server, client = engines()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(ssl.SSLWantReadError):
                one.session.do_handshake()
            other.incoming.write(one.outgoing.read())
    with contextlib.suppress(ssl.SSLWantReadError):
        client.session.read(1)  # the tickets
    return server, client
