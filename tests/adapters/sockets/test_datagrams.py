"""Datagram sockets: replies come from the address that was asked, and from nobody else."""

from __future__ import annotations

import errno
import select
import socket
import sys

import pytest

from meshlib_adapters.sockets.datagrams import (
    MAX_DATAGRAM,
    bind_datagrams,
    connected_datagrams,
    reply_from,
)

_ANCILLARY = 128


def readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 10)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere addresses are not reported")
@pytest.mark.parametrize(
    ("host", "asked"), [("", "127.0.0.2"), ("0.0.0.0", "127.0.0.2"), ("::", "::1")]
)
def test_a_socket_for_every_address_replies_from_the_one_that_was_asked(
    host: str, asked: str
) -> None:
    sock, reports = bind_datagrams(host, 0)
    with sock, socket.socket(sock.family, socket.SOCK_DGRAM) as client:
        assert reports
        client.settimeout(10)
        where = (asked, sock.getsockname()[1])
        client.sendto(b"question", where)
        assert readable(sock)
        data, ancillary, _, sender = sock.recvmsg(MAX_DATAGRAM, _ANCILLARY)
        assert data == b"question"
        reply = reply_from(ancillary)
        assert reply is not None
        sock.sendmsg((b"reply",), (reply,), 0, sender)
        came, source = client.recvfrom(100)
        assert (came, source[:2]) == (b"reply", where)


def test_a_socket_for_one_address_reports_none() -> None:
    sock, reports = bind_datagrams("127.0.0.1", 0)
    with sock:
        assert not reports
        assert not sock.getblocking()
        assert reply_from([]) is None
        assert reply_from([(socket.SOL_SOCKET, 1, b"")]) is None


def test_a_port_that_is_taken() -> None:
    sock, _ = bind_datagrams("127.0.0.1", 0)
    with sock, pytest.raises(OSError) as caught:
        bind_datagrams("127.0.0.1", sock.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE


def test_a_port_that_is_shared() -> None:
    one, _ = bind_datagrams("127.0.0.1", 0, reuse_port=True)
    with one:
        other, _ = bind_datagrams("127.0.0.1", one.getsockname()[1], reuse_port=True)
        other.close()


def test_an_endpoint_that_nobody_serves_says_so() -> None:
    free, _ = bind_datagrams("127.0.0.1", 0)
    port = free.getsockname()[1]
    free.close()
    with connected_datagrams("127.0.0.1", port) as sock:
        sock.send(b"x")
        assert readable(sock)
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)


def test_only_the_endpoint_is_heard() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        for server in (endpoint, stranger):
            server.bind(("127.0.0.1", 0))
        with connected_datagrams(*endpoint.getsockname()) as sock:
            stranger.sendto(b"mine", sock.getsockname())
            endpoint.sendto(b"yours", sock.getsockname())
            assert readable(sock)
            assert sock.recv(100) == b"yours"


def test_what_is_no_address() -> None:
    with pytest.raises(OSError):
        connected_datagrams("::g", 1)
