"""Odd responses through nginx and HAProxy: what the vectors say of them is what they do, so that
what they take and we do not is known, with its reason.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.differential.compare import TIMEOUT
from tests.support.backend import Backend, Peer
from tests.support.odd_responses import ODD, ask, is_whole
from tests.support.other_proxies import other_proxy

pytestmark = TIMEOUT


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_they_do_what_the_vectors_say(name: str, tmp_path: Path) -> None:
    # Another version may have learned more: what counts is that nothing is missing here.
    current = b""

    def respond(peer: Peer) -> None:
        if not peer.read_head():
            return
        peer.send(current)
        peer.sock.shutdown(socket.SHUT_WR)
        while peer.more():
            pass

    behind = Backend(respond)
    try:
        with other_proxy(name, tmp_path, behind.port) as address:
            wrong = []
            for case in ODD:
                current = case["response"].encode("latin-1")
                if is_whole(ask(address), case.get("status", 200)) != case[name]:
                    wrong.append(case["title"])
    finally:
        behind.stop()
    assert wrong == []
