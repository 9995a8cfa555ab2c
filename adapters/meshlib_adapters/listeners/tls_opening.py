"""The first bytes of one client of a TLS port: a PROXY protocol header where one is allowed, and a
hello, or what is not one. They are held until somebody else has them.
"""

from __future__ import annotations

from meshlib.messages import ClientHello
from meshlib.need_data import NEED_DATA
from meshlib.proxy_protocol import ProxyHeader
from meshlib.tls import ClientHelloSniffer, NotTLS
from meshlib_adapters.listeners.proxy_header import ProxyHeaderReader
from meshlib_adapters.listeners.tls_shared import TLSShared

__all__ = ["TLSOpening"]


class TLSOpening:
    """Takes what is read from a client, and says what it is.

    `header` is the PROXY header that is being read, if any; `claimed` is what a trusted proxy says
    of its client, once that is complete. `held` bytes are kept, and counted in `shared.held_bytes`,
    until `release`.
    """

    __slots__ = ("_chunks", "_shared", "_sniffer", "claimed", "header", "held")

    def __init__(self, shared: TLSShared) -> None:
        self._shared = shared
        self._sniffer = ClientHelloSniffer(
            max_hello=shared.settings.max_hello,
            max_wire=shared.settings.max_wire,
            parse=shared.hellos.parse,
        )
        self._chunks: list[bytes] = []
        self.header: ProxyHeaderReader | None = None
        self.claimed: ProxyHeader | None = None
        self.held = 0

    def __repr__(self) -> str:
        return f"<TLSOpening {self.held} bytes held>"

    def expect_header(self, address: str) -> None:
        """Begin with a PROXY header, if the listener's rule says so for a client at `address`.
        Raises `ProxyProtocolError` where none from there is served.
        """
        rule = self._shared.proxy_protocol
        if rule is not None:
            self.header = ProxyHeaderReader.of(rule, address)

    def read_header(self, data: bytes) -> bytes:
        """Read on in the PROXY header; return the bytes behind it, if any yet. Raises
        `ProtocolError` for a bad one.

        What is kept of an unfinished header is no more than the listener's rule allows.
        """
        header = self.header
        assert header is not None
        rest = header.receive_data(data)
        if rest is None:
            return b""
        self.header = None
        self.claimed = header.claimed
        return rest

    def hold(self, data: bytes) -> bool:
        """Keep bytes; False when all clients of the listener together hold more than they may."""
        shared = self._shared
        self._chunks.append(data)
        self.held += len(data)
        shared.held_bytes += len(data)
        return shared.held_bytes <= shared.settings.max_held_bytes

    def sniff(self, data: bytes) -> ClientHello | NotTLS | None:
        """Recognize the bytes that were held so far, of which `data` are the last; None while more
        are needed. Raises `ClientHelloError`.
        """
        result = self._sniffer.receive_data(data)
        return None if result is NEED_DATA else result

    def received(self) -> bytes:
        """All that is held."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def release(self) -> None:
        """Hold nothing any more. May be called twice."""
        self._shared.held_bytes -= self.held
        self.held = 0
        self._chunks = []
