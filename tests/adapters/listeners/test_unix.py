"""HTTP on a Unix socket, as behind nginx with `proxy_pass http://unix:/...`: its peers have no
address.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from meshlib.client_claims import UNIX, ForwardingPolicy
from tests.support.backend import OK, Backend, Peer
from tests.support.http_fixtures import Start

Make = Callable[..., Backend]

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"


@pytest.mark.parametrize("trusted", [True, False])
def test_what_is_not_known_is_not_told(
    start: Start, backend: Make, tmp_path: Path, trusted: bool
) -> None:
    heads: list[bytes] = []

    def tell(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.send(OK)

    policy = ForwardingPolicy(trusted_proxies=(UNIX,) if trusted else ())
    running = start(backend(tell), policy=policy)
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(path)
        listening.setblocking(False)
        own = listening.dup()
        assert running.run(running.listener.listen(sock=own)) == [(path, 0)]
        client.settimeout(10)
        client.connect(path)
        client.sendall(REQUEST)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    chain = b"\r\nX-Forwarded-For: 192.0.2.7\r\n"
    assert (chain in heads[0]) is trusted
    assert heads[0].count(b"X-Forwarded-For") == trusted
    assert b"X-Forwarded-Port" not in heads[0]
    assert [record["client"] for record in running.log(1)] == [UNIX]
