"""Troubles of HTTP/2 that nginx or HAProxy do not have, tried on them and on ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hyperframe.frame import DataFrame

from tests.differential.compare import TIMEOUT
from tests.support.backend import OK, Backend, Lost, Peer
from tests.support.http2_client import Client2, request
from tests.support.http2_fixtures import StartSite, backend, loop_factory, stack, start
from tests.support.other_proxies import other_proxy

__all__ = ["backend", "loop_factory", "stack", "start"]

pytestmark = TIMEOUT

_REFUSED_STREAM: Final = 7
_UPLOAD: Final = 400_000


def _serve(peer: Peer) -> None:
    with suppress(Lost):
        while True:
            head = peer.read_head()
            if b"/early" in head:
                peer.send(b"HTTP/1.1 409 Conflict\r\nContent-Length: 4\r\n\r\nmuch")
                peer.read_rest()
            elif b"POST" in head:
                peer.read_rest()
            else:
                peer.send(OK)


def _early(client: Client2) -> bool:
    # What of the upload is still on its way costs the other requests nothing.
    number = client.ask(request("/early", method="POST"), end=False)
    client.data(number, b"begins")
    response = client.response(number)
    left = _UPLOAD
    while left > 0:
        client.send(DataFrame(number, bytes(10_000)))
        left -= 10_000
    other = client.response(client.ask(request()))
    return response.status == 409 and other.reset is None and other.status == 200


def _too_many(client: Client2) -> bool:
    # More streams than allowed: those alone are refused (RFC 9113 5.1.2).
    numbers = [client.ask(request(method="POST"), end=False) for _ in range(140)]
    refused = client.response(numbers[-1])
    for number in numbers[:3]:
        client.data(number, b"", end=True)
    return refused.reset == _REFUSED_STREAM and client.goaway is None


def _wrong_length(client: Client2) -> bool:
    # A stream error, by whatever code or status (RFC 9113 8.1.1).
    number = client.ask(request("/", "a", ("content-length", "5"), method="POST"), end=False)
    client.data(number, b"123", end=True)
    wrong = client.response(number)
    other = client.response(client.ask(request()))
    return (wrong.reset is not None or wrong.status == 400) and other.status == 200


TROUBLES: Final = {
    "a response in the middle of an upload": (_early, ("nginx", "haproxy")),
    "more streams than allowed": (_too_many, ("nginx", "haproxy")),
    "a body of another length": (_wrong_length, ("nginx", "haproxy")),
}


def _is_right(does: Callable[[Client2], bool], address: tuple[str, int]) -> bool:
    client = Client2(address)
    try:
        return does(client)
    except Lost:
        return False
    finally:
        client.close()


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_they_do_it_right(
    name: str, trouble: str, tmp_path: Path, backend: Callable[..., Backend]
) -> None:
    does, rightly = TROUBLES[trouble]
    behind = backend(_serve)
    with other_proxy(name, tmp_path, behind.port, http2=True) as address:
        assert _is_right(does, address) == (name in rightly)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_so_do_we(trouble: str, start: StartSite, backend: Callable[..., Backend]) -> None:
    assert _is_right(TROUBLES[trouble][0], start(backend(_serve)).address)
