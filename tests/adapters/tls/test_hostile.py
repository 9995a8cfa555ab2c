"""Clients that mean harm, or know no better: each gets its response or its end, and costs nobody
else anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import socket
import ssl
import struct
from collections.abc import Callable

import pytest

from meshlib_adapters.config.transport import TLSSettings
from tests.support.backend import Backend, Peer
from tests.support.running import quick
from tests.support.tls_lab import TLSGateway

Make = Callable[..., Backend]
Start = Callable[..., TLSGateway]


def hello_of(name: str) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def until_end(sock: socket.socket) -> bytes:
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x17\x03\x03\x00\x10" + b"x" * 16,
        b"\x16\x03\x03\xff\xff" + b"\x01" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
    ],
)
def test_garbage_behind_the_hello(
    backend: Make, start: Start, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    caplog.set_level(logging.INFO, "meshlib.tcp")
    running = start(backend(), "a.example")
    good = running.tls("a.example")
    with running.connect() as sock:
        sock.sendall(hello_of("a.example") + garbage)
        until_end(sock)
    running.wait(lambda: bool(running.records))
    assert running.records[0].outcome == "handshake_failed"
    assert "handshake_failed (" in caplog.text
    assert good.get("a.example").endswith(b"ok")


def test_half_a_handshake_ends_in_time(backend: Make, start: Start) -> None:
    running = start(backend(), "a.example", tls=TLSSettings(head_read=0.4, lingering_close=0.2))
    silent, slow = running.connect(), running.connect()
    with silent, slow:
        silent.sendall(hello_of("a.example"))
        slow.sendall(hello_of("a.example")[:50])
        until_end(silent)
        until_end(slow)
    running.wait(lambda: len(running.records) == 2)
    assert sorted(record.outcome for record in running.records) == [
        "handshake_timeout",
        "hello_timeout",
    ]


def test_a_client_that_leaves_in_the_handshake(backend: Make, start: Start) -> None:
    running = start(backend(), "a.example")
    with running.connect() as sock:
        sock.sendall(hello_of("a.example"))
        sock.recv(1)
    with running.connect() as sock:
        sock.sendall(hello_of("a.example"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    running.wait(lambda: len(running.records) == 2)
    assert {record.outcome for record in running.records} == {"handshake_failed"}


def test_a_broken_record_ends_that_connection_alone(backend: Make, start: Start) -> None:
    running = start(backend(), "a.example")
    good, bad = running.tls("a.example"), running.tls("a.example")
    raw = socket.socket(fileno=os.dup(bad.sock.fileno()))
    with raw:
        raw.settimeout(15)
        raw.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
        until_end(raw)
    assert good.get("a.example").endswith(b"ok")


def test_a_client_that_asks_for_new_keys_and_reads_nothing_is_cut(
    backend: Make, start: Start
) -> None:
    running = start(
        backend(), "a.example", settings=quick(idle=100.0)
    )  # the other takes its time on a busy machine
    good = running.tls("a.example")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = running.trusting().wrap_bio(incoming, outgoing, server_hostname="a.example")
    with running.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        # Python cannot ask for new keys; the OpenSSL below it can. Its connection comes behind the
        # object's head and one field.
        openssl = ctypes.CDLL(importlib.import_module("_ssl").__file__)
        connection = ctypes.c_void_p.from_address(
            id(tls._sslobj) + 3 * ctypes.sizeof(ctypes.c_void_p)  # type: ignore[attr-defined]
        )
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not running.records and sent < 64 << 20:
                for _ in range(1000):
                    assert openssl.SSL_key_update(connection, 1) == 1
                    assert openssl.SSL_do_handshake(connection) == 1
                sock.sendall(outgoing.read())
                sent += 27_000
        running.wait(lambda: bool(running.records))  # while the client is still there
    assert good.get("a.example").endswith(b"ok")


def test_a_client_that_vanishes_ends_its_request(backend: Make, start: Start) -> None:
    def never(peer: Peer) -> None:
        peer.read_request()
        peer.read_rest()

    web = backend(never)
    running = start(web, "a.example")
    client = running.tls("a.example")
    client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    web.wait(lambda: bool(web.requests))
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert running.reasons(1) == ["client_closed"]


def test_many_half_clients_leave_nothing(backend: Make, start: Start) -> None:
    running = start(backend(), "a.example")
    hello = hello_of("a.example")
    for number in range(60):
        with running.connect() as sock:
            sock.sendall(hello[: 20 + number * len(hello) // 60])
    running.wait(lambda: len(running.records) == 60)
    assert running.call(lambda: (len(running.tls_listener), running.tls_listener.held_bytes)) == (
        0,
        0,
    )
    assert running.tls("a.example").get("a.example").endswith(b"ok")
