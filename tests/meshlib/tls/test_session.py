"""What is read of a server's first messages: sessions of TLS 1.2 by id and by ticket, nothing of
TLS 1.3, and no garbage.
"""

from __future__ import annotations

import contextlib
import ssl
import struct
from collections.abc import Iterable

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from meshlib.messages import ClientHello
from meshlib.tls import ClientHelloSniffer
from meshlib.tls.session import MAX_TICKET, MAX_WIRE, SessionReader, session_keys

AUTHORITY = trustme.CA()


def message(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def records(data: bytes, size: int = 16_384, kind: int = 22) -> bytes:
    return b"".join(
        struct.pack("!BHH", kind, 0x0303, len(data[at : at + size])) + data[at : at + size]
        for at in range(0, len(data), size)
    )


def server_hello(session_id: bytes, *extensions: bytes) -> bytes:
    block = b"".join(extensions)
    tail = struct.pack("!H", len(block)) + block if block else b""
    return message(
        2, b"\x03\x03" + bytes(32) + bytes((len(session_id),)) + session_id + b"\xc0\x2f\x00" + tail
    )


def ticket(value: bytes) -> bytes:
    return message(4, struct.pack("!IH", 7200, len(value)) + value)


def keys(pieces: Iterable[bytes]) -> tuple[list[bytes], SessionReader]:
    reader = SessionReader()
    found = [key for piece in pieces for key in reader.receive_data(piece)]
    return found, reader


TICKET, ID = b"a ticket" * 20, bytes(range(32))
OF_TICKET, OF_ID = session_keys(ClientHello(ticket=TICKET, session_id=ID))
FLIGHT = records(
    server_hello(ID, struct.pack("!HH", 0xFF01, 1) + b"\x00")
    + message(11, bytes(3000))
    + message(14, b"")
    + ticket(TICKET)
)
ENDED = FLIGHT + records(b"\x01", kind=20) + b"encrypted"


def test_the_keys_of_a_hello() -> None:
    assert session_keys(ClientHello()) == ()
    assert session_keys(ClientHello(ticket=b"")) == ()
    assert session_keys(ClientHello(ticket=b"", session_id=ID)) == (OF_ID,)
    assert TICKET not in OF_TICKET + OF_ID


def test_id_and_ticket_are_read() -> None:
    found, reader = keys([ENDED])
    assert found == [OF_ID, OF_TICKET]
    assert reader.done
    assert reader.receive_data(FLIGHT) == ()


@given(st.integers(1, 200), st.integers(1, 500))
def test_however_it_is_cut(record: int, read: int) -> None:
    wire = records(server_hello(ID) + message(11, bytes(700)) + ticket(TICKET), record) + records(
        b"\x01", kind=20
    )
    found, reader = keys(wire[at : at + read] for at in range(0, len(wire), read))
    assert (found, reader.done) == ([OF_ID, OF_TICKET], True)


def test_nothing_is_learned_where_nothing_is_given() -> None:
    found, reader = keys([records(server_hello(b"") + ticket(b""))])
    assert (found, reader.done) == ([], False)
    assert keys([records(message(2, b"\x03\x03"))])[0] == []
    assert keys([records(message(2, b""))])[0] == []


def test_an_id_of_tls13_is_the_clients_own() -> None:
    version = struct.pack("!HHH", 43, 2, 0x0304)
    share = struct.pack("!HH", 51, 4) + bytes(4)
    found, reader = keys([records(server_hello(ID, share, version))])
    assert (found, reader.done) == ([], True)


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 400 Bad Request\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"\x17\x03\x03"]
)
def test_what_is_no_handshake_is_not_looked_at(first: bytes) -> None:
    found, reader = keys([first])
    assert (found, reader.done) == ([], True)


def test_who_never_ends_is_not_followed() -> None:
    reader = SessionReader()
    endless = records(message(11, bytes(1 << 20)))
    for at in range(0, MAX_WIRE, 4096):
        assert not reader.done
        reader.receive_data(endless[at : at + 4096])
    reader.receive_data(b"x")
    assert reader.done


def test_a_huge_ticket_is_not_kept() -> None:
    found, reader = keys([records(ticket(bytes(MAX_TICKET)) + ticket(TICKET))])
    assert found == [OF_TICKET]
    assert not reader.done


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_noise_never_raises(pieces: list[bytes]) -> None:
    keys(pieces)
    keys([b"\x16\x03\x03\x00\x30", *pieces])


def handshake(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bytes, bytes, tuple[ssl.SSLObject, ssl.SSLObject]]:
    """What the client said, what the server said, and both ends (OpenSSL forgets the session of an
    end that just vanishes).
    """
    from_client, from_server, to_client, to_server = (ssl.MemoryBIO() for _ in range(4))
    client = client_context.wrap_bio(
        to_client, from_client, server_hostname="shop.example.com", session=session
    )
    server = server_context.wrap_bio(to_server, from_server, server_side=True)
    ends = [client, server]
    said, heard = b"", b""
    while ends:
        for end in list(ends):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                ends.remove(end)
            forth, back = from_client.read(), from_server.read()
            said, heard = said + forth, heard + back
            to_server.write(forth)
            to_client.write(back)
    return said, heard, (client, server)


def of(said: bytes) -> tuple[bytes, ...]:
    hello = ClientHelloSniffer().receive_data(said)
    assert isinstance(hello, ClientHello)
    return session_keys(hello)


@pytest.mark.parametrize("options", [0, ssl.OP_NO_TICKET], ids=["ticket", "id"])
def test_a_session_of_openssl_is_known_again(options: int) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("shop.example.com").configure_cert(server_context)
    client_context = ssl.create_default_context()
    AUTHORITY.configure_trust(client_context)
    client_context.maximum_version = ssl.TLSVersion.TLSv1_2
    client_context.options |= options
    said, heard, ends = handshake(client_context, server_context, None)
    given, reader = keys([heard])
    assert len(given) == 1
    assert reader.done
    assert not set(of(said)) & set(given)
    again, heard, (client, _) = handshake(client_context, server_context, ends[0].session)
    assert client.session_reused
    assert of(again)[0] == given[0]
    # An abbreviated handshake gives the same id again, and no new ticket while the old one is
    # young.
    assert set(keys([heard])[0]) <= set(of(again))


def test_nothing_of_tls13_is_known() -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("shop.example.com").configure_cert(server_context)
    client_context = ssl.create_default_context()
    AUTHORITY.configure_trust(client_context)
    _, heard, _ = handshake(client_context, server_context, None)
    assert keys([heard])[0] == []
